"""What a search may choose from."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml

from mmx.errors import TransferError
from mmx.transfer.auto import MODES, REGULARIZERS, Auto
from mmx.transfer.candidates import make_config
from mmx.transfer.heads import HEADS
from mmx.transfer.regularizers.base import ActsOn

CONFIGS = Path(__file__).parents[2] / "configs"


def test_candidates_in_the_order_of_the_lists() -> None:
    found = Auto(heads=("linear", "knn"), rates=(1.0, 0.3), depths=(0, 1)).list_candidates()
    assert [(each.name, each.variation) for each in found] == [
        ("transfer=scratch", 0),
        ("transfer=feature", 0),
        ("transfer=feature transfer.head=knn", 1),
        ("transfer=parameter", 0),
        ("transfer=parameter transfer.freeze_depth=1", 0),
        ("transfer=parameter transfer.copied_rate=0.3", 1),
        ("transfer=parameter transfer.freeze_depth=1 transfer.copied_rate=0.3", 1),
        ("transfer=parameter regularizer=l2_sp", 2),
        ("transfer=parameter transfer.freeze_depth=1 regularizer=l2_sp", 2),
        ("transfer=parameter transfer.copied_rate=0.3 regularizer=l2_sp", 3),
        (
            "transfer=parameter transfer.freeze_depth=1 transfer.copied_rate=0.3 regularizer=l2_sp",
            3,
        ),
    ]


def test_a_value_given_twice_is_one_candidate() -> None:
    twice = Auto(modes=("scratch", "scratch", "parameter"), rates=(1.0, 1), depths=(0,))
    assert [each.name for each in twice.list_candidates()] == [
        "transfer=scratch",
        "transfer=parameter",
        "transfer=parameter regularizer=l2_sp",
    ]


def test_what_is_said_for_all_goes_to_every_mode_that_has_it() -> None:
    auto = Auto(
        modes=tuple(MODES),
        map={"audio": "image"},
        class_map={"car": "automobile"},
        min_copied=0.25,
        fusion=True,
        regularizers=("none",),
        depths=(0,),
        rates=(1.0,),
        heads=("linear",),
    )
    nodes = {each.mode: make_config(each)["transfer"] for each in auto.list_candidates()}
    for mode, given_ in nodes.items():
        said = {"map": {"audio": "image"}, "class_map": {"car": "automobile"}}
        for key, value in {**said, "min_copied": 0.25, "fusion": True}.items():
            if key in given_:
                assert given_[key] == value, (mode, key)
    assert "map" in nodes["feature"]
    assert "fusion" in nodes["adapter"]
    assert nodes["scratch"] == {"_target_": "mmx.transfer.scratch.Scratch"}


EVERY_NAME = tuple(REGULARIZERS)


def stated(group: str, name: str) -> dict[str, Any]:
    node: dict[str, Any] = yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())
    return node


def test_nodes_are_those_of_the_configs() -> None:
    auto = Auto(
        modes=tuple(MODES),
        regularizers=EVERY_NAME,
        depths=(0,),
        rates=(1.0,),
        heads=("linear",),
    )
    seen = set()
    for each in auto.list_candidates():
        nodes = make_config(each)
        # fusion: auto's own default is false, that of the modes is auto
        expected = {**stated("transfer", each.mode)}
        if "fusion" in expected:
            expected["fusion"] = False
        assert nodes["transfer"] == expected
        if each.regularizer != "none":
            assert nodes["regularizer"] == stated("regularizer", each.regularizer)
            seen.add(each.regularizer)
        module, name = nodes["transfer"]["_target_"].rsplit(".", 1)
        assert getattr(importlib.import_module(module), name)
    assert seen == set(EVERY_NAME)


def test_by_default_nothing_but_parameter_is_held() -> None:
    found = [
        each.name for each in Auto(modes=("scratch", "feature", "parameter")).list_candidates()
    ]
    assert len(found) == 2 + 2 * 2 * 2
    assert found[:3] == ["transfer=scratch", "transfer=feature", "transfer=parameter"]
    assert all(name.startswith("transfer=parameter") for name in found[2:])


def test_regularizers_are_crossed_with_what_accepts_them() -> None:
    auto = Auto(
        modes=("feature", "structure", "adapter"),
        regularizers=("none", "l2_sp", "mmd", "rkd"),
        heads=("linear", "knn", "mlp"),
    )
    assert [(each.name, each.variation) for each in auto.list_candidates()] == [
        ("transfer=feature", 0),
        ("transfer=feature transfer.head=knn", 1),
        ("transfer=feature transfer.head=mlp", 2),
        ("transfer=structure", 0),
        ("transfer=structure regularizer=rkd", 1),
        ("transfer=adapter", 0),
    ]


def test_no_mode_gets_a_regularizer_that_it_refuses() -> None:
    auto = Auto(
        modes=tuple(MODES),
        regularizers=("none", *EVERY_NAME),
        heads=tuple(HEADS),
    )
    held: dict[str, set[str]] = {}
    for each in auto.list_candidates():
        options = {**make_config(each)["transfer"]}
        module, name = options.pop("_target_").rsplit(".", 1)
        transfer = getattr(importlib.import_module(module), name)(**options)
        if each.regularizer != "none":
            kind = REGULARIZERS[each.regularizer]
            assert transfer.holds(kind), each.name
            held.setdefault(each.mode, set()).add(kind.acts_on)
    assert held["parameter"] == {*get_args(ActsOn)}
    assert held["structure"] == {"relations"}
    assert not {"scratch", "feature", "adapter", "joint"} & held.keys()


def test_every_regularizer_of_the_configs_can_be_chosen() -> None:
    there = {path.stem for path in (CONFIGS / "regularizer").glob("*.yaml")}
    assert there == {"none", *EVERY_NAME}
    assert {path.stem for path in (CONFIGS / "transfer").glob("*.yaml")} == {"auto", *MODES}


def test_one_budget() -> None:
    message = (
        r"^`budget_steps` \(=10\) and `budget_seconds` \(=1.5\) are both set: a search has one "
        r"budget$"
    )
    with pytest.raises(ValueError, match=message):
        Auto(budget_steps=10, budget_seconds=1.5)
    assert Auto().find_budget_steps(7, 15) == 4 * 7 * 15
    assert Auto(budget_steps=10).find_budget_steps(7, 15) == 10


def test_it_never_starts_itself() -> None:
    with pytest.raises(TransferError, match=r"^transfer=auto chooses another mode before"):
        Auto().start(None, torch.nn.Linear(1, 1), ())
