"""CutMix: what is pasted, what counts as its share, and what it is refused for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import Refusal, check_notes, check_refusals
from torch import Tensor
from torchvision.transforms import v2

from mmx.balance.cutmix import CutMix
from mmx.config import compose
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.errors import ConfigError
from mmx.experiment import assemble
from mmx.fusion.concat import Concat
from mmx.model import MultimodalModel
from mmx.runs.directory import RunDirectory
from mmx.training.loss import BatchLoss

Overrides = Callable[..., list[str]]
BOTH = ("image", "tabular")


def number_images(rows: int, height: int = 12, width: int = 9) -> Tensor:
    """Return images of which every pixel is the number of its row."""
    return torch.arange(rows, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, height, width)


def find_box(pasted: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns from the first to the last True of ``(H, W)``."""
    down, right = pasted.any(1).nonzero()[:, 0], pasted.any(0).nonzero()[:, 0]
    return slice(int(down[0]), int(down[-1]) + 1), slice(int(right[0]), int(right[-1]) + 1)


@pytest.mark.parametrize("seed", range(20))
def test_a_box_of_the_row_before_and_its_share_of_the_label(seed: int) -> None:
    images, target = number_images(5).clone(), torch.tensor([3, 1, 4, 1, 5])
    torch.manual_seed(seed)
    mixed = CutMix().mix_inputs({"photo": images}, target)
    assert mixed is not None
    assert torch.equal(images, number_images(5))  # the batch itself stays
    assert mixed.other.tolist() == [5, 3, 1, 4, 1]
    (changed,) = mixed.inputs.values()
    pasted = changed[0, 0] == 4
    for row in range(5):
        want = torch.where(pasted, (row - 1) % 5, row).to(torch.float32)
        assert torch.equal(changed[row], want.expand(3, -1, -1))
    assert mixed.share == pytest.approx(1 - pasted.float().mean().item(), abs=1e-7)
    if pasted.any():
        assert pasted[find_box(pasted)].all()


def test_boxes_are_torchvisions_and_some_are_cut_off_at_the_border() -> None:
    target, at_border = torch.tensor([0, 1, 2]), 0
    for seed in range(40):
        images = torch.rand(3, 3, 16, 10, generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(seed)
        ours = CutMix(alpha=0.7).mix_inputs({"image": images}, target)
        torch.manual_seed(seed)
        torch.rand(())  # whether the batch is cut
        theirs, labels = v2.CutMix(alpha=0.7, num_classes=3)(images, target)
        assert ours is not None
        assert torch.equal(ours.inputs["image"], theirs)
        eye = torch.eye(3)
        want = ours.share * eye[target] + (1 - ours.share) * eye[ours.other]
        torch.testing.assert_close(labels, want)
        pasted = (theirs[0, 0] != images[0, 0]).any(0)
        at_border += bool(pasted[0] or pasted[-1])
    assert at_border > 5


def test_chance_is_the_fraction_of_batches_that_are_cut() -> None:
    torch.manual_seed(0)
    images, target = number_images(2), torch.tensor([0, 1])
    found = [CutMix(chance=0.3).mix_inputs({"image": images}, target) for _ in range(1000)]
    assert sum(each is not None for each in found) / 1000 == pytest.approx(0.3, abs=0.05)


def test_features_computed_before_are_left_alone() -> None:
    before = torch.get_rng_state()
    assert CutMix().mix_inputs({}, torch.tensor([0, 1])) is None
    assert torch.equal(torch.get_rng_state(), before)


def test_the_loss_weighs_both_labels_by_the_area(bench: Any) -> None:
    run = bench(missing=False)
    data = run.data.select_modality("image")
    spec = data.views["image"].spec
    encoder = partial(SmallCnn, width=8, depth=2)
    model = MultimodalModel({"image": spec}, {"image": encoder}, Concat, 3).eval()
    rows = data.rows("train")[:6]
    ((_, stored),) = data.batches([rows])
    torch.manual_seed(5)
    loss = BatchLoss(model, data, run.criterion, run.format, CutMix(), augment=False)
    value, batch = loss(rows, stored)
    torch.manual_seed(5)
    before = data.assemble(rows, stored, augment=False)
    mixed = CutMix().mix_inputs(before.inputs, before.target)
    assert mixed is not None
    assert 0 < mixed.share < 1
    assert torch.equal(batch.inputs["image"], mixed.inputs["image"])
    outputs = model(batch)
    expected = mixed.share * run.criterion.task_loss(outputs, before.target)
    expected = expected + (1 - mixed.share) * run.criterion.task_loss(outputs, mixed.other)
    torch.testing.assert_close(value, expected)


# --- whole runs


def test_streamed_and_resident_images_give_the_same_run(
    train: Callable[..., RunDirectory], overrides: Overrides, tables: dict[str, Path]
) -> None:
    given = overrides(None, tables["two"], ("image",), "target.image.augment=crop_flip")
    runs = [
        train(*given, "balance=cutmix", "trainer.resident=true"),
        train(*given, "balance=cutmix", "trainer.resident=false"),
        train(*given, "trainer.resident=true"),
    ]
    resident, streamed, uncut = (run.summary()["target"]["metrics"]["val"]["loss"] for run in runs)
    assert resident == streamed != uncut


def test_a_frozen_encoder_reads_whole_images(
    train: Callable[..., RunDirectory], overrides: Overrides, tables: dict[str, Path]
) -> None:
    given = overrides(tables["one"], tables["two"], ("image",), "balance=cutmix", "control=none")
    run = train(*given, "transfer.freeze=[encoders.image.*]")
    notes = [note for note in run.summary()["notes"] if "cutmix" in note]
    check_notes(notes, ("balance=cutmix", "image"))


REFUSED = {
    (None, BOTH): ("balance=mixup   (or modalities=[image])", ("image", "tabular")),
    (None, ("tabular",)): ("balance=mixup", ("image", "tabular")),
    ("transfer=feature", ("image",)): (
        "balance=mixup   (mixes features; or transfer=parameter)",
        ("transfer=feature", "once"),
    ),
}


@pytest.mark.parametrize(("more", "modalities"), REFUSED)
def test_where_there_is_nothing_to_cut(
    overrides: Overrides, tables: dict[str, Path], more: str | None, modalities: tuple[str, ...]
) -> None:
    given = overrides(tables["one"], tables["two"], modalities, "balance=cutmix")
    with compose.composer():
        config = compose.compose_job([*given, *([more] if more else [])]).config
    with pytest.raises(ConfigError) as caught:
        assemble(config)
    typed, says = REFUSED[more, modalities]
    check_refusals(caught.value.problems, [Refusal("balance=cutmix", says, type_this=typed)])
