"""A tracker that breaks one promise is caught by the check of that promise."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from catalogue import classes

from mmx.contract import Part, check_part
from mmx.trackers import Ending, OpenRun, Point, TrackedRun, Tracker
from mmx.trackers.base import Key
from mmx.verbs.check import refuse


class OpenLines(OpenRun):
    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text() if path.exists() else ""
        self.lines = [json.loads(line) for line in text.splitlines()]

    def find_known(self) -> Collection[Key]:
        return {(name, epoch) for name, epoch in self.lines if name != "end"}

    def has_ended(self) -> bool:
        return ["end", 0] in self.lines

    def add(self, points: Sequence[Point]) -> None:
        self._write([point.key for point in points])

    def end(self, ending: Ending) -> None:
        if ending.status == "done":
            self._write([("end", 0)])

    def _write(self, lines: Sequence[Key]) -> None:
        with self.path.open("a") as file:
            file.writelines(f"{json.dumps(each)}\n" for each in lines)

    def close(self) -> None:
        pass


class Forgets(OpenLines):
    def find_known(self) -> Collection[Key]:
        return set()


class WritesAnew(OpenLines):
    def _write(self, lines: Sequence[Key]) -> None:
        self.path.write_text("".join(f"{json.dumps(each)}\n" for each in lines))


class EndsAlways(OpenLines):
    def end(self, ending: Ending) -> None:
        self._write([("end", 0)])


@dataclass(frozen=True, kw_only=True)
class Lines(Tracker):
    opened: type[OpenLines] = OpenLines
    name_of_file: str = "{key}.jsonl"

    def open(self, run: TrackedRun) -> OpenRun:
        return self.opened(run.folder / self.name_of_file.format(key=run.key))


def broken(**options: object) -> list[str]:
    return [r.name for r in check_part(Part(Lines, options)) if r.state == "failed"]


def test_a_tracker_in_twenty_lines_keeps_the_contract():
    assert broken() == []


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"opened": Forgets}, "made and called"),
        ({"opened": WritesAnew}, "the same again"),
        ({"name_of_file": "all.jsonl"}, "runs apart"),
        ({"opened": EndsAlways}, "remembers the end"),
    ],
    ids=str,
)
def test_a_broken_promise_is_named(options, first):
    assert broken(**options)[0] == first


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", classes("tracker").values(), ids=lambda kind: kind.__name__)
def test_ours_keep_it(kind, monkeypatch):
    pytest.importorskip(kind.library)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    results = list(check_part(Part(kind, {}, refuse)))
    assert [(each.name, each.said) for each in results if each.state != "passed"] == []
