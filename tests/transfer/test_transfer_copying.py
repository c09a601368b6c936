from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
import torch
from refusals import check_error, check_notes
from torch import Tensor

from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.errors import TransferError
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.fusion.gmu import Gmu
from mmx.fusion.hierarchical import Hierarchical
from mmx.fusion.late_weighted import LateWeighted
from mmx.fusion.weighted_sum import WeightedSum
from mmx.mapping.linear import Linear
from mmx.modalities import Spec
from mmx.modalities.image import ImageSpec
from mmx.modalities.tabular import TabularSpec
from mmx.model import MultimodalModel, Parts
from mmx.transfer import Source
from mmx.transfer.copying import copy_fitting

FUSIONS = [Concat, Gmu, Hierarchical, LateWeighted, WeightedSum]
METHODS = pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion.__name__)


def table(*columns: str) -> TabularSpec:
    return TabularSpec(columns, (0.0,) * len(columns), (1.0,) * len(columns), (), ())


def make(
    classes: int,
    *,
    seed: int,
    fusion: type[Fusion] = Concat,
    columns: tuple[str, ...] = ("a", "b"),
    image: bool = True,
    tabular: bool = True,
    width: int = 8,
    mapping: type[Linear] | None = None,
) -> MultimodalModel:
    torch.manual_seed(seed)
    specs: dict[str, Spec] = {}
    if image:
        specs["image"] = ImageSpec(8, 8)
    if tabular:
        specs["tabular"] = table(*columns)
    encoders = {
        "image": partial(SmallCnn, width=width, depth=2),
        "tabular": partial(Mlp, width=8, hidden=8),
    }
    model = MultimodalModel(specs, encoders, fusion, classes, Parts(mapping=mapping))
    for buffer in model.buffers():  # statistics that differ between any two models
        buffer.add_(seed)
    return model


def state(model: MultimodalModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


ANIMALS = ("cat", "dog", "horse")


@METHODS
def test_the_same_task_copies_every_tensor(fusion: type[Fusion]) -> None:
    source, target = make(3, seed=1, fusion=fusion), make(3, seed=2, fusion=fusion)
    done = copy_fitting(Source(source.state_dict(), ANIMALS), target, ANIMALS, {})
    assert set(done.copied) == set(target.state_dict())
    assert done.adapted == done.fresh == done.notes == ()
    assert done.classes == {name: name for name in ANIMALS}
    for name, tensor in target.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name])


@METHODS
@pytest.mark.parametrize(
    ("given", "wanted", "options"),
    [
        (ANIMALS, ANIMALS[::-1], {}),
        (ANIMALS, ("dog", "ship"), {}),
        (ANIMALS, ("ship", "car"), {}),
        (ANIMALS, ANIMALS, {"columns": ("a",)}),
        (ANIMALS, ANIMALS, {"tabular": False}),
        ((), (), {}),
    ],
)
def test_every_tensor_stands_in_one_list_and_says_the_truth(
    fusion: type[Fusion],
    given: tuple[str, ...],
    wanted: tuple[str, ...],
    options: dict[str, object],
) -> None:
    source = make(len(given) or 1, seed=1, fusion=fusion)
    target = make(len(wanted) or 1, seed=2, fusion=fusion, **options)
    before, theirs = state(target), source.state_dict()
    done = copy_fitting(Source(theirs, given), target, wanted, {})
    counts = Counter([*done.copied, *done.adapted, *done.fresh])
    assert counts == Counter(list(before))
    after = target.state_dict()
    for name in done.copied:
        assert torch.equal(after[name], theirs[name]), name
    for name in done.fresh:
        assert torch.equal(after[name], before[name]), name
    for name in done.adapted:
        assert not torch.equal(after[name], before[name]), name
    assert set(done.adapted) <= set(target.label_tensors)


@METHODS
def test_head_rows_follow_their_class(fusion: type[Fusion]) -> None:
    source, target = make(3, seed=1, fusion=fusion), make(4, seed=2, fusion=fusion)
    before, wanted = state(target), ("Horse", "ship", "d o-g_", "cat")
    done = copy_fitting(Source(source.state_dict(), ANIMALS), target, wanted, {})
    assert set(done.adapted) == set(target.label_tensors)
    check_notes(done.notes, ("3 of 4 classes", "Horse=horse", "d o-g_=dog", "fresh: ship"))
    assert done.classes == {"Horse": "horse", "d o-g_": "dog", "cat": "cat"}
    for name in target.label_tensors:
        mine, theirs = target.state_dict()[name], source.state_dict()[name]
        for row, other in ((0, 2), (2, 1), (3, 0)):
            assert torch.equal(mine[row], theirs[other])
        assert torch.equal(mine[1], before[name][1])


def test_shapes_that_do_not_fit_are_noted() -> None:
    source, target = make(3, seed=1, columns=("a", "b")), make(3, seed=2, columns=("a",))
    done = copy_fitting(Source(source.state_dict(), ANIMALS), target, ANIMALS, {})
    assert done.fresh == ("encoders.tabular.layers.0.0.weight",)
    check_notes(
        done.notes,
        ("encoders.tabular.layers.0.0.weight", "8×2 here", "8×4 in the source", "source"),
    )


def test_a_head_of_another_width_stays_fresh_whole() -> None:
    source, target = make(3, seed=1, tabular=False), make(3, seed=2)
    done = copy_fitting(Source(source.state_dict(), ANIMALS), target, ("dog", "cat", "cow"), {})
    assert {"head.weight", "head.bias"} <= set(done.fresh)
    assert done.adapted == ()
    check_notes(done.notes, ("head.weight", "3×16 here", "3×8 in the source", "source"))
    assert done.classes == {}


def test_a_head_over_a_fresh_fusion_stays_fresh() -> None:
    fusion = partial(Concat, hidden=6)
    source = make(3, seed=1, fusion=fusion, tabular=False)
    target = make(3, seed=2, fusion=fusion)
    done = copy_fitting(Source(source.state_dict(), ANIMALS), target, ANIMALS, {})
    assert {"head.weight", "head.bias", "fusion.layers.0.weight"} <= set(done.fresh)
    check_notes(
        done.notes,
        ("fusion.layers.0.weight", "6×16 here", "6×8 in the source", "source"),
        ("fusion.layers.0.weight", "head", "fresh"),
    )


def test_a_source_whose_encoders_do_not_fit_is_refused() -> None:
    source, target = make(3, seed=1, tabular=False), make(3, seed=2, image=False)
    with pytest.raises(TransferError) as caught:
        copy_fitting(Source(source.state_dict(), ANIMALS), target, ANIMALS, {})
    check_error(
        caught.value, "no encoder tensor", "source", types=("transfer.map={tabular: image}",)
    )


def test_names_of_classes_do_not_matter_where_no_head_is_given() -> None:
    source, target = make(3, seed=1), make(3, seed=2)
    given = {n: t for n, t in source.state_dict().items() if not n.startswith("head.")}
    done = copy_fitting(Source(given, ("cat", "Cat", "dog")), target, ("cat", "dog", "x"), {})
    assert set(done.fresh) == {"head.weight", "head.bias"}
    with pytest.raises(TransferError, match=r"^several classes of the source read as 'cat'"):
        copy_fitting(
            Source(source.state_dict(), ("cat", "Cat", "dog")), target, ("cat", "dog", "x"), {}
        )
    done = copy_fitting(Source(given, ANIMALS), target, ANIMALS, {"cat": "dog"})
    check_notes(done.notes, ("transfer.class_map", "head", "fresh"))


def test_a_head_of_other_classes_is_said_to_be_fresh() -> None:
    source, target = make(3, seed=1), make(3, seed=2)
    before = state(target)
    done = copy_fitting(Source(source.state_dict(), ANIMALS), target, ("car", "bus", "van"), {})
    check_notes(done.notes, ("head", "fresh", "class"))
    assert torch.equal(before["head.weight"], target.state_dict()["head.weight"])


@pytest.mark.parametrize("offered", [False, True])
def test_fusion_and_head_over_a_fresh_mapping_stay_fresh(offered: bool) -> None:
    source, target = (make(3, seed=seed, fusion=Gmu, mapping=Linear) for seed in (1, 2))
    before = state(target)
    given = {
        n: t for n, t in source.state_dict().items() if offered or n.split(".")[0] != "mapping"
    }
    done = copy_fitting(Source(given, ANIMALS), target, ANIMALS, {})
    behind = {name for name in before if not name.startswith("encoders.")}
    assert any(name.startswith("mapping.") for name in behind)
    assert any(name.startswith("fusion.") for name in behind)
    assert set(done.fresh) == (set() if offered else behind)
    note = "fusion and head are fresh, since the mapping below them is"
    assert (note in done.notes) is not offered
    assert all(torch.equal(before[name], target.state_dict()[name]) for name in done.fresh)


def test_a_class_map_is_checked_though_the_head_stays_fresh() -> None:
    fusion = partial(Concat, hidden=6)
    source, target = make(3, seed=1, fusion=fusion, tabular=False), make(3, seed=2, fusion=fusion)
    before = state(target)
    with pytest.raises(TransferError, match=r"^transfer\.class_map names 'cow', no class of the"):
        copy_fitting(Source(source.state_dict(), ANIMALS), target, ANIMALS, {"cow": "cat"})
    assert all(torch.equal(before[name], now) for name, now in target.state_dict().items())
