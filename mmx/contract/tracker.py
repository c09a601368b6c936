"""The contract of a tracker, as checks; see :mod:`mmx.trackers`."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from mmx.contract.base import BASICS, MADE, REPEATED, Broken, Check, Part, Subject
from mmx.contract.options import has_sound_options
from mmx.trackers import Ending, Point, Scalar, TrackedRun, Tracker
from mmx.trackers.base import Key

METRIC = "target/val.accuracy"
VALUES = {"summary/target.test.accuracy": 0.5}


@dataclass(frozen=True)
class TrackerSubject(Subject):
    """A tracker, and a folder that is removed with the subject.

    Attributes:
        part: The class and its options.
        tracker: An instance.
        scratch: Where it may write.
    """

    part: Part
    tracker: Tracker
    scratch: Path

    @classmethod
    def of(cls, part: Part) -> TrackerSubject:
        """Return a part as the subject of the checks."""
        scratch = Path(tempfile.mkdtemp(prefix="mmx-check-"))
        subject = cls(part, part.make(), scratch)
        weakref.finalize(subject, shutil.rmtree, scratch, ignore_errors=True)
        return subject

    def try_part(self, part: Part) -> None:
        """Make the class with other options, and write a point."""
        with part.make().open(self.make_run("options")) as opened:
            opened.add(make_points(1))

    def make_run(self, name: str) -> TrackedRun:
        """Return a made-up run; one of the same name is the same run."""
        key = name.encode().hex().ljust(16, "0")[:16]
        settings: dict[str, Scalar] = {"optimizer.lr": 0.1, "seeds": None}
        return TrackedRun(name, key, self.scratch, settings, {"mmx.seed": "0"}, 1e9, only_here=True)

    def find_known(self, name: str) -> Collection[Key]:
        """Return what the tracker knows of a run, opened anew."""
        with self.tracker.open(self.make_run(name)) as opened:
            return set(opened.find_known())


def make_points(last: int, first: int = 1) -> list[Point]:
    """Return points of some epochs."""
    return [Point(METRIC, epoch, epoch / 10, float(epoch)) for epoch in range(first, last + 1)]


def _require_known(found: Collection[Key], last: int, when: str) -> None:
    wanted = {point.key for point in make_points(last)}
    missing = sorted(wanted - set(found))
    if missing:
        raise Broken(f"expected `find_known` to have all that was added {when}; missing {missing}")


def finds_what_it_has(subject: TrackerSubject) -> str:
    """Check that a run that is opened again has what was added."""
    with subject.tracker.open(subject.make_run("first")) as opened:
        if found := list(opened.find_known()):
            raise Broken(f"expected nothing of a run that is new; seen {found[:3]}")
        opened.add(make_points(3))
    _require_known(subject.find_known("first"), 3, "before it was closed")
    return "3 points, found again"


def goes_on(subject: TrackerSubject) -> str:
    """Check that a run goes on where it stopped."""
    with subject.tracker.open(subject.make_run("first")) as opened:
        opened.add(make_points(5, 4))
    _require_known(subject.find_known("first"), 5, "in two parts")
    return "2 more points"


def keeps_runs_apart(subject: TrackerSubject) -> str:
    """Check that another run is another."""
    if found := sorted(subject.find_known("second")):
        raise Broken(f"expected a run of another key to be empty; seen {found[:3]}")
    return "another key is another run"


def remembers_the_end(subject: TrackerSubject) -> str:
    """Check that the end of a finished run is found again, and that of a stopped one is not."""
    states = []
    for status in ("interrupted", "done"):
        with subject.tracker.open(subject.make_run("ended")) as opened:
            opened.add(make_points(1) if status == "interrupted" else make_points(2, 2))
            opened.end(Ending(status, VALUES if status == "done" else {}, "an answer"))
        with subject.tracker.open(subject.make_run("ended")) as opened:
            states.append(opened.has_ended())
    if states != [False, True]:
        raise Broken(
            "expected `has_ended` to be False after `interrupted` and True after `done`; seen "
            f"{states[0]} and {states[1]}"
        )
    return "only what is done is final"


CHECKS = (
    Check(MADE, finds_what_it_has),
    Check(REPEATED, goes_on, (MADE,)),
    Check("runs apart", keeps_runs_apart, BASICS),
    Check("remembers the end", remembers_the_end, BASICS),
    Check("options", has_sound_options, (MADE,)),
)
"""The promises of a tracker."""
