"""Flags, help and the user's own configs."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import catalogue
import pytest
import yaml
from refusals import Refusal, check_refusals

from mmx.config import compose, override_problems
from mmx.config.locate import builtin_directory, find_options, list_groups, read_headline
from mmx.verbs import find_verbs
from mmx.verbs.train_line import parse_line

MINE = """\
# My digits: with a name of their own
_target_: mmx.tasks.digits.Digits
name: mine
split_seed: ${seed}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's config directory, with a task of its own and a digits that hides the built-in."""
    folder = tmp_path / "own"
    (folder / "task").mkdir(parents=True)
    (folder / "task" / "mine.yaml").write_text(MINE)
    (folder / "task" / "digits.yaml").write_text(MINE.replace("name: mine", "name: hidden"))
    return folder


def test_flags_and_overrides_come_in_any_order():
    parts = [["-m"], ["seed=1,2"], ["--config-dir", "own"], ["--allow=a"], ["target=fsdd"]]
    lines = [parse_line([*itertools.chain(*order)]) for order in itertools.permutations(parts)]
    for line in lines:
        assert sorted(line.overrides) == ["seed=1,2", "target=fsdd"]
        assert (line.multirun, line.only_shows) == (True, False)
        assert (line.config_dirs, line.allow, line.flags) == ([Path("own")], ["a"], [])


@pytest.mark.parametrize(
    "words",
    [
        ["seed=3", "--cfg", "job", "target=digits"],
        ["--cfg", "job", "seed=3", "target=digits"],
        ["seed=3", "target=digits", "--cfg=job"],
        ["seed=3", "-c", "job", "target=digits"],
        ["seed=3", "target=digits", "--cfg"],
    ],
)
def test_cfg_prints_the_config_and_runs_nothing(mmx, words):
    said = mmx("train", *words)
    shown = yaml.safe_load(said.out)
    assert (said.code, said.err) == (0, "")
    assert list(shown)[:4] == ["source", "target", "encoder", "sharing"]
    assert (shown["seed"], shown["target"]["split_seed"]) == (3, "${seed}")
    assert "hydra" not in shown


def test_resolve_and_package(mmx):
    said = mmx("train", "seed=3", "--resolve", "target=digits", "--cfg", "job", "-p", "target")
    assert said.out.startswith("# @package target\n")
    assert yaml.safe_load(said.out)["split_seed"] == 3


def test_a_config_with_missing_values_is_shown_too(mmx):
    said = mmx("train", "--cfg", "job", "target=table")
    assert said.code == 0
    assert yaml.safe_load(said.out)["target"]["path"] == "???"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--info", "defaults"], "| source/digits "),
        (["--info=searchpath", "seed=1"], "| main "),
        (["--info"], "Defaults List"),
        (["--hydra-help"], "== Configuration groups =="),
    ],
)
def test_what_hydra_knows(mmx, words, expected):
    said = mmx("train", *words)
    assert (said.code, said.err) == (0, "")
    assert expected in said.out


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_task_of_the_users_serves_as_both(own, role):
    overrides = [f"{role}=mine", "seed=4"]
    with compose.composer([own]):
        composed, problems = override_problems.check_overrides(
            compose.parse(overrides), overrides, [own]
        )
    assert problems == []
    assert composed.choices[role] == "mine"
    assert composed.config[role] == {
        "_target_": "mmx.tasks.digits.Digits",
        "name": "mine",
        "split_seed": 4,
    }


def test_a_users_file_hides_a_built_in_of_the_same_name(own):
    with compose.composer([own]):
        assert compose.compose_job(["target=digits"]).config["target"]["name"] == "hidden"
    with compose.composer():
        assert compose.compose_job(["target=digits"]).config["target"]["name"] == "digits"


def test_the_first_config_dir_wins(own, tmp_path):
    second = tmp_path / "second" / "task"
    second.mkdir(parents=True)
    (second / "mine.yaml").write_text(MINE.replace("name: mine", "name: second"))
    with compose.composer([own, second.parent]):
        assert compose.compose_job(["target=mine"]).config["target"]["name"] == "mine"


def test_an_option_of_a_group_of_the_users_own_is_checked_by_name(refuse, own):
    accepted = catalogue.listed(sorted([*catalogue.options("task"), "mine"]))
    expected = Refusal(
        "target=min", says=("min",), accepted=accepted, closest="mine", type_this="target=mine"
    )
    check_refusals(refuse("train", "--config-dir", "own", "target=min"), [expected])


@pytest.mark.parametrize("words", [["--config-dir", "own"], ["--config-dir=own"]])
def test_help_lists_the_users_tasks(mmx, own, words):
    said = mmx("train", *words, "--help")
    assert (said.code, said.err) == (0, "")
    assert re.search(r"^  mine +My digits: with a name of their own$", said.out, re.MULTILINE)


def test_help_lists_every_option_with_its_line(mmx):
    said = mmx("train", "-h")
    assert (said.code, said.err) == (0, "")
    sections = dict(part.split("=\n", 1) for part in said.out.split("\n\n") if "=\n" in part)
    for group in list_groups():
        if group == "target":
            continue
        listed = [line.split(maxsplit=1) for line in sections[group].splitlines()]
        assert listed == [[name, read_headline(path)] for name, path in find_options(group).items()]
    assert "target=   the same tasks as source\n" in said.out


def test_help_lists_every_root_key(mmx):
    page = mmx("train", "--help").out
    root = yaml.safe_load((builtin_directory() / "config.yaml").read_text())
    keys = page.split("keys, with their defaults:\n")[1]
    for key in root.keys() - {"defaults", "hydra"}:
        assert f"\n  {key}:" in f"\n{keys}"
    for key in root["trainer"]:
        assert f"\n    {key}:" in keys
    assert "hydra/" not in keys


def test_help_of_every_verb(mmx):
    assert mmx("--help").out == mmx().out == mmx("help").out
    for verb, stated in find_verbs().items():
        assert f"  {verb:11s} {stated.summary}\n" in mmx("--help").out
        said = mmx(verb, "--help")
        assert (said.code, said.err) == (0, "")
        assert f"mmx {verb}" in said.out
    assert mmx("--version").out.startswith("mmx 0.")
