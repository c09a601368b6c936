"""Runs that are tracked live, resumed and mirrored, over TensorBoard's files."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmx import execution
from mmx.cli import main
from mmx.experiment import assemble
from mmx.runs import recorded
from mmx.runs.directory import RunDirectory
from mmx.runs.tracked import describe_run, read_points
from mmx.trackers.tensorboard import Tensorboard
from mmx.training.events import Event, EventKind

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TRACKED = "tracker=tensorboard"
Overrides = Callable[..., list[str]]
Once = Callable[[list[str]], RunDirectory]


@pytest.fixture
def tiny(tables: dict[str, Path], overrides: Overrides) -> list[str]:
    return overrides(None, tables["one"], ("tabular",), "control=none")


def read(directory: RunDirectory) -> dict[tuple[str, int], float]:
    """Return what the tracker has of a run; each point may be there once."""
    run = describe_run(directory)
    folder = run.folder / "tensorboard" / f"{run.name}-{run.key[:6]}"
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    points = [(tag, e.step, e.value) for tag in found.Tags()["scalars"] for e in found.Scalars(tag)]
    assert len({each[:2] for each in points}) == len(points), "a point is there twice"
    return {(tag, step): value for tag, step, value in points}


def expected(directory: RunDirectory) -> dict[tuple[str, int], float]:
    return {point.key: pytest.approx(point.value) for point in read_points(directory.metrics())}


def numbers(directory: RunDirectory) -> dict[str, Any]:
    summary = directory.summary()
    for key in ("run", "timing", "faster"):
        summary.pop(key, None)
    return summary


def test_live_metrics_are_those_of_the_run_and_numbers_stay(tiny, once):
    plain, tracked = once(tiny), once([*tiny, TRACKED])
    assert numbers(plain) == numbers(tracked)
    assert plain.manifest().fingerprint == tracked.manifest().fingerprint
    assert plain.manifest().identity == tracked.manifest().identity
    assert "tracker" not in plain.config()
    found = read(tracked)
    assert found.items() >= expected(tracked).items()
    assert ("target/val.accuracy", 2) in found
    tested = tracked.read_summary().target.metrics["test"]["accuracy"]
    assert found["summary/target.test.accuracy", 0] == pytest.approx(tested)


def test_mirrored_afterwards_it_is_the_same_and_a_second_time_nothing(
    tiny, once, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    live, later = once([*tiny, TRACKED]), once(tiny)
    before = {path: path.stat().st_mtime_ns for path in later.path.rglob("*")}
    capsys.readouterr()
    assert main(["mirror", str(later.path), "--to", "tensorboard"]) == 0
    first = capsys.readouterr()
    seconds = ("summary/seconds", 0)
    assert {**read(later), seconds: 0} == {**read(live), seconds: 0}
    assert first.out.startswith(str(later.path))
    assert "tensorboard --logdir" in first.err
    assert {path: path.stat().st_mtime_ns for path in later.path.rglob("*")} == before
    assert main(["mirror", "outputs", "accuracy>=0", "--to", "tensorboard"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == ["nothing new", "nothing new"]


class Stop(Exception):
    """Stands for a kill."""


def test_a_resumed_run_goes_on_in_its_tracker(tiny, prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment, directory = prepared(
        [*tiny, TRACKED, "trainer.checkpoint_seconds=0"], tmp_path / "outputs"
    )

    def stop(event: Event) -> None:
        if event.kind is EventKind.EPOCH:
            raise Stop

    assert execution.execute(experiment, directory, stop)["status"] == "failed"
    assert {step for tag, step in read(directory) if tag == "target/val.accuracy"} <= {1}
    assert main(["resume", str(directory.path)]) == 0
    assert read(directory).items() >= expected(directory).items()
    assert {step for tag, step in read(directory) if tag == "target/val.accuracy"} == {1, 2}


def test_where_a_run_was_tracked_is_typed_again(tiny, prepared, tmp_path, capsys):
    elsewhere, mine = tmp_path / "elsewhere", tmp_path / "mine"
    options = [TRACKED, f"tracker.folder={elsewhere}"]
    _, directory = prepared([*tiny, *options], tmp_path / "outputs")
    assert main(["resume", str(directory.path), f"tracker.folder={mine}"]) == 0
    assert "go on there" not in capsys.readouterr().err
    assert not elsewhere.exists()
    assert len([*mine.rglob("*tfevents*")]) == 1
    _, directory = prepared([*tiny, *options], tmp_path / "outputs")
    assert main(["resume", str(directory.path)]) == 0
    assert f"tracker.folder={elsewhere}" in " ".join(capsys.readouterr().err.split())
    assert not elsewhere.exists()
    assert read(directory)


def test_what_opens_a_run_does_not_track_it(tiny, once, tmp_path, capsys):
    directory = once([*tiny, TRACKED])
    before = sorted((tmp_path / "outputs" / "tensorboard").rglob("*"))
    again = ["reproduce", str(directory.path), f"output_dir={tmp_path / 'outputs'}"]
    assert main(again) == 0
    made = RunDirectory.open(Path(capsys.readouterr().out.splitlines()[-1]))
    assert "tracker" not in made.config()
    assert sorted((tmp_path / "outputs" / "tensorboard").rglob("*")) == before
    assert main([*again, TRACKED, "trainer.epochs=1"]) == 0
    assert read(RunDirectory.open(Path(capsys.readouterr().out.splitlines()[-1])))


def test_a_tracker_that_cannot_write_fails_no_run(tiny, prepared, tmp_path):
    (tmp_path / "a_file").write_text("in the way")
    experiment, directory = prepared(
        [*tiny, TRACKED, f"tracker.folder={tmp_path / 'a_file'}"], tmp_path / "outputs"
    )
    said: list[str] = []
    outcome = execution.execute(experiment, directory, lambda event: said.append(event.text))
    assert outcome == {"status": "done", "exit_code": 0}
    warnings = [text for text in said if "tracker" in text]
    assert len(warnings) == 1
    assert warnings[0].startswith("WARNING: tracker tensorboard failed (")
    assert warnings[0] in (directory.path / "run.log").read_text()
    assert not any("tracker" in note for note in directory.read_summary().notes)
    recorded.check_all(directory.path, checkpoints=True)


def test_a_tracker_that_fails_at_the_end_leaves_a_run_intact(tiny, prepared, tmp_path, monkeypatch):
    class Late:
        """Takes all points, and fails at the end of a run, whose files are recorded by then."""

        find_known = staticmethod(list)
        has_ended = staticmethod(bool)

        def add(self, points: object) -> None:
            """Take points."""

        def end(self, ending: object) -> None:
            raise RuntimeError("too late")

    monkeypatch.setattr(Tensorboard, "open", lambda *_: contextlib.nullcontext(Late()))
    experiment, directory = prepared([*tiny, TRACKED], tmp_path / "outputs")
    said: list[str] = []
    outcome = execution.execute(experiment, directory, lambda event: said.append(event.text))
    assert outcome == {"status": "done", "exit_code": 0}
    (warning,) = [text for text in said if "tracker" in text]
    assert warning.startswith("WARNING: tracker tensorboard failed (RuntimeError: too late)")
    *_, last = (directory.path / "run.log").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (.*)", last)[1] == warning
    recorded.check_all(directory.path, checkpoints=True)


def test_a_config_from_before_trackers_is_read(tiny, prepared, tmp_path):
    experiment, directory = prepared(tiny, tmp_path / "outputs")
    config = yaml.safe_load((directory.path / "config.yaml").read_text())
    assert not {"tracker", "callbacks"} & config.keys()
    assert assemble(config).fingerprint == experiment.fingerprint


def test_names_that_trackers_would_change_are_changed_before(tiny, once):
    line = {"stage": "target", "epoch": 1, "split": "val", "name": "top k (k=3)", "value": None}
    (point,) = read_points([line])
    assert point.key == ("target/val.top_k__k_3_", 1)
    assert str(point.value) == "nan"
    assert json.loads(json.dumps(describe_run(once(tiny)).config))["trainer.epochs"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "tensorbord"], "--to tensorboard"),
        (["--to", "none"], "accepted: mlflow, tensorboard, wandb"),
        (["--to", "tensorboard", "tracker.foldr=x"], "tracker.folder"),
        (["--to", "tensorboard", "no_such_run"], "no_such_run"),
        (["--to", "os.path", "x"], "allow"),
    ],
)
def test_refusals_say_what_to_type(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["mirror", *words, *(["outputs"] if "outputs" not in words else [])]) != 0
    assert said in capsys.readouterr().err
