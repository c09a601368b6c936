"""Augmentations of images: drawn for each image by the seed, alike resident or streamed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from refusals import check_notes
from torchvision.transforms import v2

from mmx.errors import Interrupted
from mmx.modalities import Stored
from mmx.modalities.augmentations import AUGMENTATIONS
from mmx.modalities.augmentations.crop_flip import CropFlip
from mmx.modalities.augmentations.rand import Rand
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.resized_image import ResizedImage
from mmx.training.data import Data, ModalityReader

PHOTOS = torch.from_numpy(
    np.random.default_rng(0).integers(0, 256, (12, 16, 24, 3), dtype=np.uint8)
)


def augment(image: Image, seed: int = 3) -> torch.Tensor:
    torch.manual_seed(seed)
    return image.augment(Stored(PHOTOS)).values


def test_these_augmentations_exist():
    assert {"crop_flip", "rand", "trivial"} <= set(AUGMENTATIONS)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_image_is_changed_by_draws_of_its_own_that_follow_the_seed(name):
    image, kept = Image(size=(16, 24), augment=name), PHOTOS.clone()
    changed = augment(image)
    assert changed.dtype == torch.uint8
    assert changed.shape == PHOTOS.shape
    assert torch.equal(changed, augment(image))
    assert not torch.equal(changed, augment(image, seed=4))
    assert torch.equal(PHOTOS, kept)
    torch.manual_seed(3)
    same = image.augment(Stored(PHOTOS[:1].repeat(40, 1, 1, 1))).values
    assert len({each.numpy().tobytes() for each in same}) > 5


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("rand", v2.RandAugment(num_ops=2, magnitude=9)), ("trivial", v2.TrivialAugmentWide())],
)
def test_pixels_are_those_of_torchvision(name, theirs):
    found = augment(Image(size=(16, 24), augment=name))
    torch.manual_seed(3)
    expected = [theirs(each.permute(2, 0, 1)).permute(1, 2, 0) for each in PHOTOS]
    assert torch.equal(found, torch.stack(expected))


def test_options_of_an_augmentation_count():
    strong = Image(size=(16, 24), augment=Rand(operations=1, magnitude=30))
    found = augment(strong)
    torch.manual_seed(3)
    theirs = v2.RandAugment(num_ops=1, magnitude=30)
    assert torch.equal(found[0], theirs(PHOTOS[0].permute(2, 0, 1)).permute(1, 2, 0))


def test_crop_and_flip_stay_as_they_were_and_come_before_the_others():
    plain = augment(Image(size=(16, 24), crop=2, flip=True))
    torch.manual_seed(3)
    assert torch.equal(plain, CropFlip(crop=2, flip=True)(PHOTOS))
    assert torch.equal(plain, augment(Image(size=(16, 24), crop=2, augment="crop_flip")))
    eighth = augment(Image(size=(16, 24), augment="crop_flip"))
    assert torch.equal(plain, eighth)  # an eighth of 16 pixels is 2
    both = augment(Image(size=(16, 24), crop=2, flip=True, augment="trivial"))
    torch.manual_seed(3)
    assert torch.equal(both, AUGMENTATIONS["trivial"]()(CropFlip(crop=2, flip=True)(PHOTOS)))


def test_none_leaves_images_as_they_are_whatever_the_task_says():
    state = torch.get_rng_state()
    image = Image(size=(16, 24), crop=2, flip=True, augment="none")
    assert torch.equal(image.augment(Stored(PHOTOS)).values, PHOTOS)
    assert torch.equal(torch.get_rng_state(), state)


def test_published_encoders_keep_the_augmentation():
    task = Image(size=(16, 24), augment="trivial")
    shown = ResizedImage(task, size=(16, 24), crop_part=1, interpolation="nearest", how="squash")
    assert torch.equal(augment(shown), augment(task))


@pytest.mark.parametrize("name", ["rand", "trivial"])
def test_streamed_and_resident_rows_are_changed_alike_and_only_in_training(name):
    image, column = Image(size=(16, 24), augment=name), ImageColumn(PHOTOS.numpy())
    rows = np.arange(12)
    view = ModalityReader(column, image, image.fit(column, rows))
    seen = []
    for resident in (True, False):
        data = Data(
            {"image": view},
            torch.zeros(12, dtype=torch.int64),
            {"train": rows},
            device=torch.device("cpu"),
            resident=resident,
        )
        torch.manual_seed(5)
        batches = list(data.batches([rows[:7], rows[7:]]))
        seen.append(
            [data.assemble(part, stored, augment=True).inputs["image"] for part, stored in batches]
        )
        still = [
            data.assemble(part, stored, augment=False).inputs["image"] for part, stored in batches
        ]
        assert torch.equal(torch.cat(still), image.prepare(Stored(PHOTOS), view.spec))
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def test_that_cached_features_are_not_augmented_is_said():
    check_notes(
        [Image(augment="rand").note_unaugmented("target")],
        ("image", "frozen", "target.image.augment", "none"),
    )
    assert Image(crop=2, flip=True).note_unaugmented("target") == ""
    assert Image(augment="none").note_unaugmented("target") == ""


def test_a_stopped_run_is_augmented_as_if_it_had_not_been(bench, stop_after):
    def make(name: str = "trivial"):
        run = bench()
        run.data.views["image"].modality.augmentation = name
        return run

    whole, other = make(), make("none")
    for run in (other, whole):
        run.fit()
        run.state_path.unlink(missing_ok=True)
    with pytest.raises(Interrupted):
        make().fit(stop_after(7))
    again = make()
    again.fit()
    for key, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[key]), key
    first = "encoders.image.stages.0.0.weight"
    assert not torch.equal(whole.model.state_dict()[first], other.model.state_dict()[first])
