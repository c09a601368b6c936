"""Stochastic normalisation: which norms it changes, and what it makes of them."""

from __future__ import annotations

import copy

import pytest
import torch
from refusals import check_error
from torch import Tensor, nn

from mmx.encoders.masked_norm import MaskedBatchNorm
from mmx.errors import TransferError
from mmx.transfer.regularizers.stochnorm import Stochastic, Stochnorm


class Model(nn.Module):
    """An encoder that is nothing but a norm."""

    def __init__(self, norm: nn.Module, name: str = "image") -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: nn.Sequential(norm)})


NORMS = {
    "1d": (nn.BatchNorm1d, (6, 4)),
    "sequence": (nn.BatchNorm1d, (6, 4, 5)),
    "2d": (nn.BatchNorm2d, (6, 4, 3, 2)),
    "3d": (nn.BatchNorm3d, (3, 4, 2, 2, 2)),
    "masked": (MaskedBatchNorm, (6, 4, 3, 2)),
}


def make(kind: str, probability: float | None = None) -> nn.Module:
    """Return a norm with statistics of its own, stochastic if asked for."""
    torch.manual_seed(2)
    norm = NORMS[kind][0](4).double()
    with torch.no_grad():
        for tensor in norm.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    if probability is not None:
        shared = frozenset({"encoders.image.0.weight", "encoders.image.0.bias"})
        Stochnorm(probability=probability).equip(Model(norm), shared)
    return norm


def inputs(kind: str) -> tuple[Tensor, ...]:
    torch.manual_seed(5)
    x = torch.randn(NORMS[kind][1], dtype=torch.float64) * 2 + 1
    if kind != "masked":
        return (x,)
    mask = torch.arange(3) < torch.tensor([3, 1, 2, 3, 1, 3])[:, None]
    return x, mask


EACH = pytest.mark.parametrize("kind", sorted(NORMS))


@EACH
def test_evaluation_and_names_are_as_before(kind):
    plain, changed = make(kind).eval(), make(kind, 0.5).eval()
    assert isinstance(changed, Stochastic)
    assert isinstance(changed, type(plain))
    assert type(changed).__name__ == f"Stochastic{type(plain).__name__}"
    assert torch.equal(changed(*inputs(kind)), plain(*inputs(kind)))
    assert list(changed.state_dict()) == list(plain.state_dict())
    changed.load_state_dict(plain.state_dict())


@EACH
def test_probability_one_is_the_norm_itself(kind):
    plain, changed = make(kind), make(kind, 1.0)
    assert torch.equal(changed(*inputs(kind)), plain(*inputs(kind)))


@EACH
def test_probability_zero_is_the_moving_statistics_before_the_batch(kind):
    plain, changed = make(kind).eval(), make(kind, 0.0)
    torch.testing.assert_close(changed(*inputs(kind)), plain(*inputs(kind)), rtol=1e-12, atol=0)


@EACH
def test_the_moving_statistics_move_as_ever(kind):
    plain, changed = make(kind), make(kind, 0.5)
    plain(*inputs(kind)), changed(*inputs(kind))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(changed.state_dict()[name], tensor), name


@EACH
def test_each_channel_is_one_or_the_other(kind):
    """Channel by channel, gradients included, against loops."""
    changed = make(kind, 0.5)
    x, *mask = inputs(kind)
    x.requires_grad_()
    state = {k: v.clone() for k, v in changed.state_dict().items()}
    torch.manual_seed(8)
    found = changed(x, *mask)
    torch.manual_seed(8)
    moving = (torch.rand(4) < 0.5).tolist()
    assert 0 < sum(moving) < 4
    where = mask[0][:, :, None].expand(-1, -1, 2) if mask else torch.ones(x[:, 0].shape) > 0
    expected = []
    for c in range(4):
        own = x[:, c][where]
        mean, variance = own.mean(), own.var(correction=0)
        if moving[c]:
            mean, variance = state["running_mean"][c], state["running_var"][c]
        scaled = (x[:, c] - mean) / (variance + changed.eps).sqrt()
        expected.append(scaled * changed.weight[c] + changed.bias[c])
    expected = torch.stack(expected, dim=1)
    keep = where[:, None].expand(x.shape)
    torch.testing.assert_close(found[keep], expected[keep], rtol=1e-10, atol=1e-12)
    leaves = [x, changed.weight, changed.bias]
    (one, other) = (
        torch.autograd.grad((y[keep] ** 3).sum(), leaves, retain_graph=True)
        for y in (found, expected)
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_mean_over_draws_is_that_of_the_paper():
    """E y = p · norm by the batch + (1 − p) · norm by the moving statistics, with P(s = 1) = p."""
    p, (x,) = 0.8, inputs("2d")
    by_batch, by_moving = make("2d")(x), make("2d").eval()(x)
    changed = make("2d", p)
    start = {name: tensor.clone() for name, tensor in changed.state_dict().items()}
    torch.manual_seed(3)
    passes, total = 4000, torch.zeros_like(x)
    for _ in range(passes):
        changed.load_state_dict(start)
        total += changed(x).detach()
    part = (total / passes - by_moving) / (by_batch - by_moving)  # of the batch's statistics
    each = part.transpose(0, 1).flatten(1)
    torch.testing.assert_close(each, each[:, :1].expand_as(each), rtol=1e-6, atol=1e-6)
    assert each[:, 0].tolist() == pytest.approx([p] * 4, abs=5 * (p * (1 - p) / passes) ** 0.5)


def test_draws_come_from_the_global_generator():
    changed, (x,) = make("2d", 0.5).float(), inputs("2d")
    outputs = []
    for seed in (1, 1, 2):
        again = copy.deepcopy(changed)
        torch.manual_seed(seed)
        outputs.append(again(x.float()))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_only_norms_that_came_from_the_source_and_train(world, regularizer):
    here = world()
    first, second = (stage[-2] for stage in here.model.encoders["image"].stages)
    norms = {"first": first, "second": second}
    shared = here.shared - {"encoders.image.stages.0.2.weight"}
    assert len(shared) == len(here.shared) - 1
    regularizer("stochnorm").equip(here.model, shared)
    assert [name for name, norm in norms.items() if isinstance(norm, Stochastic)] == ["second"]
    regularizer("stochnorm", probability=0.25).equip(here.model, here.shared)
    assert first.probability == second.probability == 0.25  # and none is changed twice
    assert type(second).__mro__.count(Stochastic) == 1


@pytest.mark.parametrize(
    ("shared", "changed"), [({"encoders.image.1.weight"}, True), ({"fusion.weight"}, False)]
)
def test_a_norm_without_weights_goes_with_its_encoder(shared, changed):
    model = Model(nn.BatchNorm2d(4, affine=False))
    model.encoders["image"].append(nn.Conv2d(4, 4, 1))
    Stochnorm().equip(model, frozenset(shared))
    assert isinstance(model.encoders["image"][0], Stochastic) == changed


def test_a_norm_without_moving_statistics_stays():
    model = Model(nn.BatchNorm2d(4, track_running_stats=False))
    Stochnorm().equip(model, frozenset({"encoders.image.0.weight", "encoders.image.0.bias"}))
    assert type(model.encoders["image"][0]) is nn.BatchNorm2d


def test_the_penalty_is_zero_before_and_after_the_change(world, regularizer):
    here = world()
    chosen = regularizer("stochnorm")
    before = chosen.bind(here.make_context())(here.step())
    chosen.equip(here.model, here.shared)
    after = chosen.bind(here.make_context())(here.step())
    assert before == after == 0
    assert before.shape == ()


def test_refuses_encoders_without_batch_norm(world, regularizer):
    here = world()
    shared = frozenset(name for name in here.shared if name.startswith("encoders.tabular."))
    with pytest.raises(TransferError) as caught:
        regularizer("stochnorm").bind(here.make_context(shared=shared))
    check_error(
        caught.value,
        "regularizer=stochnorm",
        "source",
        types=("regularizer=l2_sp", "encoder/image=resnet18"),
    )


def test_others_change_nothing_of_the_model(world, regularizer):
    here = world()
    kinds = [type(module) for module in here.model.modules()]
    for name in ("l2_sp", "delta", "bi_tuning"):
        regularizer(name).equip(here.model, here.shared)
    assert [type(module) for module in here.model.modules()] == kinds
