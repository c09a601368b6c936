"""Every control is two files of one name: what it needs, and how it is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mmx.controls
from mmx.controls import CONTROLS, Control, find_control
from mmx.evaluation.verdict import Gain
from mmx.stages.pipeline.controls import TRAINERS
from mmx.stages.pipeline.controls.base import TrainedControl


def test_each_control_has_its_needs_and_its_trainer() -> None:
    folder = Path(mmx.controls.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert files == CONTROLS.keys() == TRAINERS.keys() >= {"scratch", "majority"}


@pytest.mark.parametrize(
    ("control", "traits"),
    [
        ("scratch", {"without_source", "trained"}),
        ("linear_probe", {"needs_source_weights", "trained"}),
        ("majority", {"needs_labels", "stands_for_chance"}),
        ("zero_shot", {"needs_labels", "needs_text_tower", "options"}),
        ("unimodal", {"needs_single_modalities", "trained"}),
    ],
)
def test_the_traits_of_a_control(control: str, traits: set[str]) -> None:
    every = [name for name in vars(Control) if not name.startswith("_")]
    assert {name for name in every if getattr(CONTROLS[control], name)} == traits


def test_a_control_that_mmx_has_not_was_trained_and_needs_nothing() -> None:
    """A run directory may name one of another mmx."""
    assert find_control("of_tomorrow") is Control
    assert Control.trained
    assert not Control.without_source


@pytest.mark.parametrize(
    ("control", "verdict"),
    [
        ("scratch", "negative transfer: the source hurts"),
        ("linear_probe", "worse than the linear_probe control"),
        ("of_tomorrow", "worse than the of_tomorrow control"),
    ],
)
def test_only_below_a_control_without_source_a_transfer_is_negative(
    control: str, verdict: str
) -> None:
    assert Gain("accuracy", -0.1, (-0.2, -0.05), control).verdict == verdict


def test_an_alarm_of_a_control_is_told_with_the_run() -> None:
    fitted = SimpleNamespace(val={"loss": 1.0}, seconds=2.0, history=None, collapsed={"image": 3})
    trained: Any = SimpleNamespace(fitted=fitted, criterion=None)
    context: Any = None
    (note,) = TrainedControl.of("scratch", context, trained).notes
    assert note.startswith("control scratch: ALARM: image collapsed in epoch 3: ")
    fitted.collapsed = {}
    assert TrainedControl.of("scratch", context, trained).notes == ()
