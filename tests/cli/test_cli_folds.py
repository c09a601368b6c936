"""``target.folds=``: a run for each fold, of the same rows whatever else varies."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import Refusal, check_refusals

from mmx.cli import main
from mmx.errors import ConfigError
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.verbs.preflight import preflight
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import parse_line

Capture = pytest.CaptureFixture[str]


def expanded(words: str) -> tuple[bool, list[str]]:
    line = expand(parse_line(shlex.split(words)))
    return line.multirun, line.overrides


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        ("target.folds=3", ["target.folds=3", "target.fold=1,2,3"]),
        (
            "-m target.folds=2 fusion=gmu,concat",
            ["target.folds=2", "fusion=gmu,concat", "target.fold=1,2"],
        ),
        (
            "target.folds=2 target.repeats=3",
            ["target.folds=2", "target.repeat=1,2,3", "target.fold=1,2"],
        ),
        (
            "target.folds=4 target.fold=2 target.repeats=2",
            ["target.folds=4", "target.fold=2", "target.repeat=1,2"],
        ),
        ("seeds=2 target.folds=2", ["target.folds=2", "target.fold=1,2", "seed=0,1"]),
    ],
)
def test_they_stand_for_a_sweep(words: str, overrides: list[str]) -> None:
    assert expanded(words) == (True, overrides)


@pytest.mark.parametrize(
    "words", ["target.folds=null", "target.folds=3 target.fold=2", "target.folds=x"]
)
def test_without_anything_to_run_a_line_is_as_it_was(words: str) -> None:
    assert expanded(words) == (False, words.split())


def test_an_experiment_may_say_them(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "# @package _global_\n# an experiment of two folds\ntarget: {folds: 2, repeats: 2}\n"
    )
    line = expand(parse_line(["--config-dir", str(tmp_path), "experiment=mine"]))
    assert line.overrides == [
        *("experiment=mine", "target.repeats=null", "target.repeat=1,2", "target.fold=1,2")
    ]
    jobs = preflight(line, [])
    folds = [job.experiment.target.tested_fold for job in jobs]
    assert [(each.repeat, each.number) for each in folds if each] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]


PROBLEMS: dict[str, Refusal] = {
    "-m target.folds=3,4": Refusal("target.folds=3,4", type_this="target.folds=3"),
    "target.folds=3 target.repeats=2 target.repeat=1": Refusal(
        "target.repeats=2",
        says=("target.repeat=1",),
        type_this="target.repeat=1 target.repeats=null",
    ),
    "target.folds=500 target.repeats=500": Refusal("target.folds=500", says=("250,000", "100,000")),
}


@pytest.mark.parametrize("words", PROBLEMS)
def test_what_does_not_go_together(words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        expand(parse_line(shlex.split(words)))
    check_refusals(caught.value.problems, [PROBLEMS[words]])


@pytest.mark.parametrize("words", ["target.folds=1", "target.folds=x", "target.repeats=2"])
def test_wrong_values_are_refused_by_the_task(words: str) -> None:
    with pytest.raises(ConfigError):
        preflight(expand(parse_line(words.split())), [])


def test_a_config_without_them_has_the_fingerprint_of_one_that_says_null() -> None:
    plain, said = (
        preflight(parse_line(words), [])[0].experiment
        for words in ([], ["target.folds=null", "target.pool=null"])
    )
    assert plain.fingerprint == said.fingerprint
    assert not {"folds", "fold", "repeat", "repeats", "pool"} & plain.config["target"].keys()
    tested = preflight(parse_line(["target.folds=3", "target.fold=2"]), [])[0].experiment
    assert tested.fingerprint != plain.fingerprint
    assert (tested.config["target"]["folds"], tested.config["target"]["fold"]) == (3, 2)


def test_a_sweep_over_folds_is_paired_averaged_and_done_once(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    folder = tmp_path / "sweep"
    given = overrides(None, tables["two"], ("tabular",), "control=majority", "target.split=null")
    given += ["target.folds=3", "fusion=concat,gmu", "trainer.epochs=1", "trainer.threads=1"]
    line = ["train", "-m", *given, "device=cpu", f"hydra.sweep.dir={folder}"]
    assert main(line) == 0
    out = capsys.readouterr().err
    assert "over folds" in out
    with (folder / "summary.csv").open() as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert [(row["fusion"], row["fold"]) for row in rows] == [
        (fusion, fold) for fusion in ("concat", "gmu") for fold in "123"
    ]
    tested = {}
    for row in rows:
        scores = sample_scores.read_scores(RunDirectory(Path(row["run"])))
        assert scores is not None
        tested[row["fusion"], row["fold"]] = scores[0].rows.tolist()
    for fold in "123":
        assert tested["concat", fold] == tested["gmu", fold]
    assert sorted(row for fold in "123" for row in tested["gmu", fold]) == [*range(48)]
    with (folder / "gains.csv").open() as file:
        gains = list(csv.DictReader(file))
    assert [(row["fusion"], row["folds"]) for row in gains] == [("concat", "3"), ("gmu", "3")]
    assert main(["compare", str(folder)]) == 0
    assert "48 test rows, 3 folds" in capsys.readouterr().out
    assert main(line) == 0
    assert capsys.readouterr().err.count("skipped ") == 6
