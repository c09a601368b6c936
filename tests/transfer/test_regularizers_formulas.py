"""Every formula against a second implementation: plain loops in float64, and known values."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from refusals import check_error
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.transfer.regularizers import Penalty, RegularizerContext, Step
from mmx.transfer.regularizers.bi_tuning import contrast
from mmx.transfer.regularizers.bss import bss
from mmx.transfer.regularizers.coral import coral, covariance
from mmx.transfer.regularizers.decisions import soft_divergence
from mmx.transfer.regularizers.features import compute_distances
from mmx.transfer.regularizers.l2_sp import L2Sp
from mmx.transfer.regularizers.mmd import POWERS, find_kernel_scale, mmd
from mmx.transfer.regularizers.rkd import angle_loss, distance_loss
from mmx.transfer.regularizers.similarity import similarity

SHARED = ("image", "tabular")
DIMS = st.integers(1, 5)
SEEDS = st.integers(0, 10**6)
SOME = settings(max_examples=20, deadline=None)


def features() -> Tensor:
    """Return the features of the check values, ``(24, 5)``."""
    return torch.tensor(
        [
            [math.sin(0.7 * (i + 1) * (j + 1)) + 0.5 * j * (i % 3 == j % 3) for j in range(5)]
            for i in range(24)
        ],
        dtype=torch.float64,
    )


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def close(one: Tensor | float, other: Tensor | float) -> None:
    one, other = (x.item() if isinstance(x, Tensor) else x for x in (one, other))
    assert one == pytest.approx(other, rel=1e-10, abs=1e-12)


def same_gradients(function, naive, *leaves: Tensor) -> None:
    """Check value and gradients of two implementations."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    found, expected = function(*leaves), naive(*leaves)
    close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, leaves),
        torch.autograd.grad(expected, leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


# --- check values ---------------------------------------------------------------------------


def test_coral_value_of_the_reference():
    f = features()
    found = coral(covariance(f[:12]), covariance(1.2 * f[12:] + 0.1))
    assert 4 * found.item() == pytest.approx(0.0353806, abs=5e-8)


@pytest.mark.parametrize(("k", "expected"), [(1, 4.3631738), (2, 9.5161280)])
def test_bss_values_of_the_reference(k, expected):
    assert bss(features()[:12], k).item() == pytest.approx(expected, abs=5e-8)


class Two(nn.Module):
    """A shared layer ``one`` and a head ``two``."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(2, 2))
        self.two = nn.Parameter(torch.zeros(2))


def l2_sp_of(model: nn.Module, shared: set[str], **options: float) -> Penalty:
    kind = RegularizerContext(model, frozenset(shared), None, {}, 3, "classes", list, dict, 0)
    return L2Sp(**options).bind(kind)


def step_of(model: nn.Module) -> Step:
    nothing = torch.zeros(0)
    return Step(model, None, {}, nothing)  # it looks at the model alone


def test_l2_sp_value_of_the_reference():
    model = Two()
    penalty = l2_sp_of(model, {"one"}, alpha=1.0, beta=1.0)
    with torch.no_grad():
        model.one.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        model.two.copy_(torch.tensor([0.5, -0.5]))
    assert penalty(step_of(model)).item() == 7.25
    assert penalty.of_weights


# --- l2_sp ----------------------------------------------------------------------------------


@SOME
@drawn(SEEDS, st.floats(0, 10), st.floats(0, 10), st.sampled_from(["one", "two", None]))
def test_l2_sp_is_a_sum_over_the_weights_that_train(seed, alpha, beta, frozen):
    model = Two().double()
    penalty = l2_sp_of(model, {"one"}, alpha=alpha, beta=beta)
    with torch.no_grad():
        model.one.copy_(random(2, 2, seed=seed))
        model.two.copy_(random(2, seed=seed + 1))
    if frozen:
        getattr(model, frozen).requires_grad_(False)
    expected = 0.0
    if frozen != "one":
        expected += alpha / 2 * sum((x - 1) ** 2 for row in model.one.tolist() for x in row)
    if frozen != "two":
        expected += beta / 2 * sum(x**2 for x in model.two.tolist())
    penalty(step_of(model)).backward()
    close(penalty(step_of(model)), expected)
    if frozen != "one":
        torch.testing.assert_close(model.one.grad, alpha * (model.one - 1))


def test_l2_sp_refuses_to_hold_nothing():
    with pytest.raises(TransferError) as caught:
        l2_sp_of(Two(), set())
    check_error(caught.value, "regularizer=l2_sp", "source")


# --- bss ------------------------------------------------------------------------------------


def naive_bss(x: Tensor, k: int) -> Tensor:
    """Sum the smallest eigenvalues of the smaller Gram matrix."""
    gram = x.T @ x if len(x) >= x.shape[1] else x @ x.T
    return torch.linalg.eigvalsh(gram)[:k].sum()


@SOME
@drawn(st.integers(1, 9), DIMS, st.integers(1, 6), SEEDS)
def test_bss(rows, width, k, seed):
    same_gradients(lambda x: bss(x, k), lambda x: naive_bss(x, k), random(rows, width, seed=seed))


def test_bss_has_a_gradient_where_singular_values_are_equal():
    x = torch.eye(4, dtype=torch.float64)[:, :3].clone().requires_grad_()
    bss(x, 3).backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())  # the sum of all is ‖x‖²


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_bss_of_features_that_are_not_finite_is_not_finite(bad):
    """Training says that it diverged; a decomposition would raise an error of its own."""
    assert not bss(torch.tensor([[1.0, bad], [0.0, 1.0]]), 1).isfinite()


def test_bss_is_zero_where_there_are_fewer_rows_than_dimensions_and_one_comes_twice():
    x = random(3, 8)
    assert bss(x, 1) > 0.1
    close(bss(torch.cat([x, x[:1]]), 1), 0.0)


@pytest.mark.parametrize("k", [1, 3])
def test_bss_penalty_is_a_mean_over_rows_and_modalities(world, bound, k):
    here = world()
    step = here.step()
    each = []
    for name in ("image", "tabular", "text"):
        x = step.features[name].pooled[here.batch.present[name]]
        each.append(naive_bss(x, k) / len(x))
    found = bound(here, "bss", strength=2.0, k=k)(step)
    close(found, 2 * sum(each) / 3)


# --- mmd ------------------------------------------------------------------------------------


def naive_kernel(x: Tensor, y: Tensor, scale: float) -> Tensor:
    square = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return sum(torch.exp(-square / (2 * 2.0**u * scale)) for u in (-3, -2, -1, 0, 1)) / 5


def naive_mmd(x: Tensor, y: Tensor, scale: float) -> Tensor:
    n, m = len(x), len(y)
    total = x.new_zeros(())
    for i, j in itertools.permutations(range(n), 2):
        total = total + naive_kernel(x[i], x[j], scale) / (n * (n - 1))
    for i, j in itertools.permutations(range(m), 2):
        total = total + naive_kernel(y[i], y[j], scale) / (m * (m - 1))
    for i, j in itertools.product(range(n), range(m)):
        total = total - 2 * naive_kernel(x[i], y[j], scale) / (n * m)
    return total


@settings(max_examples=10, deadline=None)
@drawn(st.integers(2, 5), st.integers(2, 5), DIMS, SEEDS)
def test_mmd(n, m, width, seed):
    x, y = random(n, width, seed=seed), 0.5 + random(m, width, seed=seed + 1)
    scale = torch.tensor(1.7, dtype=torch.float64)
    same_gradients(lambda x, y: mmd(x, y, scale), lambda x, y: naive_mmd(x, y, 1.7), x, y)


def test_mmd_bandwidths():
    assert POWERS == (-3, -2, -1, 0, 1)
    rows = random(7, 3)
    pairs = list(itertools.permutations(range(7), 2))
    expected = sum(float(((rows[i] - rows[j]) ** 2).sum()) for i, j in pairs) / len(pairs)
    close(find_kernel_scale(rows), expected)


def test_mmd_is_unbiased_whatever_the_size_of_the_batch():
    """Over all batches of a small population the mean is the same for every size."""
    population, source = random(6, 2), 0.7 + random(5, 2, seed=1)
    scale = torch.tensor(1.3, dtype=torch.float64)
    means = []
    for n in (2, 3, 5):
        values = [
            mmd(population[list(rows)], source[list(others)], scale)
            for rows in itertools.combinations(range(6), n)
            for others in itertools.combinations(range(5), min(n, 4))
        ]
        means.append(torch.stack(values).mean())
    close(means[0], means[1])
    close(means[0], means[2])
    close(means[0], mmd(population, source, scale))


def test_mmd_of_equal_rows_is_finite():
    x = torch.zeros(3, 2, requires_grad=True)
    found = mmd(x, torch.zeros(4, 2), torch.zeros(()))
    found.backward()
    assert found == 0
    assert torch.equal(x.grad, torch.zeros(3, 2))


def test_mmd_penalty_draws_as_many_rows_of_the_source_each_step(world, bound):
    here = world()
    penalty = bound(here, "mmd", strength=1.5)
    step = here.step()
    torch.manual_seed(8)
    found = penalty(step)
    torch.manual_seed(8)
    each = []
    for name in SHARED:
        x = step.features[name].pooled[here.batch.present[name]]
        source = here.source_features()[name]
        y = source[torch.randperm(len(source))[: len(x)]]
        assert len(y) == len(x)
        each.append(naive_mmd(x.detach(), y, float(find_kernel_scale(source))))
    close(found, 1.5 * sum(each) / 2)
    torch.manual_seed(9)
    assert penalty(step) != found


def test_mmd_takes_the_whole_source_where_it_is_smaller(world, regularizer):
    here = world()
    small = {name: rows[:3] for name, rows in here.source_features().items()}
    penalty = regularizer("mmd").bind(here.make_context(source_features=lambda: small)).double()
    step = here.step()
    each = []
    for name in SHARED:
        x = step.features[name].pooled[here.batch.present[name]].detach()
        scale = float(find_kernel_scale(small[name]))
        each.append(naive_mmd(x, small[name], scale))
    close(penalty(step), sum(each) / 2)


@pytest.mark.parametrize("name", ["mmd", "coral"])
def test_one_row_of_the_source_is_too_few(world, regularizer, name):
    here = world()
    few = {"image": here.source_features()["image"], "tabular": torch.zeros(1, 6)}
    penalty = regularizer(name).bind(here.make_context(source_features=lambda: few))
    assert penalty.modalities == ("image",)
    with pytest.raises(TransferError, match=f"regularizer={name}: the source can read no"):
        regularizer(name).bind(
            here.make_context(source_features=lambda: {"tabular": torch.zeros(1, 6)})
        )


# --- coral ----------------------------------------------------------------------------------


def naive_covariance(x: Tensor) -> list[list[Tensor]]:
    n, width = x.shape
    means = [sum(x[i, a] for i in range(n)) / n for a in range(width)]
    return [
        [
            sum((x[i, a] - means[a]) * (x[i, b] - means[b]) for i in range(n)) / (n - 1)
            for b in range(width)
        ]
        for a in range(width)
    ]


def naive_coral(x: Tensor, y: Tensor) -> Tensor:
    width = x.shape[1]
    one, other = naive_covariance(x), naive_covariance(y)
    return sum((one[a][b] - other[a][b]) ** 2 for a in range(width) for b in range(width)) / (
        4 * width**2
    )


@settings(max_examples=10, deadline=None)
@drawn(st.integers(2, 6), st.integers(2, 6), st.integers(1, 4), SEEDS)
def test_coral(n, m, width, seed):
    same_gradients(
        lambda x, y: coral(covariance(x), covariance(y)),
        naive_coral,
        random(n, width, seed=seed),
        random(m, width, seed=seed + 1),
    )


def test_coral_penalty_compares_with_all_of_the_source(world, bound):
    here = world()
    step = here.step()
    expected = [
        naive_coral(
            here.source_features()[name], step.features[name].pooled[here.batch.present[name]]
        )
        for name in SHARED
    ]
    close(bound(here, "coral", strength=3.0)(step), 3 * sum(expected) / 2)


# --- rkd ------------------------------------------------------------------------------------


def naive_huber(z: Tensor) -> Tensor:
    return z**2 / 2 if abs(z) <= 1 else abs(z) - 0.5


def naive_distance_loss(x: Tensor, x0: Tensor) -> Tensor:
    pairs = [
        (i, j) for i, j in itertools.permutations(range(len(x)), 2) if not torch.equal(x0[i], x0[j])
    ]
    if not pairs:
        return x.sum() * 0
    d = {p: (x[p[0]] - x[p[1]]).norm() for p in pairs}
    d0 = {p: (x0[p[0]] - x0[p[1]]).norm() for p in pairs}
    mean, mean0 = sum(d.values()) / len(pairs), sum(d0.values()) / len(pairs)
    return sum(naive_huber(d[p] / mean - d0[p] / mean0) for p in pairs) / len(pairs)


def naive_angle_loss(x: Tensor, x0: Tensor) -> Tensor:
    def cosine(f: Tensor, i: int, j: int, k: int) -> Tensor:
        one, other = f[i] - f[j], f[k] - f[j]
        return (one / one.norm()) @ (other / other.norm())

    each = [
        naive_huber(cosine(x, i, j, k) - cosine(x0, i, j, k))
        for i, j, k in itertools.permutations(range(len(x)), 3)
        if not any(torch.equal(x0[a], x0[b]) for a, b in ((i, j), (j, k), (i, k)))
    ]
    return sum(each) / len(each) if each else x.sum() * 0


@settings(max_examples=15, deadline=None)
@drawn(st.integers(1, 5), st.integers(2, 5), st.integers(2, 5), SEEDS)
def test_rkd(n, width, width0, seed):
    x, x0 = random(n, width, seed=seed), random(n, width0, seed=seed + 1)
    for function, naive in (
        (distance_loss, naive_distance_loss),
        (angle_loss, naive_angle_loss),
    ):
        same_gradients(
            lambda x, f=function: f(compute_distances(x, x), compute_distances(x0, x0)),
            lambda x, f=naive: f(x, x0),
            x,
        )


def test_rkd_counts_no_row_with_its_copy():
    x0 = random(4, 3, seed=2)[[0, 1, 2, 3, 0, 3]]
    x = random(6, 3, seed=3)
    d, d0 = compute_distances(x, x), compute_distances(x0, x0)
    close(distance_loss(d, d0), naive_distance_loss(x, x0))
    close(angle_loss(d, d0), naive_angle_loss(x, x0))


@pytest.mark.parametrize("name", ["rkd", "similarity"])
def test_features_that_have_collapsed_have_finite_gradients(world, bound, name):
    here = world()
    step = here.step()
    with torch.no_grad():
        for parameter in here.model.parameters():
            parameter.zero_()
    found = bound(here, name)(here.step())
    found.backward()
    assert found > 0
    assert all(p.grad.isfinite().all() for p in here.model.parameters() if p.grad is not None)
    assert found.item() != bound(here, name)(step).item()


@pytest.mark.parametrize(("distance", "angle"), [(25.0, 50.0), (0.0, 2.0), (3.0, 0.0)])
def test_rkd_penalty(world, bound, batches, distance, angle):
    here = world(batch=batches(rows=8))
    step, old = here.step(), here.reference.features(here.batch)
    expected = 0.0
    for name in SHARED:
        rows = here.batch.present[name]
        pair = step.features[name].pooled[rows], old[name].pooled[rows]
        expected += distance * naive_distance_loss(*pair) + angle * naive_angle_loss(*pair)
    penalty = bound(here, "rkd", strength=0.5, distance=distance, angle=angle)
    close(penalty(step), 0.5 * expected / 2)


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_rkd_leaves_scale_shift_and_rotation_free(scale):
    x0 = random(6, 3)
    turn = torch.linalg.qr(random(3, 3, seed=4)).Q
    x = scale * x0 @ turn + 5.0
    close(distance_loss(compute_distances(x, x), compute_distances(x0, x0)), 0.0)
    close(angle_loss(compute_distances(x, x), compute_distances(x0, x0)), 0.0)


# --- similarity -----------------------------------------------------------------------------


def naive_similarity(x: Tensor, x0: Tensor) -> Tensor:
    n = len(x)

    def rows(f: Tensor) -> list[list[Tensor]]:
        gram = [[f[i] @ f[j] for j in range(n)] for i in range(n)]
        return [[g / sum(h**2 for h in row).sqrt() for g in row] for row in gram]

    one, other = rows(x), rows(x0)
    return sum((one[i][j] - other[i][j]) ** 2 for i in range(n) for j in range(n)) / n**2


@SOME
@drawn(st.integers(1, 6), DIMS, DIMS, SEEDS)
def test_similarity(n, width, width0, seed):
    x0 = random(n, width0, seed=seed + 1)
    same_gradients(
        lambda x: similarity(x, x0), lambda x: naive_similarity(x, x0), random(n, width, seed=seed)
    )


def test_similarity_of_the_paper_halves_where_the_penalty_stays():
    x, x0 = random(5, 3), random(5, 4, seed=1)
    twice = similarity(torch.cat([x, x]), torch.cat([x0, x0]))
    close(twice, similarity(x, x0) / 2)


def test_similarity_penalty(world, bound):
    here = world()
    step, old = here.step(), here.reference.features(here.batch)
    expected = []
    for name in SHARED:
        rows = here.batch.present[name]
        x, x0 = step.features[name].pooled[rows], old[name].pooled[rows]
        expected.append(len(x) * naive_similarity(x, x0))
    close(bound(here, "similarity", strength=2.0)(step), sum(expected))


# --- distill, lwf, co_tuning ----------------------------------------------------------------


def naive_softmax(z: Tensor) -> list[Tensor]:
    total = sum(torch.exp(each) for each in z)
    return [torch.exp(each) / total for each in z]


def naive_soft(z: Tensor, z0: Tensor, t: float) -> Tensor:
    total = z.new_zeros(())
    for new, old in zip(z, z0, strict=True):
        for p, q in zip(naive_softmax(new / t), naive_softmax(old / t), strict=True):
            total = total + q * (torch.log(q) - torch.log(p))
    return t**2 * total / len(z)


@SOME
@drawn(st.integers(1, 5), st.integers(1, 5), st.floats(0.5, 5), SEEDS)
def test_soft_divergence(n, classes, t, seed):
    z0 = random(n, classes, seed=seed + 1)
    same_gradients(
        lambda z: soft_divergence(z, z0, t),
        lambda z: naive_soft(z, z0, t),
        random(n, classes, seed=seed),
    )


def readable(here) -> Tensor:
    return here.batch.present["image"] | here.batch.present["tabular"]


def decide(model: nn.Module, found: dict, present: dict[str, Tensor]) -> Tensor:
    return model.decide({name: found[name] for name in SHARED}, {n: present[n] for n in SHARED})


@pytest.mark.parametrize(("name", "t"), [("distill", 3.0), ("distill", 1.5), ("lwf", 2.0)])
def test_soft_penalties(world, bound, name, t):
    here = world()
    assert not readable(here).all()
    step, old = here.step(), here.reference.features(here.batch)
    z = decide(here.source, step.features, here.batch.present)[readable(here)]
    z0 = decide(here.source, old, here.batch.present)[readable(here)]
    close(bound(here, name, strength=0.7, temperature=t)(step), 0.7 * naive_soft(z, z0, t))


@pytest.mark.parametrize("name", ["lwf", "co_tuning"])
def test_the_old_head_learns_and_the_source_does_not(world, bound, name):
    here = world()
    penalty = bound(here, name)
    before = penalty(here.step())
    optimizer = torch.optim.SGD(penalty.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        penalty(here.step()).backward()
        optimizer.step()
    assert penalty(here.step()) < before
    again = bound(world(), name)
    close(again(here.step()), before)


def naive_relation(here, t: float) -> Tensor:
    sums, counts = torch.zeros(3, 4, dtype=torch.float64), [0, 0, 0]
    for batch in here.rows():
        z = decide(here.source, here.reference.features(batch), batch.present)
        for i, y in enumerate(batch.target.tolist()):
            if batch.present["image"][i] or batch.present["tabular"][i]:
                sums[y] += torch.stack(naive_softmax(z[i].detach() / t))
                counts[y] += 1
    assert sum(counts) < 30  # some row has neither
    return sums / torch.tensor(counts, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("t", [1.0, 2.0])
def test_co_tuning(world, bound, t):
    here = world()
    penalty = bound(here, "co_tuning", strength=1.2, temperature=t)
    relation = naive_relation(here, t)
    torch.testing.assert_close(penalty.relation, relation, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(relation.sum(1), torch.ones(3, dtype=torch.float64))
    step = here.step()
    z = decide(penalty.old_head.model, step.features, here.batch.present)
    rows = readable(here).nonzero().squeeze(1).tolist()
    expected = 0.0
    for i in rows:
        p = relation[here.batch.target[i]]
        q = naive_softmax(z[i])
        expected -= sum(a * torch.log(b) for a, b in zip(p, q, strict=True)) / len(rows)
    close(penalty(step), 1.2 * expected)


def test_co_tuning_gives_a_class_without_rows_the_mean_of_all(world, regularizer):
    here = world()
    penalty = regularizer("co_tuning").bind(here.make_context(outputs=4)).double()
    counts = torch.zeros(3, dtype=torch.float64)
    for batch in here.rows():
        counts += torch.bincount(batch.target[batch.present["image"] | batch.present["tabular"]])
    overall = (penalty.relation[:3] * counts[:, None]).sum(0) / counts.sum()
    torch.testing.assert_close(penalty.relation[3], overall)


def test_co_tuning_refuses_rows_that_the_source_cannot_read(world, regularizer, on_batch):
    here = world()
    nobody = torch.zeros(24, dtype=torch.bool)
    blind = replace(here.batch, present={**here.batch.present, "image": nobody, "tabular": nobody})
    with pytest.raises(TransferError) as caught:
        regularizer("co_tuning").bind(here.make_context(rows=lambda: iter([blind])))
    check_error(
        caught.value, "regularizer=co_tuning", "source", "training", types=("regularizer=none",)
    )


# --- bi_tuning ------------------------------------------------------------------------------


def naive_contrast(scores: Tensor, classes: list[int]) -> Tensor:
    n, total = len(scores), scores.new_zeros(())
    for i in range(n):
        mean = sum(torch.exp(scores[i, j]) for j in range(n)) / n
        mine = [scores[i, j] for j in range(n) if classes[j] == classes[i]]
        total = total + torch.log(mean) - sum(mine) / len(mine)
    return total / n


@SOME
@drawn(st.lists(st.integers(0, 2), min_size=1, max_size=6), SEEDS)
def test_contrast(classes, seed):
    same_gradients(
        lambda s: contrast(s, torch.tensor(classes)),
        lambda s: naive_contrast(s, classes),
        random(len(classes), len(classes), seed=seed),
    )


def naive_bi_tuning(step, penalty, towards: Tensor) -> Tensor:
    """Return R with loops, given the cosines ``(B, C)`` of rows with classes."""
    y, n = step.batch.target, len(step.batch.target)
    tau = penalty.temperature
    scores = [[towards[j, y[i]] / tau for j in range(n)] for i in range(n)]
    expected = naive_contrast(torch.stack([torch.stack(row) for row in scores]), y.tolist())
    for name in ("image", "tabular", "text"):
        rows = step.batch.present[name]
        e = penalty.projections[name](step.features[name].pooled[rows])
        e = torch.stack([each / each.norm() for each in e])
        found = torch.stack([torch.stack([a @ b / tau for b in e]) for a in e])
        expected = expected + naive_contrast(found, y[rows].tolist()) / 3
    return expected


def cosine(one: list[Tensor], other: list[Tensor]) -> Tensor:
    def length(x):
        return sum(each**2 for each in x) ** 0.5

    product = sum(a * b for a, b in zip(one, other, strict=True))
    return product / (length(one) * length(other))


def test_bi_tuning(world, bound):
    """Both parts are of cosines over τ; the bias is the weight of an input that is always 1."""
    here = world()
    penalty = bound(here, "bi_tuning", strength=0.4, width=7, temperature=0.2)
    step, head = here.step(), here.model.head
    one = torch.ones((), dtype=torch.float64)
    towards = torch.stack(
        [
            torch.stack(
                [cosine([*h, one], [*head.weight[c], head.bias[c]]) for c in range(len(head.bias))]
            )
            for h in step.fused
        ]
    )
    assert penalty.projections["image"].weight.shape == (7, 8)
    close(penalty(step), 0.4 * naive_bi_tuning(step, penalty, towards))


def test_bi_tuning_of_a_fusion_that_decides_by_itself(world, bound):
    here = world()
    here.model.head = torch.nn.Identity()
    penalty = bound(here, "bi_tuning", strength=0.4, width=7, temperature=0.2)
    step = here.step()
    axes = torch.eye(step.outputs.shape[1], dtype=torch.float64)
    towards = torch.stack(
        [torch.stack([cosine(list(o), list(axis)) for axis in axes]) for o in step.outputs]
    )
    close(penalty(step), 0.4 * naive_bi_tuning(step, penalty, towards))


def test_the_scale_of_features_and_of_classes_has_no_say_in_bi_tuning(world, bound):
    here = world()
    penalty, step = bound(here, "bi_tuning"), here.step()
    before = penalty(step).detach()
    with torch.no_grad():
        here.model.head.weight.mul_(5)
        here.model.head.bias.mul_(5)
    assert penalty.temperature == 0.07  # the authors'
    close(penalty(step), before)


def test_bi_tunings_projections_depend_on_the_seed_alone(world, regularizer):
    def weight(seed: int) -> Tensor:
        torch.manual_seed(torch.seed() % 1000)
        penalty = regularizer("bi_tuning").bind(world().make_context(seed=seed))
        return penalty.projections["image"].weight

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))
