"""Verbs from the command line: train, reproduce, eval, predict, sweeps, the live view."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import NOTHING

pytestmark = pytest.mark.slow

Run = Callable[..., RunDirectory]
Overrides = Callable[..., list[str]]
Tables = dict[str, Path]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
MODES = ("scratch", "parameter", "feature", "structure")


def mmx(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mmx", *words]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def mode_run(train: Run, tables: Tables, overrides: Overrides) -> Callable[[str], RunDirectory]:
    """Return the run of a mode that the tests of the stages have made."""

    def run(mode: str) -> RunDirectory:
        modalities = ("image", "text", "tabular")
        options = ("fusion=concat", f"transfer={mode}")
        return train(*overrides(tables["one"], tables["two"], modalities, *options))

    return run


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, str]:
    """Return a run of the built-in demo, made tiny, and what it said on stderr."""
    folder = tmp_path_factory.mktemp("digits")
    options = [
        "source.per_class=4",
        "target.per_class=4",
        "encoder.image.width=16",
        "encoder.audio.width=16",
        "trainer.epochs=2",
        "trainer.threads=1",
        "device=cpu",
    ]
    done = mmx(folder, "train", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1  # stdout is one line, the run directory
    run = RunDirectory.open(folder / done.stdout.strip())
    assert run.path.parent == folder / "outputs" / "runs"
    return run, done.stderr


def test_train_says_the_answer_on_stderr_in_plain_lines(
    digits: tuple[RunDirectory, str],
) -> None:
    run, err = digits
    summary = run.summary()
    assert "\x1b" not in err
    for stage in ("source", "target", "control"):
        assert f"\n{stage:8s} best epoch " in err
    assert "digits → digits_av  (parameter, concat, seed 0)" in err
    assert f"gain: {summary['gain']['value']:+.3f} accuracy over the scratch control" in err
    assert run.status()["status"] == "done"
    assert summary["transfer"]["copied"] > 0


def test_a_run_is_reproduced_bit_for_bit(
    digits: tuple[RunDirectory, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = digits
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in run.path.iterdir())
    assert main(["reproduce", str(run.path)]) == 0
    out, err = capsys.readouterr()
    again = RunDirectory.open(tmp_path / out.strip())
    assert again.path.parent == tmp_path / "outputs" / "runs"
    assert "identical: all 80 numbers, bit for bit\n" in err
    assert f"{NOTHING}\n" in err
    assert again.manifest().argv == ["mmx", "reproduce", str(run.path)]
    assert "numbers differ" not in err
    assert again.manifest().parent == str(run.path)
    assert again.manifest().fingerprint == run.manifest().fingerprint
    assert again.summary()["target"] == run.summary()["target"]
    assert sorted(path.name for path in run.path.iterdir()) == before


@pytest.mark.parametrize("changes", [(), ("optimizer.lr=0.001",)])
@pytest.mark.parametrize("summary", [None, '{"target": {"task": "digits", "metrics": {}}}'])
def test_with_nothing_to_compare_with_a_reproduction_says_so_and_fails(
    changes: tuple[str, ...],
    summary: str | None,
    digits: tuple[RunDirectory, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    (run.path / "config.yaml").write_bytes((digits[0].path / "config.yaml").read_bytes())
    manifest = {k: v for k, v in digits[0].manifest().to_json().items() if k != "digests"}
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    if summary is not None:
        (run.path / "summary.json").write_text(summary)
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", str(run.path), *changes]) == 1
    assert f"nothing to compare with: {run.path} has no numbers" in capsys.readouterr().err


def test_a_change_says_what_drifted(
    digits: tuple[RunDirectory, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = digits
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", str(run.path), "optimizer.lr=0.001"]) == 0
    out, err = capsys.readouterr()
    again = RunDirectory.open(tmp_path / out.strip())
    one, two = (each.summary()["target"]["metrics"]["test"]["loss"] for each in (run, again))
    assert f"  target.metrics.test.loss: {one:.6g} -> {two:.6g}  ({two - one:+.3g})\n" in err
    assert "what differs around the numbers:\n  optimizer.lr: 0.003 -> 0.001\n" in err
    assert "changed: config\n" in err
    assert again.manifest().overrides[-1] == "optimizer.lr=0.001"


def test_a_bare_config_is_reproduced(
    digits: tuple[RunDirectory, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, _ = digits
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "somebody.yaml"
    config.write_text((run.path / "config.yaml").read_text())
    assert main(["reproduce", str(config)]) == 0
    again = RunDirectory.open(tmp_path / capsys.readouterr().out.strip())
    assert again.summary()["target"] == run.summary()["target"]
    assert again.summary()["gain"] == run.summary()["gain"]
    assert main(["reproduce", str(config), "seed=1"]) == 1
    assert "changes need a run directory" in capsys.readouterr().err


@pytest.mark.parametrize("mode", MODES)
def test_eval_gives_the_summarys_metrics_exactly(
    mode_run: Callable[[str], RunDirectory], capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    run = mode_run(mode)
    for split in ("test", "val"):
        assert main(["eval", str(run.path), "--split", split]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out) == {split: run.summary()["target"]["metrics"][split]}
        assert err == ""


VERB = """
import sys

import torch

from mmx.cli import main

code = main(sys.argv[1:])
deterministic = torch.are_deterministic_algorithms_enabled()
print(code, deterministic, torch.get_num_threads(), file=sys.stderr)
"""
"""A verb, and how torch computes after it."""


@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_a_verb_of_a_run_computes_as_the_run_did_in_a_process_of_its_own(
    digits: tuple[RunDirectory, str], tmp_path: Path, verb: str
) -> None:
    command = [sys.executable, "-c", VERB, verb, str(digits[0].path)]
    command += ["--output", str(tmp_path / "p.csv")] if verb == "predict" else []
    environment = {**ENVIRONMENT, "OMP_NUM_THREADS": "2"}  # the run's trainer.threads=1 wins
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "0 True 1", done.stderr
    if verb == "eval":
        test = digits[0].summary()["target"]["metrics"]["test"]
        assert json.loads(done.stdout) == {"test": test}


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("mode", ["parameter", "feature"])
def test_predictions_of_the_test_split_have_its_accuracy(
    mode_run: Callable[[str], RunDirectory],
    tables: Tables,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    run, path = mode_run(mode), tmp_path / "deep" / "p.csv"
    assert main(["predict", str(run.path), "--output", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    found, table = read(path), read(tables["two"])
    tested = [index for index, row in enumerate(table) if row["split"] == "test"]
    assert [int(row["row"]) - 1 for row in found] == tested
    right = [row["prediction"] == table[int(row["row"]) - 1]["label"] for row in found]
    accuracy = run.summary()["target"]["metrics"]["test"]["accuracy"]
    assert sum(right) / len(right) == pytest.approx(accuracy)
    for row in found:
        chances = {name: float(row[f"p({name})"]) for name in ("low", "middle", "high")}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert chances[row["prediction"]] == max(chances.values())


@pytest.mark.parametrize("mode", ["parameter", "feature"])
def test_new_rows_without_labels_are_predicted(
    mode_run: Callable[[str], RunDirectory],
    tables: Tables,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    run = mode_run(mode)
    assert main(["predict", str(run.path), "--output", str(tmp_path / "all.csv")]) == 0
    known = {row["row"]: row["prediction"] for row in read(tmp_path / "all.csv")}
    rows = read(tables["two"])
    new = tables["two"].with_name("new.csv")
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["b", "words", "picture", "a"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert main(["predict", str(run.path), str(new), "--output", str(tmp_path / "new.csv")]) == 0
    capsys.readouterr()
    found = {row["row"]: row["prediction"] for row in read(tmp_path / "new.csv")}
    assert len(found) == len(rows)
    assert {row: found[row] for row in known} == known


@pytest.fixture(scope="module")
def sweep_words(tables: Tables, overrides: Overrides) -> list[str]:
    given = overrides(None, tables["two"], ("tabular",), "trainer.epochs=1")
    return [*given, "trainer.threads=1", "device=cpu", "seed=1,2"]


def rows_of(folder: Path) -> list[dict[str, str]]:
    return read(folder / "summary.csv")


def numbers(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in ("run", "seconds")} for row in rows]


def test_a_sweep_runs_the_jobs_that_can_run_and_names_the_others(
    tables: Tables,
    sweep_words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    absent = tables["two"].with_name("absent.csv")
    words = [text for text in sweep_words if not text.startswith("target.path=")]
    words = ["train", "-m", *words, f"target.path={absent},{tables['two']}"]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    rows = rows_of(tmp_path / out.strip())
    assert [row["status"] for row in rows].count("done") == 2
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(failed) == 2
    for row in failed:
        assert f"target.path={absent}" in row["job"]
        assert row["error"].startswith(f"two: there is no table {absent}")
        assert f"failed: {row['job']}: {row['error']} ({row['run']})" in err
        assert RunDirectory(Path(row["run"])).status()["status"] == "failed"
    for row in rows:
        if row["status"] == "done":
            summary = RunDirectory(Path(row["run"])).summary()
            assert float(row["test.accuracy"]) == summary["target"]["metrics"]["test"]["accuracy"]
            assert row["seed"] == str(summary["seed"])
    assert main(words) == 1  # again: what is done is not done again
    again, err = capsys.readouterr()
    assert again == out
    assert err.count("skipped ") == 2
    for old, new in zip(rows, rows_of(tmp_path / out.strip()), strict=True):
        assert (old["run"] == new["run"]) == (old["status"] == "done")
        assert numbers([old]) == numbers([new])


def test_jobs_in_parallel_give_the_same_numbers(
    sweep_words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", *sweep_words, "hydra.sweep.dir=serial"]) == 0
    assert capsys.readouterr().out == "serial\n"
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=parallel"]
    done = mmx(tmp_path, "train", "-m", *sweep_words, *launcher)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "parallel\n"
    one, two = rows_of(tmp_path / "serial"), rows_of(tmp_path / "parallel")
    assert [row["status"] for row in one] == ["done", "done"]
    assert numbers(one) == numbers(two)
    assert one[0]["test.loss"] != one[1]["test.loss"]


def test_a_terminal_shows_stages_that_move_and_the_answer(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    given = overrides(tables["one"], tables["two"], ("tabular",), "trainer.epochs=20")
    child = pexpect.spawn(
        sys.executable,
        ["-m", "mmx", "train", *given, "device=cpu"],
        cwd=str(tmp_path),
        env={**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "150", "LINES": "40"},  # type: ignore[arg-type]
        dimensions=(40, 150),
        encoding="utf-8",
        timeout=90,
    )
    shown = []
    for pattern in (r"source .*\d+/\d+", r"target .*\d+/\d+", r"control .*\d+/\d+", "one → two"):
        child.expect(pattern)
        shown.append(child.before + child.after)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert "\x1b[" in "".join(shown)
    last = child.before
    assert "parameter test" in last
    assert "control scratch test" in last
    assert "gain: " in last
    assert last.rstrip().splitlines()[-1].startswith("outputs/runs/")


def test_the_wheel_runs_from_an_empty_folder(tmp_path: Path) -> None:
    repository = Path(__file__).parents[2]
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "env": ENVIRONMENT}
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run([*build, "--outdir", str(tmp_path), str(repository)], **quiet)
    (wheel,) = tmp_path.glob("mmx-*.whl")
    place, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(place), str(wheel)], **quiet)
    names = {path.relative_to(place / "mmx").as_posix() for path in place.glob("mmx/**/*")}
    assert {"py.typed", "configs/config.yaml"} <= names
    package = repository / "mmx"
    templates = {path.relative_to(package).as_posix() for path in package.glob("**/*.jinja")}
    assert "reports/templates/report.html.jinja" in templates
    assert templates <= names
    configs = {path.relative_to(repository).as_posix() for path in repository.glob("configs/**/*")}
    assert configs <= names
    environment = {**ENVIRONMENT, "PYTHONPATH": str(place)}
    words = ["train", "source=none", "target=digits", "target.per_class=2", "trainer.epochs=1"]
    code = "import mmx, sys; from mmx.cli import main; print(mmx.__file__); sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "encoder.image.width=16", "device=cpu"],
        cwd=empty,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    where, run = done.stdout.splitlines()
    assert where == str(place / "mmx" / "__init__.py")
    assert (empty / run / "report.html").exists()
