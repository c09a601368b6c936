"""Event files, read back with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmx.trackers import Ending, Point, TrackedRun
from mmx.trackers.tensorboard import Tensorboard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def read(folder: Path) -> Any:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    return found


def make_run(folder: Path) -> TrackedRun:
    settings = {"optimizer.lr": 0.1, "fusion": "concat", "seeds": None}
    return TrackedRun("a_run", "00ff00ff", folder, settings, {}, 1000.0)


def test_scalars_by_epoch_with_their_time(tmp_path):
    points = [Point("target/val.accuracy", epoch, epoch / 8, 2.0 * epoch) for epoch in (1, 2, 3)]
    with Tensorboard().open(make_run(tmp_path)) as opened:
        opened.add(points)
    found = read(tmp_path / "tensorboard" / "a_run-00ff00").Scalars("target/val.accuracy")
    assert [(each.step, each.value, each.wall_time) for each in found] == [
        (1, 0.125, 1002.0),
        (2, 0.25, 1004.0),
        (3, 0.375, 1006.0),
    ]


def test_the_end_has_numbers_a_sentence_and_the_settings(tmp_path):
    with Tensorboard(folder=str(tmp_path / "own")).open(make_run(tmp_path)) as opened:
        opened.end(Ending("done", {"summary/gain.scratch": 0.5}, "it helps"))
    found = read(tmp_path / "own" / "a_run-00ff00")
    assert [each.value for each in found.Scalars("summary/gain.scratch")] == [0.5]
    (text,) = found.Tensors("summary/answer/text_summary")
    assert text.tensor_proto.string_val == [b"it helps"]
    plugin = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"optimizer.lr" in plugin
    assert b"None" in plugin


def test_a_stopped_run_has_no_end_and_goes_on(tmp_path):
    for epoch in (1, 2):
        with Tensorboard().open(make_run(tmp_path)) as opened:
            assert len(opened.find_known()) == epoch - 1
            assert not opened.has_ended()
            opened.add([Point("source/val.loss", epoch, 1.0)])
            opened.end(Ending("interrupted"))
    with Tensorboard().open(make_run(tmp_path)) as opened:
        assert opened.find_known() == {("source/val.loss", 1), ("source/val.loss", 2)}


def test_nothing_is_written_where_nothing_is_new(tmp_path):
    with Tensorboard().open(make_run(tmp_path)) as opened:
        opened.add([Point("a/b", 1, 1.0)])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with Tensorboard().open(make_run(tmp_path)) as opened:
        assert opened.find_known() == {("a/b", 1)}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
