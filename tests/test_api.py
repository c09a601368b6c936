"""``import mmx``: light, and equal by value to what the verbs write into files."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import mmx
from mmx.cli import main
from mmx.errors import ConfigError, DataError, NoRunError, RunError, UsageError
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import Summary

Overrides = Callable[..., list[str]]
Printed = pytest.CaptureFixture[str]
Trained = Callable[..., RunDirectory]
MODALITIES = ("image", "text", "tabular")
CODE = """
import sys, mmx
print([name for name in dir(mmx) if name in mmx.__all__])
run = mmx.load(sys.argv[1])
print(run.status, run.summary.target.task, run.config["seed"])
print(sorted({"torch", "hydra", "numpy", "pandas"} & set(sys.modules)))
mmx.compose("source=none", "target=digits")
print(sorted({"torch", "pandas"} & set(sys.modules)))
"""


@pytest.fixture
def pandas() -> Any:
    return pytest.importorskip("pandas")


@pytest.fixture
def directory(train: Trained, tables: dict[str, Path], overrides: Overrides) -> RunDirectory:
    """Return a run on table ``one`` without a source."""
    return train(*overrides(None, tables["one"], MODALITIES))


def predicted(run: Path, output: Path, *words: str) -> list[dict[str, str]]:
    """Return the rows that ``mmx predict`` writes."""
    assert main(["predict", str(run), *words, "--device", "cpu", "--output", str(output)]) == 0
    with output.open(newline="") as file:
        return list(csv.DictReader(file))


def as_written(frame: Any) -> list[dict[str, str]]:
    """Return the rows of a frame with the texts of the CSV file."""
    rows = frame.astype(object).where(frame.notna(), "").to_dict("records")
    return [
        {
            name: f"{cell:.6f}" if name.startswith("p(") and cell != "" else str(cell)
            for name, cell in row.items()
        }
        for row in rows
    ]


@pytest.mark.slow
def test_it_loads_nothing_before_it_is_needed(directory: RunDirectory) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(directory.path)], capture_output=True, text=True
    )
    assert (done.stderr, done.stdout.splitlines()) == (
        "",
        [
            "['Run', '__version__', 'compose', 'list_runs', 'load', 'train']",
            "done one 0",
            "[]",
            "['torch']",
        ],
    )


def test_there_is_nothing_else() -> None:
    with pytest.raises(AttributeError, match="module 'mmx' has no attribute 'trian'"):
        mmx.trian  # noqa: B018


def test_a_run_is_what_its_files_say(directory: RunDirectory, pandas: Any) -> None:
    run = mmx.load(str(directory.path))
    files = directory.path
    assert run.path == files
    assert repr(run) == f"mmx.load({str(files)!r})"
    assert run.config == yaml.safe_load((files / "config.yaml").read_text())
    assert isinstance(run.summary, Summary)
    assert run.summary == Summary.from_json(json.loads((files / "summary.json").read_text()))
    lines = [json.loads(line) for line in (files / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) > 4
    assert run.metrics.to_dict("records") == lines


def test_a_run_without_results(directory: RunDirectory, tmp_path: Path, pandas: Any) -> None:
    new = tmp_path / "run"
    new.mkdir()
    (new / "config.yaml").write_bytes((directory.path / "config.yaml").read_bytes())
    (new / "metrics.jsonl").touch()
    run = mmx.load(new)
    assert list(run.metrics.columns) == [
        *("stage", "epoch", "step", "split", "name", "value", "seconds")
    ]
    assert len(run.metrics) == 0
    with pytest.raises(RunError, match=r"has no summary: its status is \?\n  tip: mmx resume "):
        _ = run.summary
    with pytest.raises(RunError, match="has no trained target yet"):
        _ = run.model


def test_the_model_answers_as_the_run_did(directory: RunDirectory, pandas: Any) -> None:
    run = mmx.load(directory.path)
    assert not run.model.training
    assert {parameter.device for parameter in run.model.parameters()} == {torch.device("cpu")}
    assert run.model is run.model
    own = run.predict()
    right = (own.prediction == own.target).mean()
    assert right == pytest.approx(run.summary.target.metrics["test"]["accuracy"])


def test_predictions_are_the_rows_of_the_verb(
    directory: RunDirectory, tables: dict[str, Path], tmp_path: Path, pandas: Any
) -> None:
    run = mmx.load(directory.path)
    assert as_written(run.predict()) == predicted(run.path, tmp_path / "own.csv")
    path = tables["two"]
    rows = predicted(run.path, tmp_path / "two.csv", str(path), "--keep", "number")
    assert len(rows) == 48
    assert as_written(run.predict(path, keep=["number"])) == rows


def test_a_frame_is_a_table(
    directory: RunDirectory,
    tables: dict[str, Path],
    tmp_path: Path,
    pandas: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tables["two"]
    monkeypatch.chdir(path.parent)  # where relative paths in it start from
    frame = pandas.read_csv(path, keep_default_na=False, dtype=str)
    frame.index = [f"id {number}" for number in range(48)]
    found = mmx.load(directory.path).predict(frame)
    assert list(found.index) == list(frame.index)
    assert as_written(found) == predicted(directory.path, tmp_path / "two.csv", str(path))
    monkeypatch.chdir(tmp_path)
    lost = mmx.load(directory.path).predict(frame)
    assert sum("does not exist" in reason for reason in lost.reason) == (frame.picture != "").sum()
    with pytest.raises(DataError, match=r"^41 of 48 rows name files that do not exist"):
        mmx.load(directory.path).predict(frame, strict=True)
    with pytest.raises(DataError, match=r"^one: the frame has no column 'picture'"):
        mmx.load(directory.path).predict(frame[["words", "a", "b"]])
    with pytest.raises(DataError, match=r"cannot be written as a table: .* column words with type"):
        mmx.load(directory.path).predict(pandas.DataFrame({"words": ["a", 1, object()]}))
    with pytest.raises(DataError, match="cannot be written as a table: Duplicate column names"):
        mmx.load(directory.path).predict(frame[["words", "words"]])


@pytest.mark.parametrize("form", ["as pandas reads it", "nullable", "category", "paths", "bytes"])
def test_cells_of_any_type_are_read_as_those_of_the_file(
    form: str,
    directory: RunDirectory,
    tables: dict[str, Path],
    pandas: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tables["two"]
    monkeypatch.chdir(path.parent)
    frame = pandas.read_csv(path)
    files = frame.picture
    if form == "nullable":
        frame = frame.convert_dtypes()
    elif form == "category":
        frame = frame.astype({"words": "category"})
    elif form == "paths":
        frame["picture"] = [Path(cell) if cell else None for cell in files.fillna("")]
    elif form == "bytes":
        frame["picture"] = [Path(cell).read_bytes() if cell else None for cell in files.fillna("")]
    run = mmx.load(directory.path)
    pandas.testing.assert_frame_equal(run.predict(frame), run.predict(path))


def test_rows_without_an_answer(
    directory: RunDirectory,
    tables: dict[str, Path],
    pandas: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    frame = pandas.read_csv(tables["two"], keep_default_na=False, dtype=str).head(3)
    frame["picture"] = ""
    frame.loc[1, ["words", "a", "b"]] = ""
    run = mmx.load(directory.path)
    found = run.predict(frame)
    assert found.prediction.isna().tolist() == [False, True, False]
    assert found["p(low)"].isna().tolist() == [False, True, False]
    assert [reason != "" for reason in found.reason] == [False, True, False]
    assert "note: 1 of 3 rows have no prediction" in capsys.readouterr().err
    with pytest.raises(DataError, match="1 of 3 rows have no prediction"):
        run.predict(frame, strict=True)


def test_numbers_are_numbers(
    train: Trained, tables: dict[str, Path], overrides: Overrides, tmp_path: Path, pandas: Any
) -> None:
    words = overrides(None, tables["one"], ("tabular",), "objective=mean_squared_error")
    words = ["target.label=number" if "label" in word else word for word in words]
    run = mmx.load(train(*words, "target.kind=regression").path)
    found = run.predict()
    rows = predicted(run.path, tmp_path / "own.csv")
    assert found.prediction.tolist() == [float(row["prediction"]) for row in rows]
    assert found.target.tolist() == [float(row["target"]) for row in rows]


def test_train_is_the_verb(
    tables: dict[str, Path],
    overrides: Overrides,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = overrides(None, tables["one"], ("tabular",), "trainer.threads=1", "device=cpu")
    typed = [*words, f"output_dir={tmp_path / 'typed'}"]
    assert main(["train", *typed]) == 0
    first = mmx.load(capsys.readouterr().out.strip())
    called = [*words, f"output_dir={tmp_path / 'called'}"]
    config = mmx.compose(*called)
    second = mmx.train(*called)
    assert second.status == "done"
    assert second.path.parent == tmp_path / "called" / "runs"
    assert second.config == config
    assert {**first.config, "output_dir": ""} == {**config, "output_dir": ""}
    assert second.summary.target.metrics == first.summary.target.metrics
    assert RunDirectory(second.path).manifest().argv == ["mmx", "train", *called]
    exactly = mmx.train(*called, f"hydra.run.dir={tmp_path / 'here'}", allow=["some_package"])
    assert exactly.path == tmp_path / "here"
    argv = RunDirectory(exactly.path).manifest().argv
    assert argv[:4] == ["mmx", "train", "--allow", "some_package"]


def test_a_run_that_fails_raises_what_the_prompt_says(
    tables: dict[str, Path], overrides: Overrides, tmp_path: Path
) -> None:
    words = overrides(None, tables["one"], ("tabular",), f"output_dir={tmp_path}")
    words = [word.replace("label=label", "label=lable") for word in words]
    with pytest.raises(RunError) as caught:
        mmx.train(*words, "device=cpu")
    (run,) = (tmp_path / "runs").glob("2*")
    error = json.loads((run / "status.json").read_text())["error"]
    assert "lable" in error
    assert str(caught.value) == f"{run}\nfailed: {error}"


def test_attempts_are_left_out_and_runs_are_sorted(
    tables: dict[str, Path], overrides: Overrides, tmp_path: Path, pandas: Any
) -> None:
    words = overrides(None, tables["one"], ("tabular",), f"output_dir={tmp_path}", "device=cpu")
    for seed in (7, 1):
        mmx.train(*words, f"seed={seed}", "trainer.epochs=1")
    with pytest.raises(RunError):
        mmx.train(*[word.replace("label=label", "label=lable") for word in words], "seed=3")
    assert mmx.list_runs(tmp_path).seed.tolist() == [7, 1]
    assert mmx.list_runs(tmp_path, sort="seed").seed.tolist() == [1, 7]
    assert mmx.list_runs(tmp_path, sort="seed", attempts=True).seed.tolist() == [1, 3, 7]


@pytest.mark.parametrize("call", [mmx.compose, mmx.train])
def test_a_wrong_config_raises_what_the_prompt_says(
    call: Callable[..., object], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["fusion=gatd", "seed=1.5", f"output_dir={tmp_path}"]
    assert main(["train", *words]) == 2
    with pytest.raises(ConfigError) as caught:
        call(*words)
    assert f"mmx: {caught.value}\n" == capsys.readouterr().err
    assert [problem.given for problem in caught.value.problems] == ["fusion=gatd", "seed=1.5"]
    assert not list(tmp_path.iterdir())


def test_experiments_and_folders_of_yaml(tmp_path: Path) -> None:
    assert mmx.compose(experiment="fashion") == mmx.compose("experiment=fashion")
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ntrainer:\n  epochs: 17\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    found = mmx.compose("seed=3", experiment="mine", config_dirs=[tmp_path])
    assert (found["trainer"]["epochs"], found["seed"]) == (17, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m"], "-m is a flag of the command line"),
        ([3], "an override is text, not 3"),
        ([{"seed": 1}], "an override is text, not a config"),
        (["seed=1,2"], "the overrides are a sweep"),
        (["seeds=2"], "the overrides are a sweep"),
    ],
)
def test_what_is_no_single_experiment(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        mmx.train(*words)


def test_paths_that_are_given(
    directory: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoRunError, match="does not exist"):
        mmx.load(tmp_path / "none")
    monkeypatch.setenv("HOME", str(directory.path.parent))
    assert mmx.load(f"~/{directory.path.name}").path == directory.path
    with pytest.raises(UsageError, match="changes where a run's data is"):
        mmx.load(directory.path, "fusion=gated")
    with pytest.raises(UsageError, match="a path is expected, not int"):
        mmx.load(3)  # type: ignore[arg-type]
    pytest.importorskip("pandas")
    with pytest.raises(UsageError, match="takes a frame or a path, not list"):
        mmx.load(directory.path).predict([{"text": "a"}])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="allow and config_dirs are lists"):
        mmx.compose(allow="package")


def test_runs_are_those_of_the_list(
    directory: RunDirectory, pandas: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = directory.path.parent.parent
    name = f"run={directory.path.relative_to(folder)}"
    assert main(["list", str(folder), name, "--csv"]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    found = mmx.list_runs(folder, name)
    (values,) = found.astype(object).where(found.notna(), "").to_dict("records")
    assert {key: str(value) for key, value in values.items()} == row
    assert mmx.load(folder / found.run[0]).path == directory.path
    assert [found[key].dtype.kind for key in ("gain", "seconds")] == ["f", "f"]  # no run has a gain
    chosen = mmx.list_runs(folder, name, "seed=0", columns=["trainer/epochs"], sort="seed")
    assert chosen.to_dict("records") == [{"run": found.run[0], "trainer.epochs": 2}]
    assert len(mmx.list_runs(folder, name, "seed>0")) == 0
    with pytest.raises(UsageError, match="'accuracy' is neither a folder nor a condition"):
        mmx.list_runs(folder, "accuracy")
    with pytest.raises(RunError, match="there is no folder"):
        mmx.list_runs(folder / "none")


def test_without_pandas_it_says_what_to_type(
    directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    run = mmx.load(directory.path)
    for ask in (lambda: run.metrics, run.predict, lambda: mmx.list_runs(directory.path)):
        with pytest.raises(UsageError, match=r"tip: pip install 'mmx\[pandas\]'"):
            ask()
