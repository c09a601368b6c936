"""Conditions, sorting, columns and formats of ``mmx list``, on runs that are made here."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.verbs.arguments import read_run

RUNS = {
    "1_a": ("stl10", "concat", 0.6, 0.55, 0.01),
    "2_b": ("stl10", "gated", 0.8, 0.75, 0.001),
    "3_c": ("cifar10", "concat", 0.7, 0.95, 0.001),
    "4_d": ("stl10", "concat", 0.75, 0.65, 0.1),
}


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """Four finished runs and one that failed, in the folder where mmx list looks."""
    monkeypatch.chdir(tmp_path)
    for name, (target, fusion, test, val, lr) in RUNS.items():
        directory = make(tmp_path / "outputs" / "runs" / name, lr)
        metrics = {"test": {"accuracy": test, "loss": 1.0}, "val": {"accuracy": val, "loss": 1.0}}
        summary = {
            "source": {"task": "none"},
            "target": {"task": target, "metrics": metrics},
            "transfer": {"mode": "parameter"},
            "fusion": fusion,
            "timing": {"total_s": 1.5},
        }
        directory.write_json("summary.json", summary)
        directory.set_status("done")
    make(tmp_path / "outputs" / "runs" / "5_e", 0.5).set_status("failed", error="no room")
    return tmp_path / "outputs"


def make(path, lr):
    config = {"optimizer": {"lr": lr}, "trainer": {"epochs": 3}}
    where = {"label": "x", "fingerprint": "f" * 32, "files": {}, "exactly": path}
    return RunDirectory.create(path.parent, config=config, manifest=Manifest(seed=1), **where)


def names(capsys, *words):
    assert main(["list", *words, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    return "".join(json.loads(line)["run"][-1] for line in lines)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "abcde"),
        (["target=stl10"], "abd"),
        (["target=stl10", "accuracy>0.7"], "bd"),
        (["accuracy>=0.7", "fusion=concat"], "cd"),
        (["fusion=gated,concat", "status=done"], "abcd"),
        (["status!=done"], "e"),
        (["val.accuracy>0.7"], "bc"),
        (["optimizer.lr<=0.001"], "bc"),
        (["timing.total_s=1.5", "trainer.epochs=3"], "abcd"),
        (["run=*_c"], "c"),
        (["--sort", "accuracy"], "eacdb"),
        (["--sort", "accuracy", "--last", "2"], "db"),
        (["--sort", "optimizer.lr", "--reverse"], "edacb"),
        (["target=stl10", "--sort", "val.accuracy", "--last", "1"], "b"),
    ],
)
def test_which_runs_are_shown_and_in_which_order(outputs, capsys, words, expected):
    assert names(capsys, *words) == expected


def test_columns_are_keys(outputs, capsys):
    words = ["list", "outputs", "accuracy>0.65", "--columns", "target,optimizer.lr,val.accuracy"]
    assert main(words) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["run", "target", "optimizer.lr", "val.accuracy"],
        ["runs/2_b", "stl10", "0.001", "0.75"],
        ["runs/3_c", "cifar10", "0.001", "0.95"],
        ["runs/4_d", "stl10", "0.1", "0.65"],
    ]
    assert main([*words, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["val.accuracy"] for row in rows] == ["0.75", "0.95", "0.65"]


def test_csv_has_all_test_metrics(outputs, capsys):
    assert main(["list", "status=done", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["run"], row["accuracy"], row["loss"]) for row in rows][:2] == [
        ("runs/1_a", "0.6", "1.0"),
        ("runs/2_b", "0.8", "1.0"),
    ]


def test_an_unknown_key_is_refused_with_the_closest(outputs, capsys):
    assert main(["list", "optimzer.lr>1"]) == 2
    assert capsys.readouterr().err == (
        "mmx: no run under outputs has the key 'optimzer.lr'; did you mean optimizer.lr?\n"
        "  tip: mmx list outputs --keys shows all keys\n"
    )
    assert main(["list", "outputs", "--keys"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert {"run", "gain", "optimizer.lr", "target.metrics.val.accuracy"} <= set(shown)


def test_a_second_folder_is_refused(outputs, capsys):
    assert main(["list", "outputs", "other"]) == 2
    assert "'other' is a second folder" in capsys.readouterr().err


def test_no_run_that_fulfils_the_conditions(outputs, capsys):
    assert main(["list", "accuracy>0.99"]) == 0
    assert capsys.readouterr().out == (
        "no run under outputs fulfils all conditions; without them, all are shown\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["target=stl"], "target=stl; did you mean stl10?"),
        (["accuracy>0.1", "status=ready"], "status=ready; there is done, failed"),
        (["status=finished"], "status=finished; there is done, failed"),
    ],
)
def test_a_value_that_no_run_has(outputs, capsys, words, said):
    assert main(["list", *words]) == 0
    assert capsys.readouterr().out == f"no run under outputs has {said}\n"


def test_values_that_no_run_has_together(outputs, capsys):
    assert main(["list", "target=cifar10", "fusion=gated"]) == 0
    assert "fulfils all conditions" in capsys.readouterr().out


def test_conditions_may_stand_behind_flags(outputs, capsys):
    assert names(capsys, "--sort", "accuracy", "target=stl10") == "adb"
    assert names(capsys, "outputs", "--last", "1", "target=stl10", "--sort", "accuracy") == "b"


def test_a_condition_on_an_empty_folder(tmp_path, capsys):
    assert main(["list", str(tmp_path), "accuracy>0.99"]) == 0
    assert "no run under" in capsys.readouterr().out


def test_an_undefined_metric_is_sorted_as_none_and_a_gain_stands_next_to_its_metric(
    outputs, capsys
):
    for name, auroc in {"1_a": 0.9, "2_b": float("nan"), "3_c": 0.1, "4_d": 0.5}.items():
        directory = RunDirectory(outputs / "runs" / name)
        summary = directory.summary()
        for split in summary["target"]["metrics"].values():
            split["auroc"] = auroc
        summary["gain"] = {"metric": "auroc", "value": 0.25}
        directory.write_json("summary.json", summary)
        directory.set_status("done")
    for _ in range(2):  # also from what is kept
        assert names(capsys, "--sort", "auroc") in ("becda", "ebcda")
        assert names(capsys, "--sort", "val.auroc")[2:] == "cda"
        assert names(capsys, "val.auroc>0.2", "--sort", "auroc") == "da"
    assert main(["list", "run=*1_a"]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert "auroc 0.900  +0.250" in row


def test_an_undefined_number_is_null_in_json(outputs, capsys):
    path = outputs / "runs" / "1_a" / "summary.json"
    summary = json.loads(path.read_text())
    summary["target"]["metrics"]["test"]["r2"] = float("nan")
    path.write_text(json.dumps(summary))
    assert main(["list", "--json", "--columns", "test.r2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "NaN" not in "".join(lines)
    assert {json.loads(line)["test.r2"] for line in lines} == {None}


def test_a_run_is_named_elsewhere_as_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("outputs", "runs", "one")
    run.mkdir(parents=True)
    for word in ("runs/one", "one", "outputs/runs/one", str(tmp_path / run)):
        assert read_run(word).resolve() == tmp_path / run
    assert read_run("two") == Path("two")
    Path("one").mkdir()  # a folder of that name here is meant first
    assert read_run("one") == Path("one")
