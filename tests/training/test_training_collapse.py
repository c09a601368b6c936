"""The alarm for a modality that stops learning."""

from __future__ import annotations

import math

import pytest
import torch

import mmx.training.fit as training
from mmx.model import MultimodalModel
from mmx.training.collapse import Vitals, find_collapsed, gradient_norms
from mmx.training.recipe import Validation


def vitals(gradient: float, probe: float, other: float = 1.0) -> Vitals:
    return Vitals({"a": gradient, "b": other}, {"a": probe, "b": 0.9}, 0.25)


def test_both_signs_must_fall_away() -> None:
    healthy = vitals(1.0, 0.75)
    assert find_collapsed([healthy, vitals(0.19, 0.49)]) == ["a"]
    assert find_collapsed([healthy, vitals(0.21, 0.49)]) == []  # its gradient is still there
    assert find_collapsed([healthy, vitals(0.19, 0.51)]) == []  # its features still tell
    assert find_collapsed([healthy, vitals(0.19, 0.49), vitals(1.0, 0.75)]) == []  # it came back


def test_a_lead_within_the_noise_of_few_rows_is_none() -> None:
    def noisy(gradient: float, probe: float, noise: float) -> Vitals:
        return Vitals({"a": gradient}, {"a": probe}, 0.1, noise)

    assert find_collapsed([noisy(1.0, 0.17, 0.01), noisy(0.1, 0.12, 0.01)]) == ["a"]
    assert find_collapsed([noisy(1.0, 0.17, 0.04), noisy(0.1, 0.12, 0.04)]) == []  # no lead to lose
    assert find_collapsed([noisy(1.0, 0.17, 0.03), noisy(0.1, 0.13, 0.03)]) == []  # lost by chance


def test_one_epoch_tells_nothing_and_a_frozen_encoder_has_no_gradient() -> None:
    assert find_collapsed([vitals(0.0, 0.0)]) == []
    frozen = Vitals({"b": 1.0}, {"a": 0.0, "b": 0.9}, 0.25)
    assert find_collapsed([vitals(1.0, 0.75), frozen]) == []


def test_features_that_never_told_anything_cannot_lose_it() -> None:
    assert find_collapsed([vitals(1.0, 0.25), vitals(0.1, 0.2)]) == []


def test_gradient_norms_are_those_of_whole_encoders() -> None:
    encoders = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 3), "b": torch.nn.Linear(2, 1)})
    encoders["a"](torch.randn(4, 2)).square().sum().backward()
    found = gradient_norms(encoders)
    assert found.keys() == {"a"}
    flat = torch.cat([p.grad.flatten() for p in encoders["a"].parameters()])
    torch.testing.assert_close(found["a"], flat.norm())


def test_a_starved_modality_raises_the_alarm_in_a_run(
    bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench(missing=False, trainer={"epochs": 3})

    def epochs() -> int:
        return sum(event.kind == "epoch" for event in run.events)

    def norms(encoders: torch.nn.ModuleDict) -> dict[str, torch.Tensor]:
        image = 1.0 if epochs() < 2 else 0.01
        return {"image": torch.tensor(image), "tabular": torch.tensor(1.0)}

    def validate(model: MultimodalModel) -> Validation:
        probes = {"image": 0.9 if epochs() < 2 else 0.3, "tabular": 0.9}
        return Validation({"accuracy": 0.5, "loss": 1.0}, probes, 0.3)

    monkeypatch.setattr(training, "gradient_norms", norms)
    run.validate = validate
    fitted = run.fit()
    assert fitted.collapsed == {"image": 3}
    (alarm,) = [event.text for event in run.events if event.text.startswith("ALARM")]
    assert alarm == "ALARM: image has collapsed: its gradient and its probe have fallen away"


def test_a_step_that_fp16_leaves_out_is_no_sign_of_life(bench) -> None:
    """Its gradient overflows: counted, it would be the highest norm for ever."""
    run = bench(missing=False, precision="fp16", trainer={"epochs": 2})
    loss, factors = run.criterion.forward, iter([1e9])
    run.criterion.forward = lambda said, target: next(factors, 1.0) * loss(said, target)
    probes = {"image": 0.9, "tabular": 0.9}
    run.validate = lambda model: Validation({"accuracy": 0.5, "loss": 1.0}, probes, 0.3)
    run.fit()
    found = [event.values for event in run.events if event.kind == "vitals"]
    assert not any(name.startswith("gradient.") for name in found[0])  # of its step 1
    assert set(found[1]) == {"gradient.image", "gradient.tabular", "probe.image", "probe.tabular"}
    assert all(math.isfinite(value) for values in found for value in values.values())
