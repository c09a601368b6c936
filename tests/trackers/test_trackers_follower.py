"""A tracker that fails, hangs or is slow is named once, and holds nothing up."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mmx.trackers import Ending, OpenRun, Point, TrackedRun, Tracker
from mmx.trackers.base import Key
from mmx.trackers.follower import TrackerThread, copy_run

RUN = TrackedRun("a_run", "00ff", Path())
POINTS = [Point("target/val.accuracy", epoch, epoch / 10) for epoch in range(1, 6)]
DONE = Ending("done", {"summary/gain.scratch": 0.5})


@dataclass
class Store:
    """What a tracker has, and what it was asked."""

    points: list[Point] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)


class OpenStore(OpenRun):
    def __init__(self, store: Store, broken: dict[str, BaseException]) -> None:
        self.store, self.broken = store, broken

    def _call(self, name: str) -> None:
        self.store.calls.append(name)
        if name in self.broken:
            raise self.broken[name]

    def find_known(self) -> Collection[Key]:
        self._call("find_known")
        return {point.key for point in self.store.points}

    def has_ended(self) -> bool:
        return any(each.status == "done" for each in self.store.endings)

    def add(self, points: Sequence[Point]) -> None:
        self._call("add")
        self.store.points += points

    def end(self, ending: Ending) -> None:
        self._call("end")
        self.store.endings.append(ending)

    def close(self) -> None:
        self._call("close")


@dataclass(frozen=True, kw_only=True)
class Stored(Tracker):
    store: Store = field(default_factory=Store)
    broken: dict[str, BaseException] = field(default_factory=dict)

    def open(self, run: TrackedRun) -> OpenRun:
        if "open" in self.broken:
            raise self.broken["open"]
        return OpenStore(self.store, self.broken)


def follow(tracker: Tracker, ending: Ending = DONE) -> list[str]:
    """Follow a run point by point to its end, and return what was said."""
    said: list[str] = []
    follower = TrackerThread(tracker, RUN, said.append)
    for point in POINTS:
        follower.add([point])
    follower.end(ending)
    return said


def test_all_points_arrive_once_in_order_and_then_the_end():
    tracker = Stored()
    assert follow(tracker) == []
    assert tracker.store.points == POINTS
    assert tracker.store.endings == [DONE]
    assert tracker.store.calls[-1] == "close"


def test_a_second_time_nothing_is_new():
    tracker = Stored()
    follow(tracker)
    assert follow(tracker) == []
    assert tracker.store.points == POINTS
    assert tracker.store.endings == [DONE]
    assert copy_run(tracker, RUN, POINTS, DONE) == (0, "")
    assert tracker.store.endings == [DONE]


def test_a_run_that_goes_on_adds_what_is_missing():
    tracker = Stored()
    assert copy_run(tracker, RUN, POINTS[:2], None) == (2, "")
    assert copy_run(tracker, RUN, POINTS[:3], Ending("interrupted")) == (2, "")
    assert copy_run(tracker, RUN, POINTS[:3], Ending("interrupted")) == (0, "")
    assert follow(tracker) == []
    assert tracker.store.points == POINTS
    assert [each.status for each in tracker.store.endings] == ["interrupted", "done"]


@pytest.mark.parametrize("method", ["open", "find_known", "add", "end", "close"])
@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), SystemExit(3), ImportError("broken\nsecond line")],
    ids=["disk", "exit", "library"],
)
def test_whatever_it_raises_is_told_once(method, error):
    tracker = Stored(broken={method: error})
    (said,) = follow(tracker)
    assert said.startswith(f"WARNING: tracker stored failed ({type(error).__name__}: ")
    assert "\n" not in said
    assert "mmx mirror" in said
    assert tracker.store.calls.count(method) <= 1


@pytest.mark.parametrize("ending", [DONE, Ending("interrupted")])
def test_a_tracker_that_hangs_is_left_after_its_time(ending):
    release = threading.Event()

    @dataclass(frozen=True, kw_only=True)
    class Hanging(Stored):
        def open(self, run: TrackedRun) -> OpenRun:
            release.wait(60)
            return super().open(run)

    (said,) = follow(Hanging(wait=0.05), ending)
    release.set()
    assert "did not take the run's numbers within 0.05 s" in said


def test_too_many_that_wait_count_as_a_failure(monkeypatch):
    monkeypatch.setattr("mmx.trackers.follower.MOST_WAITING", 3)
    release = threading.Event()

    @dataclass(frozen=True, kw_only=True)
    class Slow(Stored):
        def open(self, run: TrackedRun) -> OpenRun:
            release.wait(60)
            return super().open(run)

    said: list[str] = []
    follower = TrackerThread(Slow(), RUN, said.append)
    follower.add(POINTS)
    follower.add(POINTS)
    release.set()
    follower.end(DONE)
    assert len(said) == 1
    assert "is too slow: 5 numbers wait" in said[0]


def test_a_missing_library_is_refused_with_what_to_type():
    @dataclass(frozen=True, kw_only=True)
    class Lacking(Stored):
        library = "no_such_library"
        extra = "lacking"

    with pytest.raises(ValueError, match=r"needs no_such_library.*pip install 'mmx\[lacking\]'"):
        Lacking()
