"""``mmx sweep``: sweeps as their files show them, and going on with one."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from refusals import check_error

from mmx import execution
from mmx.cli import main
from mmx.errors import RunError, UsageError
from mmx.runs.stored_sweep import StoredSweep, read_sweep
from mmx.runs.sweep_process import (
    announce_process,
    find_request,
    is_cancelled,
    list_processes,
    request_cancel,
    watch_for_cancel,
)
from mmx.training.events import StopRequest
from mmx.verbs import train_sweep
from mmx.verbs.completion import complete_line
from mmx.verbs.preflight import Job
from mmx.verbs.sweep_line import make_words
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
    out, err = capsys.readouterr()
    path = Path(out.strip())
    again = f"  tip: mmx sweep resume {path}   (what is not done, once that is mended)"
    assert err.splitlines()[-1] == again
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


FORGED = [
    ["--allow", "evil"],
    ["cache=/else"],
    ["cache_gb=0"],
    ["download=true"],
    ["target.download=true"],
    ["encoder.image.download=true"],
    ["++encoder.image.download=true"],
    ["data_dir=/else"],
    ["target.data_dir=/else"],
    ["tracker.uri=http://x"],
    ["callbacks=evil"],
    ["hydra/launcher=submitit"],
    ["hydra/launcher=ray", "hydra.launcher.address=ray://evil:10001"],
    ["hydra.run.dir=/else"],
    ["processes=64"],
    ["jobs=64"],
    ["device=cuda"],
    ["trainer.workers=64"],
    ["trainer.resident=true"],
    ["--config-dir", "/else"],
    ["--info"],
    ["--dry-run"],
    ["nonsense.key=1"],
]


def test_what_a_recorded_line_may_not_decide(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line[:-1], "target.label=label", "seed=1"]) == 0
    path = Path(capsys.readouterr().out.strip())
    plan = json.loads((path / "plan.json").read_text())
    for words in FORGED:
        forged = {**plan, "argv": [*plan["argv"], *words]}
        (path / "plan.json").write_text(json.dumps(forged))
        with pytest.raises(UsageError) as caught:
            main(["sweep", "resume", path.name, "--debug"])
        check_error(caught.value, *words)
        assert caught.value.tip == f"mmx sweep resume {path.name} {' '.join(words)}"
    moved = shutil.move(path, path.parent.parent / "elsewhere")  # where its name does not find it
    with pytest.raises(UsageError) as caught:
        main(["sweep", "resume", str(moved), "--debug"])
    assert caught.value.tip == f"mmx sweep resume {moved} {' '.join(FORGED[-1])}"


def a_stored_line(*words: str) -> StoredSweep:
    return StoredSweep(Path("outputs/sweeps/abc"), ["mmx", "train", "-m", *words], "/begun")


def test_a_mapping_hides_nothing() -> None:
    for word, harmless in (
        ("trainer={epochs: 3}", True),
        ("target.columns={tabular: [a, b]}", True),
        ("target.path=${data_dir}/t.csv", True),
        ("hydra/launcher=basic", True),
        ("trainer={epochs: 3, workers: 64}", False),
        ("target=[{data_dir: /else}]", False),
        ("+target=choice({a: {download: true}},{a: 1})", False),
        ("trainer=${target.columns}", False),
        ("tracker@fusion=mlflow", False),
    ):
        if harmless:
            assert make_words(a_stored_line(word), "resume", []) == ["-m", word]
        else:
            with pytest.raises(UsageError):
                make_words(a_stored_line(word), "resume", [])


def test_what_is_typed_again_counts_instead() -> None:
    found = a_stored_line("seed=1,2", "hydra/launcher=ray", "hydra.launcher.address=evil", "jobs=9")
    typed = ["hydra/launcher=basic", "jobs=2"]  # options of the other launcher go with it
    assert make_words(found, "resume", typed) == ["-m", "seed=1,2", *typed]
    with pytest.raises(UsageError) as caught:  # not another key whose name begins alike
        make_words(a_stored_line("download=true"), "resume", ["target.download=true"])
    assert caught.value.tip == "mmx sweep resume abc download=true"
    with pytest.raises(UsageError) as caught:
        make_words(a_stored_line("--config-dir", "mine"), "resume", [])
    assert caught.value.tip == "mmx sweep resume abc --config-dir /begun/mine"
    assert make_words(a_stored_line("-cd", "mine"), "resume", ["--config-dir=/mine"]) == [
        "-m",
        "--config-dir=/mine",
    ]


def test_a_recorded_folder_is_not_imported_from(
    line: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*line[:-1], "target.label=label", "seed=1"]) == 0
    path = tmp_path / capsys.readouterr().out.strip()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(UsageError) as caught:
        main(["sweep", "resume", str(path), "--allow", "mine", "--debug"])
    check_error(caught.value, tmp_path, "mine", types=[f"cd {tmp_path}"])
    assert Path.cwd() == elsewhere


def test_a_word_that_makes_other_jobs_is_refused(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 1
    path = Path(capsys.readouterr().out.strip())
    plan = (path / "plan.json").read_bytes()
    others = ["trainer.batch_size=16", "seed=7", "source=digits", "processes=2", "output_dir=/else"]
    for word in others:
        for what in ("resume", "retry"):
            with pytest.raises(UsageError) as caught:
                main(["sweep", what, path.name, word, "--debug"])
            check_error(caught.value, word)
            typed = shlex.split(str(caught.value.tip))
            assert typed[:3] == ["mmx", "train", "-m"]
            assert [each for each in typed if each.startswith(word.partition("=")[0])] == [word]
    assert (path / "plan.json").read_bytes() == plan


def test_what_the_opener_decides_leaves_the_jobs_as_they_are(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 1
    path = Path(capsys.readouterr().out.strip())
    plan = json.loads((path / "plan.json").read_text())
    before = len(list((path / "runs").iterdir()))
    assert main(["sweep", "retry", path.name, "cache=off", "jobs=1", "budget=1h"]) == 1
    assert len(list((path / "runs").iterdir())) == before + 1
    again = json.loads((path / "plan.json").read_text())
    assert again["argv"] == plan["argv"]
    assert [job["fingerprint"] for job in again["jobs"]] == [
        job["fingerprint"] for job in plan["jobs"]
    ]
    (given,) = [word for word in line if word.startswith("target.path=")]
    moved = shutil.copytree(Path(given.partition("=")[2]).parent, tmp_path / "moved")
    word = f"target.path={moved / Path(given).name}"  # the failed job alone, from its new place
    assert main(["sweep", "retry", path.name, word]) == 1
    assert len(list((path / "runs").iterdir())) == before + 2
    again = json.loads((path / "plan.json").read_text())
    assert word in again["argv"]  # the line and the jobs of a plan belong together
    assert given not in again["argv"]
    assert len(again["jobs"]) == len(plan["jobs"])


def test_a_line_that_now_makes_other_jobs_keeps_its_plan(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == 1
    path = Path(capsys.readouterr().out.strip())
    plan = json.loads((path / "plan.json").read_text())
    plan["argv"] = [*plan["argv"][:-1], "target.label=label,absent,other"]
    (path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RunError, match="now makes other jobs") as caught:
        main(["sweep", "retry", path.name, "--debug"])
    assert str(caught.value.tip).startswith("mmx train -m source=none ")
    assert json.loads((path / "plan.json").read_text()) == plan


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = tmp_path / "outputs" / "sweeps" / "abc123"
    (sweep / "runs").mkdir(parents=True)
    (sweep / "plan.json").write_text('{"jobs": []}')
    for words, kind, parts in (
        (["status", "abc124"], RunError, ["abc124", "abc123"]),
        ([], UsageError, ["ls, status, resume, retry, cancel"]),
        (["status"], UsageError, ["status"]),
        (["lst"], UsageError, ["lst"]),
        (["resume", "abc123"], RunError, ["command line"]),
    ):
        with pytest.raises(kind) as caught:
            main(["sweep", *words, "--debug"])
        check_error(caught.value, *parts)
    with pytest.raises(RunError) as caught:
        main(["sweep", "resume", "abc124", "--debug"])
    assert caught.value.tip == "mmx sweep resume abc123"
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


def test_a_run_of_a_cancelled_sweep_is_resumed_alone(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def cancelled(sweep: Path, stop: StopRequest, answered: object = None) -> Callable[[], None]:
        request_cancel(sweep)  # another terminal, as the run begins
        return watch_for_cancel(sweep, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "watch_for_cancel", cancelled)
        assert main([*line[:-1], "target.label=label", "seed=1"]) == 143
    path = Path(capsys.readouterr().out.strip())
    (run,) = (path / "runs").iterdir()
    assert json.loads((run / "status.json").read_text())["status"] == "interrupted"
    assert main(["resume", str(run)]) == 0
    assert json.loads((run / "status.json").read_text())["status"] == "done"
    assert is_cancelled(path)  # the other jobs stay cancelled


def test_a_later_request_stops_a_run_that_was_resumed(tmp_path: Path) -> None:
    assert find_request(tmp_path) is None
    request_cancel(tmp_path)
    answered, stop = find_request(tmp_path), StopRequest()
    watch_for_cancel(tmp_path, stop, answered)()
    assert not stop.is_made
    request_cancel(tmp_path)
    watch_for_cancel(tmp_path, stop, answered)()
    assert stop.signal_number == 15
    earlier = StopRequest()
    watch_for_cancel(tmp_path, earlier)()  # a job of the sweep itself
    assert earlier.signal_number == 15
