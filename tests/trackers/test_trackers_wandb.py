"""Weights & Biases offline: what ``wandb sync`` would send, read back from its files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("wandb")

from mmx.trackers import Ending, Point, TrackedRun
from mmx.trackers.follower import copy_run
from mmx.trackers.wandb import Wandb, _OpenWandb

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture
def run(tmp_path):
    return TrackedRun("a_run", "00ff00ff", tmp_path, {"optimizer.lr": 0.1}, {"mmx.seed": "3"})


def split_records(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file: LevelDB's log format, after a header of 7 bytes."""
    block, place, parts = 32_768, 7, b""
    while place + 7 <= len(content):
        left = block - place % block
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def read(folder: Path) -> list[Any]:
    """Return the records of all files for ``wandb sync``, in the order of their times."""
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    wandb.teardown()  # its service writes after a run is finished
    paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    return [Record.FromString(data) for path in paths for data in split_records(path.read_bytes())]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for record in read(folder):
        if record.WhichOneof("record_type") == "history":
            items = {
                each.key or "/".join(each.nested_key): json.loads(each.value_json)
                for each in record.history.item
            }
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


def test_rows_by_stage_and_epoch_and_the_summary(run, tmp_path):
    (tmp_path / "report.html").write_text("the report")
    ending = Ending("done", {"summary/seconds": 7.0}, "it helps", [tmp_path / "report.html"])
    points = [
        Point("source/val.loss", 1, 0.5),
        Point("source/val.accuracy", 1, 0.25),
        Point("source/val.loss", 2, 0.4),
        Point("target/val.loss", 1, 0.3),
    ]
    with Wandb(project="mine").open(run) as opened:
        opened.add(points)
        opened.end(ending)
    assert read_rows(tmp_path) == [
        {"source/epoch": 1, "source/val.loss": 0.5, "source/val.accuracy": 0.25},
        {"source/epoch": 2, "source/val.loss": 0.4},
        {"target/epoch": 1, "target/val.loss": 0.3},
    ]
    begun = next(each.run for each in read(tmp_path) if each.WhichOneof("record_type") == "run")
    assert (begun.project, begun.run_id, begun.display_name) == ("mine", "00ff00ff", "a_run")
    summary = {
        each.key: json.loads(each.value_json)
        for record in read(tmp_path)
        if record.WhichOneof("record_type") == "summary"
        for each in record.summary.update
    }
    assert summary.items() >= {"summary/seconds": 7.0, "answer": "it helps"}.items()
    (kept,) = tmp_path.glob("wandb/offline-run-*/files/report.html")
    assert not kept.is_symlink()
    with Wandb(project="mine").open(run) as opened:  # a second time: nothing new, no new file
        assert {point.key for point in points} <= set(opened.find_known())
        assert opened.has_ended()
    assert len([*tmp_path.glob("wandb/offline-run-*")]) == 1


def test_a_run_goes_on_under_its_id(run, tmp_path):
    for epoch in (1, 2):
        with Wandb().open(run) as opened:
            assert len(opened.find_known()) == epoch - 1
            opened.add([Point("target/val.loss", epoch, 0.1)])
            opened.end(Ending("interrupted"))
            assert not opened.has_ended()
    assert [row["target/epoch"] for row in read_rows(tmp_path)] == [1, 2]
    ids = {each.run.run_id for each in read(tmp_path) if each.WhichOneof("record_type") == "run"}
    assert ids == {"00ff00ff"}


POINTS = [Point("target/val.loss", 1, 0.5), Point("target/val.loss", 2, 0.25)]


def copy(tracker: Wandb, run: TrackedRun) -> int:
    return copy_run(tracker, run, POINTS, Ending("done"))[0]


def test_another_project_or_entity_gets_its_own_copy(run, tmp_path):
    places = [Wandb(), Wandb(project="b-c"), Wandb(entity="b"), Wandb(entity="b", project="c")]
    for place in [*places, Wandb(entity="b+c/d", project="é"), Wandb(entity="b", project="c-d")]:
        assert copy(place, run) == 3
        assert copy(place, run) == 0
    sent = {each.run.project for each in read(tmp_path) if each.WhichOneof("record_type") == "run"}
    assert sent == {"mmx", "b-c", "c", "é", "c-d"}


def test_what_was_sent_offline_is_not_taken_as_sent_online(run, monkeypatch):
    assert copy(Wandb(), run) == 3
    asked: list[str] = []
    monkeypatch.setattr(_OpenWandb, "_read_history", lambda opened: asked.append(opened.where))
    assert not Wandb(mode="online").open(run).find_known()
    assert asked == ["project mmx"]


def test_nothing_is_noted_as_sent_where_nothing_is(run, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    count, where = copy_run(Wandb(), run, POINTS, Ending("done"))
    assert count == 0
    assert where == "nowhere, as $WANDB_MODE is disabled"
    assert not [*tmp_path.glob("wandb/*.jsonl")]
    monkeypatch.setenv("WANDB_MODE", "dryrun")  # an old name of offline
    assert copy(Wandb(), run) == 3
    assert copy(Wandb(mode="offline"), run) == 0


def test_notes_under_their_former_name_are_read_for_the_default_place(run, tmp_path, monkeypatch):
    old = tmp_path / "wandb" / "mmx-00ff00ff.jsonl"
    old.parent.mkdir()
    old.write_text('["target/val.loss", 1]\n')
    (tmp_path / "wandb" / "offline-run-20260101_000000-00ff00ff").mkdir()
    assert copy(Wandb(project="other"), run) == 3
    assert copy(Wandb(entity="other"), run) == 3
    assert copy(Wandb(), run) == 2
    assert copy(Wandb(), run) == 0
    assert old.read_text() == '["target/val.loss", 1]\n'
    asked: list[str] = []  # the folder says that it was sent offline
    monkeypatch.setattr(_OpenWandb, "_read_history", lambda opened: asked.append(opened.where))
    assert not Wandb(mode="online").open(run).find_known()
    assert asked
