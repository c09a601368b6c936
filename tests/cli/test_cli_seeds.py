"""``seeds=`` and ``curve=``: what they stand for, and what they do not go with."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refusals import Refusal, check_refusals

from mmx.errors import ConfigError
from mmx.verbs.preflight import preflight
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import parse_line

ALL = "target.per_class=null"


def expanded(words: str) -> tuple[bool, list[str]]:
    line = expand(parse_line(shlex.split(words)))
    return line.multirun, line.overrides


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        ("seeds=3", ["seed=0,1,2"]),
        ("seeds=1", ["seed=0"]),
        ("seeds=3 seed=4 fusion=gmu", ["fusion=gmu", "seed=4,5,6"]),
        ("-m fusion=gmu,concat seeds=2", ["fusion=gmu,concat", "seed=0,1"]),
        ("+seeds=2", ["seed=0,1"]),
        ("-m seeds=2 hydra.sweep.dir=/x", ["hydra.sweep.dir=/x", "seed=0,1"]),
        (f"curve=fractions {ALL}", [ALL, "target.fraction=0.1,0.25,0.5,1.0"]),
        (f"curve=[0.5,0.05] {ALL}", [ALL, "target.fraction=0.05,0.5"]),
        (f"curve=[0.5,1] seeds=2 {ALL}", [ALL, "target.fraction=0.5,1.0", "seed=0,1"]),
    ],
)
def test_they_stand_for_a_sweep(words: str, overrides: list[str]) -> None:
    assert expanded(words) == (True, overrides)


@pytest.mark.parametrize("words", ["", "fusion=gmu", "seed=3", "seeds=null", "curve=null seed=1"])
def test_without_them_a_line_is_as_it_was(words: str) -> None:
    assert expanded(words) == (False, words.split())


def test_a_run_of_several_seeds_is_the_run_of_its_seed() -> None:
    line = expand(parse_line(["seeds=2", "fusion=gmu"]))
    several = [job.experiment.fingerprint for job in preflight(line, [])]
    alone = [
        preflight(parse_line(["fusion=gmu", f"seed={seed}"]), [])[0].experiment.fingerprint
        for seed in range(2)
    ]
    assert several == alone


def test_an_experiment_may_say_them(tmp_path: Path) -> None:
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "# @package _global_\n# an experiment of five seeds\nseeds: 2\nseed: 7\n"
    )
    words = ["--config-dir", str(tmp_path), "experiment=mine"]
    line = expand(parse_line(words))
    assert line.overrides == ["experiment=mine", "seeds=null", "seed=7,8"]
    assert [job.experiment.settings.seed for job in preflight(line, [])] == [7, 8]
    line = expand(parse_line([*words, "seeds=1"]))
    assert line.overrides == ["experiment=mine", "seed=7"]
    with pytest.raises(ConfigError, match="stands for several runs"):
        preflight(line, [])
    assert expand(parse_line([*words, "seeds=null"])).multirun is False


PROBLEMS: dict[str, Refusal] = {
    "seeds=3 seed=1,2": Refusal(
        "seeds=3", says=("seed=1,2",), type_this="-m seed=1,2   (without seeds=3)"
    ),
    "-m seeds=2 seed=range(3)": Refusal(
        "seeds=2", says=("seed=range(3)",), type_this="-m seed=range(3)   (without seeds=2)"
    ),
    "-m seeds=2,3": Refusal("seeds=2,3", says=("sweep",), type_this="seeds=2"),
    "seeds=0": Refusal("seeds=0", says=("≥ 1", "≤ 100000"), type_this="seeds=null"),
    "seeds=many": Refusal("seeds=many", says=("≥ 1", "≤ 100000"), type_this="seeds=null"),
    "seeds=2 seed=-1": Refusal(
        "seed=-1",
        says=("≥ 0", "≤ 9223372036854775807"),
        type_this="seed=0",
    ),
    "seeds=2 fusion=gmu,concat": Refusal(
        "fusion=gmu,concat", says=("several values",), type_this="-m fusion=gmu,concat"
    ),
    "curve=fraction": Refusal(
        "curve=fraction",
        says=("> 0", "≤ 1"),
        closest="fractions",
        type_this="curve=fractions",
    ),
    "curve=[0.5]": Refusal("curve=[0.5]", says=("> 0", "≤ 1"), type_this="curve=fractions"),
    "curve=[0,0.5]": Refusal("curve=[0,0.5]", says=("> 0", "≤ 1"), type_this="curve=fractions"),
    "-m curve=0.1,0.5": Refusal("curve=0.1,0.5", says=("sweep",), type_this="curve=[0.1,0.5]"),
    "curve=fractions": Refusal(
        "curve=fractions",
        says=("target=digits_av", "(target.per_class=10)"),
        type_this="curve=fractions target.per_class=null",
    ),
    "curve=fractions target.per_class=null target.fraction=0.5": Refusal(
        "curve=fractions",
        says=("target.fraction=0.5",),
        type_this="curve=fractions target.fraction=null",
    ),
    "-m curve=fractions target.per_class=null target.limit=5,6": Refusal(
        "curve=fractions", says=("target.limit=5",), type_this="curve=fractions target.limit=null"
    ),
}


@pytest.mark.parametrize("words", PROBLEMS)
def test_what_they_do_not_go_with(refuse: Callable[..., Any], words: str) -> None:
    check_refusals(refuse("train", *shlex.split(words)), [PROBLEMS[words]])


def test_a_config_that_is_shown_has_them_as_they_were_typed(mmx: Callable[..., Any]) -> None:
    said = mmx("train", "--cfg", "job", "seeds=3", "curve=fractions")
    assert said.code == 0, said.err
    lines = [line.partition("#")[0].rstrip() for line in said.out.splitlines()]
    assert "seeds: 3" in lines
    assert "curve: fractions" in lines
    assert "seed: 0" in lines


def test_one_run_of_such_a_config_is_refused(mmx: Callable[..., Any], tmp_path: Path) -> None:
    shown = mmx("train", "--cfg", "job", "--resolve", "seeds=3").out
    path = tmp_path / "shown.yaml"
    path.write_text(shown.replace("data_dir: null", "data_dir: data"))
    said = mmx("reproduce", str(path))
    assert said.code == 2
    assert "seeds=3: stands for several runs, and this is the config of one" in said.err
