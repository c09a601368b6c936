"""With a target of one's own, nothing is transferred from a source that nobody chose."""

from __future__ import annotations

import pytest
from catalogue import options, read

from mmx.config import compose
from mmx.config.override_problems import check_overrides

OWN = sorted(name for name, path in options("target").items() if "???" in read(path).values())


def choose(*overrides, extra=()):
    """Return the source that a line of overrides has."""
    with compose.composer(extra):
        composed, problems = check_overrides(compose.parse(overrides), overrides, extra)
    assert problems == []
    if composed.choices["source"] == "none":
        assert composed.config["source"] == {}
    return composed.choices["source"]


def test_tasks_that_read_own_data():
    assert {"table", "image_folder", "hf_dataset", "webdataset", "torchvision"} <= {*OWN}
    assert not {"digits", "digits_av", "cifar10"} & {*OWN}


@pytest.mark.parametrize("target", OWN)
def test_a_target_of_ones_own(target):
    assert choose(f"target={target}") == "none"
    assert choose(f"target={target}", "source=digits") == "digits"


def test_a_target_of_mmx():
    assert choose() == "digits"
    assert choose("target=digits_av", "seed=3") == "digits"


def test_an_experiment(tmp_path):
    folder = tmp_path / "experiment"
    folder.mkdir()
    head = "# @package _global_\ndefaults:\n  - override /target: table\n"
    (folder / "bare.yaml").write_text(head)
    (folder / "chosen.yaml").write_text(head + "  - override /source: digits\n")
    (folder / "based.yaml").write_text("# @package _global_\ndefaults:\n  - chosen\n  - _self_\n")
    assert choose("experiment=bare", extra=[tmp_path]) == "none"
    assert choose("experiment=chosen", extra=[tmp_path]) == "digits"
    assert choose("experiment=based", extra=[tmp_path]) == "digits"
    assert choose("experiment=[bare,chosen]", extra=[tmp_path]) == "digits"
    assert choose("experiment=fashion") == "none"


def test_tasks_of_the_user(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("_target_: mmx.tasks.digits.Digits\nname: mine\n")
    text = "defaults:\n  - table\n  - _self_\npath: mine.csv\nlabel: y\ncolumns: {text: t}\n"
    (tmp_path / "task" / "sheet.yaml").write_text(text)
    assert choose("target=mine", extra=[tmp_path]) == "none"
    assert choose("target=sheet", extra=[tmp_path]) == "none"
    assert choose("target=sheet", "source=mine", extra=[tmp_path]) == "mine"


def test_what_is_recorded(tmp_path):
    with compose.composer():
        composed, _ = check_overrides(compose.parse(["target=table"]), ["target=table"])
    assert composed.overrides == ("target=table", "source=none")


@pytest.mark.parametrize("typed", [(), ("source=none",)])
def test_a_key_of_a_source_that_nobody_chose(typed):
    line = ["target=table", *typed, "source.per_class=5"]
    with compose.composer():
        _, (problem,) = check_overrides(compose.parse(line), line)
        assert ("source=none" in problem.reason) == bool(typed)
        assert ("no source is chosen unasked" in problem.reason) == (not typed)
        assert problem.type_this == "source=digits source.per_class=5"
        line = ["target=table", *problem.type_this.split()]
        _, problems = check_overrides(compose.parse(line), line)
    assert problems == []
