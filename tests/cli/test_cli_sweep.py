"""``mmx sweep``: sweeps as their files show them, and going on with one."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from refusals import check_error

from mmx.cli import main
from mmx.errors import RunError, UsageError
from mmx.runs.stored_sweep import read_sweep
from mmx.runs.sweep_process import announce_process, list_processes, request_cancel
from mmx.verbs import train_sweep
from mmx.verbs.completion import complete_line
from mmx.verbs.preflight import Job
from mmx.verbs.train_job import SweepJob
from mmx.workers.plan import WorkerPlan


@pytest.fixture
def line(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Return a sweep of two jobs, of which the second has no such column."""
    monkeypatch.chdir(tmp_path)
    given = overrides(None, tables["two"], ("tabular",), "control=none")
    given = [text for text in given if not text.startswith("target.label=")]
    return ["train", "-m", *given, "device=cpu", "jobs=1", "target.label=label,absent"]


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["sweep", *words, "--json"]) == 0
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


def test_what_became_of_a_sweep(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 1
    path = Path(capsys.readouterr().out.strip())
    (row,) = rows(capsys, "ls")
    assert row["sweep"] == path.name
    assert (row["done"], row["failed"], row["running"], row["left"]) == (1, 1, 0, 0)
    assert row["command"] == shlex.join(["mmx", *line])
    done, failed = rows(capsys, "status", path.name)
    assert (done["job"], done["status"]) == ("target.label=label", "done")
    summary = json.loads((path / "runs" / str(done["run"]) / "summary.json").read_text())
    accuracy = summary["target"]["metrics"]["test"]["accuracy"]
    assert done["metric"] == f"accuracy {accuracy:.3f}"
    assert (failed["job"], failed["status"]) == ("target.label=absent", "failed")
    assert failed["why"]
    assert main(["sweep", "status", str(path)]) == 0
    assert f"2 jobs in {path}: 1 done, 1 failed" in capsys.readouterr().out
    assert complete_line("mmx sweep sta") == ["status"]
    assert complete_line("mmx sweep status ") == [str(path)]


def test_only_what_failed_is_run_again(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line[:-1], "target.label=absent", "seed=1,2,3"]) == 1
    path = Path(capsys.readouterr().out.strip())
    plan = json.loads((path / "plan.json").read_text())
    first = read_sweep(path)
    assert [job.status for job in first.jobs] == ["failed"] * 3
    for name in sorted((path / "runs").iterdir())[1:2]:  # one of them was never begun
        assert main(["rm", "--yes", str(name)]) == 0
    assert read_sweep(path).count() == {"done": 0, "failed": 2, "running": 0, "left": 1}
    before = len(list((path / "runs").iterdir()))
    assert main(["sweep", "retry", path.name]) == 1
    assert len(list((path / "runs").iterdir())) == before + 2
    assert read_sweep(path).count()["left"] == 1
    assert json.loads((path / "plan.json").read_text()) == plan  # the line that began it stays
    assert main(["sweep", "resume", path.name]) == 1
    assert read_sweep(path).count() == {"done": 0, "failed": 3, "running": 0, "left": 0}


def test_a_sweep_of_another_folder_is_resumed_where_it_lies(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*line[:-1], "target.label=label", "seed=1", "hydra.sweep.dir=mine"]) == 0
    (run,) = (tmp_path / "mine" / "runs").iterdir()
    assert main(["rm", "--yes", str(run)]) == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["sweep", "resume", "../mine"]) == 0
    assert len(list((tmp_path / "mine" / "runs").iterdir())) == 1
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "words",
    [["--allow", "evil"], ["cache=/else"], ["download=true"], ["tracker.uri=http://x"]],
)
def test_what_a_recorded_line_may_not_decide(
    line: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line[:-1], "target.label=label", "seed=1"]) == 0
    path = Path(capsys.readouterr().out.strip())
    plan = json.loads((path / "plan.json").read_text())
    plan["argv"] += words
    (path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UsageError) as caught:
        main(["sweep", "resume", path.name, "--debug"])
    check_error(caught.value, *words)
    assert caught.value.tip == f"mmx sweep resume {path.name} {' '.join(words)}"


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "outputs" / "sweeps" / "abc123"
    (sweep / "runs").mkdir(parents=True)
    (sweep / "plan.json").write_text('{"jobs": []}')
    for words, kind, parts in (
        (["status", "abc124"], RunError, ["abc124", "abc123"]),
        (["status"], UsageError, ["status"]),
        (["lst"], UsageError, ["lst"]),
        (["resume", "abc123"], RunError, ["command line"]),
    ):
        with pytest.raises(kind) as caught:
            main(["sweep", *words, "--debug"])
        check_error(caught.value, *parts)
    assert main(["sweep", "cancel", "abc123"]) == 1
    (sweep / "plan.json").write_text('{"jobs": [3]}')
    with pytest.raises(RunError, match="is not what mmx wrote"):
        main(["sweep", "status", "abc123", "--debug"])


def test_processes_that_are_gone_are_not_listed(tmp_path: Path) -> None:
    with announce_process(tmp_path):
        (found,) = list_processes(tmp_path)
        assert (found.pid, found.is_here) == (os.getpid(), True)
    assert list_processes(tmp_path) == []
    (tmp_path / ".processes" / "here-4.json").write_text('{"pid": 4, "host": "here"}')
    (tmp_path / ".processes" / "here-4.lock").touch()  # its process was killed
    assert list_processes(tmp_path) == []


def test_a_cancelled_sweep_begins_no_job_until_it_is_started_again(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    real = train_sweep._run_all

    def cancelled(task: SweepJob, found: Sequence[Job], workers: WorkerPlan) -> None:
        request_cancel(task.sweep.path)
        real(task, found, workers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_sweep, "_run_all", cancelled)
        assert main([*line[:-1], "target.label=label", "seed=1"]) == 143
    path = Path(capsys.readouterr().out.strip())
    assert read_sweep(path).count()["left"] == 1
    assert main(["sweep", "resume", path.name]) == 0
    assert read_sweep(path).count()["done"] == 1
