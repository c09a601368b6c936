"""Fusion at algorithm level: each learner against scikit-learn, the whole against a naive one."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import check_error, check_notes
from safetensors.torch import load_file, save_file
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from mmx.fusion import Widths, algorithm
from mmx.fusion.algorithm import Algorithm, assign_folds
from mmx.fusion.learners import LEARNERS as FOUND
from mmx.fusion.learners import (
    NEURAL,
    ORDER,
    Convex,
    KnnLearner,
    Learner,
    LogisticLearner,
    Trees,
    make_learner,
    neural,
)
from mmx.fusion.learners.neural import make_neural, train_copy
from mmx.fusion.learners.trees import round_down
from mmx.modalities import Encoded, Features

C = 3
WIDTHS = {"b": Widths(4), "a": Widths(3)}
LEARNERS = ("neural", "logistic", "knn", "trees")


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    with threadpool_limits(limits=1):  # small problems, on cores that tests share
        yield
    torch.set_default_dtype(torch.float32)


def points(rows: int, classes: list[int], seed: int, features: int = 5) -> tuple[Tensor, Tensor]:
    """Return features of different scales, and classes that overlap, of those given."""
    g = torch.Generator().manual_seed(seed)
    y = torch.tensor(classes)[torch.randint(len(classes), (rows,), generator=g)]
    middle = torch.randn(10, features, generator=torch.Generator().manual_seed(99))
    x = middle[y] + torch.randn(rows, features, generator=g)
    return x * 10.0 ** torch.arange(-2, features - 2) + 3, y


def reference(family: str) -> Any:
    if family == "logistic":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    if family == "knn":
        return make_pipeline(StandardScaler(), KNeighborsClassifier(15, algorithm="brute"))
    return HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=8, max_bins=63, early_stopping=False, random_state=0
    )


def learner(family: str, outputs: int) -> Learner:
    if family == "knn":
        return KnnLearner(outputs, 15)
    return LogisticLearner(outputs) if family == "logistic" else Trees(outputs)


def aligned(model: Any, x: Tensor, outputs: int) -> Tensor:
    """Return scikit-learn's probabilities, a column for each of C classes."""
    found = torch.zeros(len(x), outputs, dtype=torch.float64)
    found[:, model.classes_] = torch.from_numpy(model.predict_proba(x.double().numpy()))
    return found


@pytest.mark.parametrize("family", ["logistic", "knn", "trees"])
@pytest.mark.parametrize("classes", [[0, 1, 2, 3], [1, 3], [0, 2, 3]], ids=str)
@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float64, 1e-10), (torch.float32, 1e-6)], ids=["64", "32"]
)
def test_predicts_as_scikit_learn(
    family: str, classes: list[int], dtype: torch.dtype, atol: float
) -> None:
    torch.set_default_dtype(dtype)
    x, y = points(150, classes, 1)
    asked, _ = points(80, classes, 2)
    x, asked = x.to(dtype), asked.to(dtype)
    ours = learner(family, 4)
    ours.fit(x, y, 0)
    expected = aligned(reference(family).fit(x.double().numpy(), y.numpy()), asked, 4)
    for rows, want in ((asked, expected), (asked[:1], expected[:1])):
        got = ours(rows)
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), want, rtol=0, atol=atol)
    assert expected[:, classes].std() > 0.1
    assert all(b.dtype in (dtype, torch.int64, torch.bool) for b in ours.buffers())


@pytest.mark.parametrize("family", ["logistic", "knn", "trees"])
def test_a_single_class_is_certain(family: str) -> None:
    ours = learner(family, 3)
    ours.fit(torch.randn(6, 2), torch.full((6,), 1), 0)
    torch.testing.assert_close(ours(torch.randn(4, 2)), torch.tensor([[0.0, 1, 0]]).expand(4, 3))


def test_trees_take_missing_numbers_and_thresholds_as_scikit_learn_does() -> None:
    g = torch.Generator().manual_seed(3)
    x = torch.randint(0, 4, (200, 3), generator=g).double()
    x[torch.rand(200, 3, generator=g) < 0.3] = torch.nan
    y = (x.nan_to_num(5.0).sum(1) + torch.rand(200, generator=g)).long() % 3
    ours = learner("trees", 3)
    ours.fit(x, y, 0)
    model = reference("trees").fit(x.numpy(), y.numpy())
    torch.testing.assert_close(ours(x), aligned(model, x, 3), rtol=0, atol=1e-12)
    assert ours.missing_left.any()
    split = ours.threshold[ours.left != torch.arange(len(ours.left))]
    edges = split.unique()[:, None].expand(-1, 3)  # every feature right at a threshold
    torch.testing.assert_close(ours(edges), aligned(model, edges, 3), rtol=0, atol=1e-12)


def test_thresholds_in_fewer_digits_decide_alike() -> None:
    x = torch.randn(500, dtype=torch.float32)
    above = torch.nextafter(x, x.new_tensor(torch.inf))
    for share in (0.0, 0.3, 0.5, 0.7, 1.0):
        threshold = x.double() + share * (above.double() - x.double())
        ours = round_down(threshold, torch.float32)
        assert ours.dtype == torch.float32
        for number in (x, above):
            assert torch.equal(number <= ours, number.double() <= threshold)
    assert round_down(torch.tensor([1e300]), torch.float32).isfinite().all()


def test_the_first_of_equally_near_rows_vote() -> None:
    x = torch.tensor([[0.0], [2.0], [2.0], [2.0], [9.0]])
    ours = KnnLearner(3, 3)
    ours.fit(x, torch.tensor([0, 1, 1, 2, 2]), 0)
    torch.testing.assert_close(ours(torch.tensor([[0.1]])), torch.tensor([[1, 2, 0.0]]) / 3)
    torch.testing.assert_close(ours(torch.tensor([[2.1]])), torch.tensor([[0, 2, 1.0]]) / 3)
    few = KnnLearner(3, 50)
    few.fit(x, torch.tensor([0, 1, 1, 2, 2]), 0)
    torch.testing.assert_close(few(torch.tensor([[0.1]])), torch.tensor([[1, 2, 2.0]]) / 5)


def test_logistic_keeps_its_digits_where_means_are_large() -> None:
    torch.set_default_dtype(torch.float32)
    x, y = points(100, [0, 1, 2], 4)
    x = (x / 100 + 1000).float()
    ours = LogisticLearner(3)
    ours.fit(x, y, 0)
    model = reference("logistic").fit(x.double().numpy(), y.numpy())
    torch.testing.assert_close(ours(x).double(), aligned(model, x, 3), rtol=0, atol=1e-6)


def test_a_constant_feature_says_nothing() -> None:
    x, y = points(60, [0, 1, 2], 5)
    x[:, 0] = 0.1
    changed = x.clone()
    changed[:, 0] = 0.1001
    for family in ("logistic", "knn"):
        ours = learner(family, 3)
        ours.fit(x, y, 0)
        torch.testing.assert_close(ours(changed), ours(x), rtol=0, atol=1e-3)


def test_convex_weights_are_the_best_on_a_grid() -> None:
    _, y = points(200, [0, 1, 2], 6)
    good = (F.one_hot(y, 3) + torch.randn(200, 3)).softmax(1)
    other = (F.one_hot(y, 3) + 1.5 * torch.randn(200, 3)).softmax(1)
    ours = Convex(3)
    ours.fit(torch.cat([good, other], 1), y, 0)
    grid = torch.linspace(0, 1, 1001)
    rows = torch.arange(200)
    losses = -(grid[:, None] * good[rows, y] + (1 - grid[:, None]) * other[rows, y]).log().mean(1)
    best = grid[int(losses.argmin())].item()
    assert 0 < best < 1
    assert ours.weights[0].item() == pytest.approx(best, abs=2e-3)
    mixed = ours.weights[0] * good + ours.weights[1] * other
    torch.testing.assert_close(ours(torch.cat([good, other], 1)), mixed)


@pytest.mark.parametrize("rows", [1, 2, 7, 50])
@pytest.mark.parametrize("count", [2, 5])
def test_folds_are_stratified(rows: int, count: int) -> None:
    y = torch.randint(3, (rows,), generator=torch.Generator().manual_seed(rows))
    folds = assign_folds(y, count, 1)
    assert torch.equal(folds, assign_folds(y, count, 1))
    assert folds.unique().tolist() == list(range(min(rows, count)))
    assert int(folds.bincount().max() - folds.bincount().min()) <= 1
    for c in range(3):
        of_class = folds[y == c].bincount(minlength=min(rows, count))
        assert int(of_class.max() - of_class.min()) <= 1
    if rows == 50:
        assert not torch.equal(folds, assign_folds(y, count, 2))


def encoded(rows: int, seed: int, junk: float = torch.nan) -> Encoded:
    """Return rows of two modalities of which a tenth or so lacks one."""
    x, y = points(rows, [0, 1, 2], seed, features=7)
    g = torch.Generator().manual_seed(seed)
    lacks = torch.randint(12, (rows,), generator=g)
    present = {"a": lacks != 0, "b": lacks != 1}
    pooled = {"a": x[:, :3], "b": x[:, 3:] / 1000}
    features = {}
    for name, vectors in pooled.items():
        vectors = vectors.masked_fill(~present[name][:, None], junk)
        features[name] = Features(vectors[:, None], torch.ones(rows, 1) > 0, vectors)
    return Encoded(features, present, y)


def side_by_side(rows: Encoded) -> Tensor:
    parts = []
    for name in "ab":
        here = rows.present[name]
        x = rows.features[name].pooled
        parts.append(
            torch.stack(
                [
                    x[i] if here[i] else 0 * here[i] + torch.zeros(x.shape[1])
                    for i in range(len(rows))
                ]
            )
        )
    flags = torch.stack([rows.present[name].double() for name in "ab"], 1)
    return torch.cat([*parts, flags], 1)


def head(fusion: Algorithm, x: Tensor) -> Tensor:
    p = dict(fusion.named_parameters())
    hidden = (x @ p["neural.0.weight"].T + p["neural.0.bias"]).clamp(min=0)
    return hidden @ p["neural.2.weight"].T + p["neural.2.bias"]


def settled(**options: Any) -> tuple[Algorithm, tuple[str, ...]]:
    fusion, notes = settled_once(tuple(options.items()))
    return copy.deepcopy(fusion), notes


@functools.cache
def settled_once(options: tuple[tuple[str, Any], ...]) -> tuple[Algorithm, tuple[str, ...]]:
    torch.manual_seed(5)
    fusion = Algorithm(WIDTHS, outputs=C, hidden=8, **dict(options)).eval()
    return fusion, fusion.settle(encoded(120, 1), encoded(60, 2), 3)


def naive_parts(fusion: Algorithm, fit: Encoded, ask: Encoded) -> dict[str, Tensor]:
    x, asked = side_by_side(fit), side_by_side(ask)
    parts = {"neural": head(fusion, asked).softmax(1).detach()}
    for family in ("logistic", "knn", "trees"):
        parts[family] = aligned(reference(family).fit(x.numpy(), fit.target.numpy()), asked, C)
    return {name: (1 - C * 1e-6) * p + 1e-6 for name, p in parts.items()}


def test_before_it_is_settled_the_neural_head_decides(formula: Callable[..., None]) -> None:
    def naive(fusion: Any, row: Any) -> Tensor:
        flags = torch.tensor([float(name in row.pooled) for name in row.names])
        x = torch.cat([row.side_by_side(), flags])
        return row.affine("neural.2", row.affine("neural.0", x).clamp(min=0))

    formula(Algorithm, {"hidden": 4}, naive)
    formula(Algorithm, {"hidden": 4, "learners": ["knn"], "combine": "stacking"}, naive, 5)


def test_learners_stand_in_the_order_of_their_ranks() -> None:
    """Weights of saved runs are in this order."""
    ranks = [kind.rank for kind in FOUND.values()]
    assert ORDER[: len(LEARNERS)] == LEARNERS
    assert (NEURAL, *FOUND) == ORDER
    assert ranks == sorted(set(ranks))
    assert Convex not in FOUND.values()


def test_a_learner_is_given_the_options_that_it_takes() -> None:
    learner = make_learner("knn", C, neighbors=4, depth=3)
    assert isinstance(learner, KnnLearner)
    assert (learner.outputs, learner.neighbors) == (C, 4)
    assert type(make_learner("trees", C, neighbors=4)) is Trees


@pytest.mark.parametrize("learners", [LEARNERS, ("trees", "logistic"), ("knn",)])
def test_weights_against_a_naive_mixture(learners: tuple[Any, ...]) -> None:
    fusion, notes = settled(learners=learners)
    order = [name for name in LEARNERS if name in learners]
    train, val, test = encoded(120, 1), encoded(60, 2), encoded(40, 3)
    weights = fusion.combiner.weights
    parts = naive_parts(fusion, train, test)
    mixed = sum(w * parts[name] for w, name in zip(weights, order, strict=True))
    output = fusion(test.features, test.present)
    torch.testing.assert_close(output.exp(), mixed, rtol=0, atol=1e-5)
    torch.testing.assert_close(output.exp().sum(1), torch.ones(40))
    if len(order) == 1:
        assert weights.tolist() == [1.0]

    seen = naive_parts(fusion, train, val)

    def loss(w: Tensor) -> Tensor:
        mixture = sum(each * seen[name] for each, name in zip(w, order, strict=True))
        return -mixture[torch.arange(60), val.target].log().mean()

    for k in range(len(order)):  # towards any learner alone it gets worse
        towards = weights + 0.01 * (torch.eye(len(order))[k] - weights)
        assert loss(towards) > loss(weights) - 1e-9
    values = ", ".join(f"{n} {w:.2f}" for n, w in zip(order, weights.tolist(), strict=True))
    alone = ", ".join(
        f"{n} {loss(torch.tensor([float(n == m) for m in order])):.2f}" for n in order
    )
    check_notes(
        notes,
        ("60 validation", values, "weights", "validation"),
        ("60 validation", alone, f"{loss(weights):.2f}", "validation", "rows"),
    )


def test_stacking_against_scikit_learn() -> None:
    fusion, notes = settled(learners=("knn", "logistic"), combine="stacking", folds=4)
    train, test = encoded(120, 1), encoded(40, 3)
    x, y = side_by_side(train).numpy(), train.target.numpy()
    folds = assign_folds(train.target, 4, 3).numpy()
    out = np.zeros((120, 2 * C))
    for fold in range(4):
        for k, family in enumerate(("logistic", "knn")):
            model = reference(family).fit(x[folds != fold], y[folds != fold])
            p = model.predict_proba(x[folds == fold])
            out[folds == fold, k * C : (k + 1) * C] = (1 - C * 1e-6) * p + 1e-6
    meta = reference("logistic").fit(out, y)
    parts = naive_parts(fusion, train, test)
    asked = torch.cat([parts["logistic"], parts["knn"]], 1)
    want = (1 - C * 1e-6) * aligned(meta, asked, C) + 1e-6
    got = fusion(test.features, test.present)
    torch.testing.assert_close(got, want.log(), rtol=0, atol=1e-5)
    check_notes([notes[0]], ("120 training", "training", "rows"))


@pytest.mark.slow
def test_no_fold_is_predicted_by_its_own_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    folds = torch.arange(120) % 3
    monkeypatch.setattr(algorithm, "assign_folds", lambda y, count, seed: folds)
    fusion = Algorithm(WIDTHS, outputs=C, hidden=8, combine="stacking").eval()
    x, y = side_by_side(encoded(120, 1)), encoded(120, 1).target
    val = side_by_side(encoded(60, 2)), encoded(60, 2).target
    before = fusion._predict_out_of_fold(x, y, val, 0)
    flipped = torch.where(folds == 1, (y + 1) % C, y)
    after = fusion._predict_out_of_fold(x, flipped, val, 0)
    assert torch.equal(after[folds == 1], before[folds == 1])
    moved = (after != before)[folds != 1].view(80, len(LEARNERS), C)
    assert moved.any(2).any(0).all()  # each learner does hear of the others' labels
    right = before.view(120, len(LEARNERS), C).argmax(2) == y[:, None]
    assert (right.double().mean(0) > 0.6).all()  # and has learned something


def test_a_copy_of_the_head_is_drawn_anew_and_stopped_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = torch.arange(80) % 3
    x = 2 * F.one_hot(y, 5) + torch.randn(80, 5)
    original = make_neural(5, 8, 3)
    before = [p.clone() for p in original.parameters()]
    state = torch.get_rng_state()
    first = train_copy(original, (x, y), (x, y), 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(original.parameters(), before, strict=True))
    assert all(p.requires_grad for p in original.parameters())
    with torch.no_grad():  # a copy starts the same whatever its original had learned
        for p in original.parameters():
            p.add_(5.0)
    again = train_copy(original, (x, y), (x, y), 1)
    other = train_copy(original, (x, y), (x, y), 2)
    assert all(
        torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(first[0].weight, other[0].weight)
    wrong = (x, (y + 1) % 3)  # rows on which training only does harm
    stopped = train_copy(original, (x, y), wrong, 1)
    assert F.cross_entropy(stopped(x), y) > F.cross_entropy(first(x), y)
    monkeypatch.setattr(neural, "STEPS", 1)
    one = train_copy(original, (x, y), wrong, 1)
    harm = [F.cross_entropy(each(x), wrong[1]).item() for each in (stopped, one, first)]
    assert harm[0] <= harm[1] < harm[2]


OPTIONS = pytest.mark.parametrize(
    "options",
    [{}, {"combine": "stacking"}, {"learners": ("trees",)}, {"learners": ("knn", "neural")}],
    ids=str,
)


@OPTIONS
def test_what_is_settled_travels(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fusion, _ = settled(**options)
    test = encoded(40, 3)
    expected = fusion(test.features, test.present)
    save_file(fusion.state_dict(), tmp_path / "state.safetensors")
    for module in ("sklearn.ensemble", "sklearn.linear_model", "sklearn.preprocessing"):
        monkeypatch.setitem(sys.modules, module, None)
    other = Algorithm(WIDTHS, outputs=C, hidden=8, **options).eval()
    fresh = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert torch.equal(other(test.features, test.present), expected)
    other.load_state_dict(fresh)  # and back to one that is not settled
    torch.testing.assert_close(
        other(test.features, test.present), head(other, side_by_side(test)), rtol=0, atol=1e-12
    )
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({k: v for k, v in fresh.items() if "combiner" not in k})


@pytest.mark.slow
@OPTIONS
def test_one_seed_one_result(options: dict[str, Any]) -> None:
    state = torch.get_rng_state()
    torch.manual_seed(5)
    fusion = Algorithm(WIDTHS, outputs=C, hidden=8, **options).eval()
    torch.set_rng_state(state)
    notes = fusion.settle(encoded(120, 1), encoded(60, 2), 3)
    assert torch.equal(torch.get_rng_state(), state)
    np.random.seed(1)  # noqa: NPY002  what scikit-learn would draw from
    other, said = settled(**options)
    assert said == notes
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in fusion.state_dict().items())
    assert all(parameter.requires_grad for parameter in fusion.parameters())
    # again, and with other junk in absent rows
    other.settle(encoded(120, 1, junk=1e6), encoded(60, 2, junk=torch.inf), 3)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in fusion.state_dict().items())


@OPTIONS
def test_the_contract_holds_once_settled(options: dict[str, Any]) -> None:
    fusion, _ = settled(**options)
    clean, dirty = encoded(40, 3, junk=0.0), encoded(40, 3, junk=torch.nan)
    expected = fusion(clean.features, clean.present)
    assert expected.isfinite().all()
    assert torch.equal(fusion(dirty.features, dirty.present), expected)
    backwards = dict(reversed(clean.features.items())), dict(reversed(clean.present.items()))
    assert torch.equal(fusion(*backwards), expected)
    first = {name: each.map(lambda t: t[:1]) for name, each in clean.features.items()}
    alone = fusion(first, {name: here[:1] for name, here in clean.present.items()})
    torch.testing.assert_close(alone, expected[:1], rtol=0, atol=1e-12)
    fusion.train()
    logits = fusion(clean.features, clean.present)
    torch.testing.assert_close(logits, head(fusion, side_by_side(clean)), rtol=0, atol=1e-12)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in fusion.parameters())


def test_rows_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fusion, _ = settled()
    test = encoded(40, 3)
    expected = fusion(test.features, test.present)
    monkeypatch.setattr(algorithm, "ROWS_AT_ONCE", 7)
    output = fusion(test.features, test.present)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


def test_low_precision_stays_out_of_what_is_settled() -> None:
    torch.set_default_dtype(torch.float32)
    rows = encoded(120, 1)
    rows = Encoded(
        {
            k: v.map(lambda t: t if t.dtype == torch.bool else t.float())
            for k, v in rows.features.items()
        },
        rows.present,
        rows.target,
    )
    fusion = Algorithm(WIDTHS, outputs=C, hidden=8).eval()
    fusion.settle(rows, rows, 0)
    expected = fusion(rows.features, rows.present)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(fusion(rows.features, rows.present), expected)
    assert expected.dtype == torch.float32


def test_single_modality() -> None:
    rows = encoded(90, 1, junk=0.0)
    one = Encoded({"a": rows.features["a"]}, {"a": torch.ones(90) > 0}, rows.target)
    for combine in ("weights", "stacking"):
        fusion = Algorithm({"a": Widths(3)}, outputs=C, combine=combine)  # type: ignore[arg-type]
        fusion.eval().settle(one, one, 0)
        assert fusion(one.features, one.present).exp().sum(1).sub(1).abs().max() < 1e-10


def test_a_class_without_training_rows_keeps_its_column() -> None:
    rows = encoded(90, 1)
    shifted = Encoded(rows.features, rows.present, rows.target + 1)  # of 1 to 3 in 5 classes
    for combine in ("weights", "stacking"):
        fusion = Algorithm(WIDTHS, outputs=5, combine=combine, learners=("logistic", "trees"))
        fusion.eval().settle(shifted, shifted, 0)
        p = fusion(rows.features, rows.present).exp()
        assert p.shape == (90, 5)
        assert (p[:, [0, 4]] < 1e-5).all()
        assert (p.argmax(1) == shifted.target).double().mean() > 0.8


def test_options() -> None:
    with pytest.raises(ValueError, match="twice") as error:
        Algorithm(WIDTHS, outputs=C, learners=["knn", "trees", "knn"])
    check_error(error.value, "learners", "trees", "knn")
    assert Algorithm.kinds() == Algorithm.kinds(combine="stacking") == {"classes"}
    fusion = Algorithm(WIDTHS, outputs=C, learners=["trees", "neural"])
    assert fusion.learners == ("neural", "trees")
    assert list(fusion.fitted) == ["trees"]
    assert fusion.settles
