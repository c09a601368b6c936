"""Fusion in steps: which methods a step may use, what it is told, and what it then keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from catalogue import classes
from refusals import check_error, read_error
from torch import nn

from mmx.fusion import Widths
from mmx.fusion.hierarchical import Hierarchical
from mmx.modalities import Features

B = 5
WIDTHS = {"image": Widths(4, (2, 3)), "audio": Widths(5, (6,)), "text": Widths(3)}


def fuses() -> list[str]:
    """Return what a step may be."""
    found = classes("fusion").items()
    pooled = [
        name for name, kind in found if kind.level in ("feature", "data") and kind.reads == "pooled"
    ]
    return sorted(set(pooled) - {"hierarchical"})


def make(names: tuple[str, ...] = tuple(WIDTHS), **options: Any) -> Hierarchical:
    torch.manual_seed(0)
    widths = {name: WIDTHS[name] for name in names}
    return Hierarchical(widths, outputs=2, **{"width": 16, **options})


def sample(names: tuple[str, ...] = tuple(WIDTHS), junk: float = torch.nan) -> Any:
    """Return features, ``junk`` where absent, and who is present; never nobody."""
    torch.manual_seed(1)
    features, present = {}, {}
    for index, name in enumerate(names):
        here = torch.arange(B) % len(names) != index if len(names) > 1 else torch.ones(B) > 0
        pooled, *levels = (
            torch.randn(B, width).masked_fill(~here[:, None], junk)
            for width in (WIDTHS[name].pooled, *WIDTHS[name].levels)
        )
        features[name] = Features(pooled[:, None], here[:, None], pooled, tuple(levels))
        present[name] = here
    return features, present


def test_what_a_step_may_be() -> None:
    known = {"attention", "concat", "deepset", "film", "gated", "gmu", "multiplicative"}
    assert set(fuses()) >= {*known, "weighted_sum"}
    assert not set(fuses()) & {"late_weighted", "hierarchical", "base", "weights"}


@pytest.mark.parametrize("levels", [True, False])
@pytest.mark.parametrize("names", [("text",), ("image",), tuple(WIDTHS)], ids=len)
@pytest.mark.parametrize("fuse", fuses())
def test_every_method_can_be_the_fuse(fuse: str, names: tuple[str, ...], levels: bool) -> None:
    fusion = make(names, fuse=fuse, levels=levels, depth=3)
    output = fusion(*sample(names))
    assert output.shape == (B, fusion.width)
    assert torch.equal(output, fusion(*sample(names, junk=1e6)))
    output.square().sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all()
    assert len({id(step) for step in fusion.steps}) == 3


def test_the_default_keeps_its_tensors_and_draws() -> None:
    fusion = make(dropout=0.5)
    state = fusion.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes == {
        "steps.0.0.weight": (16, 12 + 8),  # all pooled, then the stages 1 of audio and image
        "steps.0.0.bias": (16,),
        "steps.1.0.weight": (16, 16 + 3),  # F¹, then the stage 2 of image
        "steps.1.0.bias": (16,),
        "steps.2.0.weight": (16, 32),
        "steps.2.0.bias": (16,),
    }
    torch.manual_seed(0)
    for step, inputs in enumerate((20, 19, 32)):
        assert torch.equal(nn.Linear(inputs, 16).weight, state[f"steps.{step}.0.weight"])


def test_the_default_reads_pooled_vectors_first_then_stages() -> None:
    fusion, (features, present) = make(depth=1), sample(junk=0.0)
    first = [features[name].pooled for name in ("audio", "image", "text")]
    stages = [features[name].levels[0] for name in ("audio", "image")]
    expected = fusion.steps[0](torch.cat([*first, *stages], dim=1))
    assert torch.equal(fusion(features, present), expected)


def test_dropout_is_over_the_output_of_any_step() -> None:
    fusion = make(fuse="attention", dropout=0.5, width=400)
    dropped = (fusion.train()(*sample()) == 0).float().mean()
    assert 0.4 < dropped < 0.6
    assert (fusion.eval()(*sample()) != 0).all()


def test_earlier_fusions_and_stages_are_modalities() -> None:
    fusion = make(fuse="gmu", depth=4)
    assert [step.modalities for step in fusion.steps] == [
        ("audio", "audio@01", "image", "image@01", "text"),
        ("@fused01", "image@02"),
        ("@fused01", "@fused02"),
        ("@fused01", "@fused02", "@fused03"),
    ]


def test_options_reach_every_step() -> None:
    fusion = make(fuse="gmu", fuse_options={"gate": "sigmoid"})
    assert [step.gate for step in fusion.steps] == ["sigmoid"] * 3
    assert [step.width for step in fusion.steps] == [16] * 3
    assert make(fuse="gated").width == 2 * 16  # of two fusions, side by side


def refusal(**options: Any) -> str:
    with pytest.raises(ValueError, match="fuse") as error:
        make(**options)
    return str(error.value)


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("gnu", "; the closest is gmu"),
        ("hierarchical", ""),
        ("late_weighted", "; the closest is weighted_sum"),
        ("weights", "; the closest is weighted_sum"),
        ("base", ""),
        ("../concat", "; the closest is concat"),
    ],
)
def test_an_unknown_fuse(given: str, near: str) -> None:
    message = refusal(fuse=given)
    check_error(ValueError(message), f"`fuse` (={given})", f"{', '.join(fuses())}{near}")
    assert ("closest" in message) == bool(near)


def test_unknown_options() -> None:
    message = refusal(fuse="gmu", fuse_options={"gates": "sigmoid"})
    check_error(
        ValueError(message), "`fuse_options.gates`", "Gmu", "takes gate; the closest is gate"
    )
    message = refusal(fuse="attention", fuse_options={"pool": "sum"})
    check_error(ValueError(message), "`fuse_options.pool`", "Attention", "takes none")
    message = refusal(fuse="multiplicative", fuse_options={"x": 1})
    check_error(ValueError(message), "`fuse_options.x`", "Multiplicative", "takes form, factor")
    assert "closest" not in message
    message = refusal(fuse_options={"outputs": 3})
    check_error(ValueError(message), "`fuse_options.outputs`", "Concat", "takes dropout")


def test_options_of_the_wrong_kind() -> None:
    check_error(
        read_error(refusal(fuse="gmu", fuse_options={"gate": "softmx"})),
        "fuse_options.gate",
        "softmax",
        "sigmoid",
    )
    check_error(
        read_error(refusal(fuse="multiplicative", fuse_options={"factor": 0})),
        "fuse_options.factor",
        "0",
        "1",
    )
    check_error(
        read_error(refusal(fuse="multiplicative", fuse_options={"factor": "8"})),
        "fuse_options.factor",
        "8",
    )
    check_error(
        read_error(refusal(fuse="gmu", fuse_options={"width": 8})), "fuse_options.width", "width"
    )
    check_error(read_error(refusal(fuse_options={"hidden": 8})), "fuse_options.hidden", "width")


def test_options_that_a_later_step_cannot_do_with() -> None:
    message = refusal(fuse="film", fuse_options={"conditioned": "text"})
    check_error(
        ValueError(message), "step 2", "fuse=film", "`conditioned` (=text)", "@fused01, image@02"
    )
    assert make(fuse="film", fuse_options={"conditioned": "text"}, depth=1).width == 16
