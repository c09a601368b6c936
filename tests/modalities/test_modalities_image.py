import struct
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities import Stored
from mmx.modalities.image import Image, ImageColumn, ImageSpec

RED, BLUE = (255, 0, 0), (0, 0, 255)


def save(path: Path, colour=RED, size=(6, 4), **options) -> Path:
    PIL.Image.new("RGB", size, colour).save(path, **options)
    return path


def noise(count: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    shape = (count, height, width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def padded_crop(image: torch.Tensor, y: int, x: int, crop: int) -> torch.Tensor:
    """The second implementation: pad by reflection, then cut the window out."""
    height, width, _ = image.shape
    padded = np.pad(image.numpy(), ((crop, crop), (crop, crop), (0, 0)), mode="reflect")
    return torch.from_numpy(padded[y : y + height, x : x + width].copy())


def test_rows_keep_their_own_file_and_absent_rows_are_zeros(tmp_path):
    red, blue = save(tmp_path / "z.png"), save(tmp_path / "a.png", BLUE)
    column = ImageColumn([red, None, blue, red])
    stored = Image(size=(2, 3)).encode(column, [2, 1, 0], ImageSpec(2, 3))
    assert stored.values.dtype == torch.uint8
    assert stored.values.shape == (3, 2, 3, 3)
    assert stored.lengths is None
    assert stored.values[:, 0, 0].tolist() == [[*BLUE], [0, 0, 0], [*RED]]
    assert column.present.tolist() == [True, False, True, True]


def test_many_rows_stay_in_order_on_threads(tmp_path, monkeypatch):
    monkeypatch.setattr("mmx.modalities.files.SLOW", 0.0)
    paths = [save(tmp_path / f"{i}.png", (i, 0, 0)) for i in range(60)]
    stored = Image(size=4).encode(ImageColumn(paths), range(59, -1, -1), ImageSpec(4, 4))
    assert stored.values[:, 0, 0, 0].tolist() == list(range(59, -1, -1))


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 3)])
def test_an_array_is_stored_as_it_is(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    stored = Image(size=(4, 5)).encode(ImageColumn(array), [2, 0], ImageSpec(4, 5))
    expected = array[[2, 0]] if array.ndim == 4 else np.repeat(array[[2, 0]][..., None], 3, 3)
    assert (stored.values.numpy() == expected).all()


def test_an_array_of_another_size_is_resized():
    array = np.full((2, 8, 8), 7, dtype=np.uint8)
    stored = Image(size=4).encode(ImageColumn(array), [0, 1], ImageSpec(4, 4))
    assert stored.values.shape == (2, 4, 4, 3)
    assert (stored.values == 7).all()


def test_exif_orientation_is_honoured(tmp_path):
    upright = PIL.Image.new("RGB", (8, 16), RED)
    upright.paste(BLUE, (0, 0, 8, 8))  # blue above red
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turn by 90° to view
    turned = upright.transpose(PIL.Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    stored = Image(size=(16, 8)).encode(
        ImageColumn([tmp_path / "turned.jpg"]), [0], ImageSpec(16, 8)
    )
    top, bottom = stored.values[0, 2, 4].tolist(), stored.values[0, 13, 4].tolist()
    assert top[2] > 200 > top[0]
    assert bottom[0] > 200 > bottom[2]


def test_a_big_jpeg_decoded_small_looks_like_the_whole_one_resized(tmp_path):
    y, x = np.mgrid[0:400, 0:600]
    image = PIL.Image.fromarray(np.stack([y / 2, x / 3, y * 0], -1).astype(np.uint8))
    image.save(tmp_path / "big.jpg", quality=95)
    stored = Image(size=20).encode(ImageColumn([tmp_path / "big.jpg"]), [0], ImageSpec(20, 20))
    whole = np.asarray(image.resize((20, 20), PIL.Image.Resampling.BILINEAR), dtype=int)
    assert np.abs(stored.values[0].numpy() - whole).max() <= 4


def test_grey_palette_16_bit_and_transparent_images_become_rgb(tmp_path):
    PIL.Image.new("L", (2, 2), 9).save(tmp_path / "grey.png")
    PIL.Image.new("RGB", (2, 2), RED).quantize().save(tmp_path / "palette.png")
    PIL.Image.fromarray(np.full((2, 2), 0x0A00, np.uint16)).save(tmp_path / "deep.png")
    PIL.Image.new("RGBA", (2, 2), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    paths = [tmp_path / f"{name}.png" for name in ("grey", "palette", "deep", "clear")]
    stored = Image(size=2).encode(ImageColumn(paths), range(4), ImageSpec(2, 2))
    assert stored.values[:, 0, 0].tolist() == [[9] * 3, [*RED], [10] * 3, [255] * 3]


def test_size_none_is_that_of_the_first_training_image(tmp_path):
    column = ImageColumn([save(tmp_path / "a.png", size=(9, 9)), None, save(tmp_path / "b.png")])
    assert Image(size=None).fit(column, [1, 2]) == ImageSpec(4, 6)
    assert Image(size=5).fit(column, [1, 2]) == ImageSpec(5, 5)
    assert Image(size=(5, 6)).fit(column, []) == ImageSpec(5, 6)


def test_size_none_without_a_training_image():
    with pytest.raises(DataError) as error:
        Image(size=None).fit(ImageColumn([None]), [0])
    check_error(error.value, "size=null", "training", "image", types=("32",))


def test_crop_must_be_smaller_than_the_image(tmp_path):
    with pytest.raises(ValueError, match=r"^`crop` \(=8\) must be smaller than the shorter side"):
        Image(size=(32, 8), crop=8)
    with pytest.raises(DataError) as error:
        Image(size=None, crop=4).fit(ImageColumn([save(tmp_path / "a.png")]), [0])
    check_error(error.value, "crop=4", "4×6", "training", "image")


def test_a_corrupt_image_names_row_and_path(tmp_path):
    good = save(tmp_path / "good.png")
    junk = tmp_path / "junk.jpg"
    junk.write_bytes(b"not an image")
    with pytest.raises(DataError) as error:
        Image().encode(ImageColumn([good] * 16 + [junk]), range(17), ImageSpec(32, 32))
    check_error(error.value, "17", junk, "Pillow", "row", "image", types=("target.unusable=drop",))


def test_a_truncated_image_is_refused(tmp_path):
    whole = tmp_path / "whole.jpg"
    PIL.Image.fromarray(noise(1, 64, 64)[0].numpy()).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"^row 1: cannot read image .*cut\.jpg: .*truncated"):
        Image().encode(ImageColumn([cut]), [0], ImageSpec(32, 32))


def test_augmented_images_are_crops_and_mirrors_of_the_original():
    values, crop = noise(40, 6, 7), 2
    torch.manual_seed(0)
    augmented = Image(size=(6, 7), crop=crop, flip=True).augment(Stored(values)).values
    seen = set()
    for before, after in zip(values, augmented, strict=True):
        variants = {
            (y, x, mirrored): shifted.flip(1) if mirrored else shifted
            for y in range(2 * crop + 1)
            for x in range(2 * crop + 1)
            for shifted in [padded_crop(before, y, x, crop)]
            for mirrored in (False, True)
        }
        found = [key for key, variant in variants.items() if torch.equal(variant, after)]
        assert len(found) == 1
        seen.add(found[0])
    assert len(seen) > 20  # drawn per sample
    assert {mirrored for _, _, mirrored in seen} == {False, True}
    assert {y for y, _, _ in seen} == {x for _, x, _ in seen} == set(range(5))


def test_augmentation_follows_the_global_seed_and_leaves_its_input_alone():
    values = noise(8, 8, 8)
    kept = values.clone()
    image = Image(size=8, crop=1, flip=True)
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(image.augment(Stored(values)).values)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(values, kept)


def test_without_augmentation_nothing_is_drawn():
    state = torch.get_rng_state()
    stored = Stored(noise(2, 4, 4))
    assert Image(size=4).augment(stored) is stored
    assert torch.equal(torch.get_rng_state(), state)


def test_prepare_gives_channels_last_floats():
    stored = Stored(torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 4, 5, 3))
    inputs = Image().prepare(stored, ImageSpec(4, 5))
    assert inputs.shape == (2, 3, 4, 5)
    assert inputs.dtype == torch.float32
    assert inputs[0, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])
    fresh = Image().prepare(Stored(noise(2, 4, 5)), ImageSpec(4, 5))
    assert fresh.is_contiguous(memory_format=torch.channels_last)


def test_digest_is_content_not_path(tmp_path):
    one, same = save(tmp_path / "one.png"), save(tmp_path / "same.png")
    other = save(tmp_path / "other.png", BLUE)
    column = ImageColumn([one, same, other])
    assert column.digest(0) == column.digest(1) != column.digest(2)
    array = np.zeros((2, 4, 2), dtype=np.uint8)
    assert ImageColumn(array).digest(0) != ImageColumn(array.reshape(2, 2, 4)).digest(0)


def test_a_file_that_went_away_names_its_row(tmp_path):
    with pytest.raises(DataError) as error:
        ImageColumn([tmp_path / "gone.png"]).digest(0)
    check_error(error.value, "1", tmp_path / "gone.png", "No", "row", "image")


def test_bytes_per_row():
    assert Image().bytes_per_row(ImageSpec(4, 5)) == 60


@pytest.mark.parametrize(
    ("own", "source", "sizes"),
    [
        ((96, 96), (32, 32), ("32×32", "96×96", "32", "96")),
        ((8, 8), (32, 32), ("32×32", "8×8", "32", "8")),
        ((30, 40), (60, 40), ("60×40", "30×40", "[60,40]", "[30,40]")),
    ],
)
def test_images_of_another_scale_are_named_with_what_makes_them_alike(own, source, sizes):
    theirs, mine, target, other = sizes
    note = Image().other_scale(ImageSpec(*own), ImageSpec(*source))
    assert note is not None
    facts = (f"source's images are {theirs}", f"target's {mine}")
    check_notes([note], (*facts, f"target.image.size={target}", f"source.image.size={other}"))


def test_what_makes_images_alike_leaves_no_crop_that_is_larger_than_they_are():
    small, large = ImageSpec(8, 8), ImageSpec(96, 96)
    cropped, plain = Image(size=96, crop=12), Image(size=8, crop=1)
    said = cropped.other_scale(large, small)
    assert said is not None
    assert said.endswith(
        ": target.image.size=8 target.image.crop=1 or source.image.size=96 makes them alike"
    )
    said = plain.other_scale(small, large)
    assert said is not None
    assert said.endswith(
        ": target.image.size=96 or source.image.size=8 source.image.crop=1 makes them alike"
    )


@pytest.mark.parametrize("own", [(32, 32), (40, 32), (47, 22)])
def test_images_of_about_one_size_are_alike(own):
    assert Image().other_scale(ImageSpec(*own), ImageSpec(32, 32)) is None


RAMP = np.tile(np.linspace(0, 255, 16).round(), (16, 1))


def write_pgm(path: Path, shades: np.ndarray, white: int) -> Path:
    path.write_bytes(b"P5\n16 16\n%d\n" % white + shades.astype(">u2").tobytes())
    return path


def write_tiff16(path: Path, shades: np.ndarray, **tags: object) -> Path:
    PIL.Image.fromarray(shades.astype(np.uint16)).save(path, **tags)
    return path


def in_every_depth(folder: Path) -> dict[str, Path]:
    """Write the ramp in many formats that can hold it."""
    grey = PIL.Image.fromarray(RAMP.astype(np.uint8))
    paths = {
        "pgm": write_pgm(folder / "a.pgm", RAMP * 257, 65535),
        "pgm of 1020": write_pgm(folder / "b.pgm", RAMP * 4, 1020),
        "tiff of 16 bits": write_tiff16(folder / "c.tif", RAMP * 257),
    }
    PIL.Image.fromarray((RAMP * 257).astype(">u2")).save(folder / "d.tif")
    PIL.Image.fromarray((RAMP * 257).astype(np.uint16)).save(folder / "e.png")
    PIL.Image.fromarray((RAMP / 255).astype(np.float32)).save(folder / "f.tif")
    grey.convert("LA").save(folder / "g.png")
    grey.convert("P").save(folder / "h.png")
    grey.convert("RGB").convert("CMYK").save(folder / "i.tif")
    names = ("d.tif", "e.png", "f.tif", "g.png", "h.png", "i.tif")
    return {**paths, **{name: folder / name for name in names}}


@pytest.mark.parametrize(
    "kind", ["pgm", "pgm of 1020", "tiff of 16 bits", "d.tif", "e.png", "f.tif", "g.png", "h.png",
             "i.tif"],
)  # fmt: skip
def test_an_image_is_its_8_bit_twin_in_every_depth(tmp_path, kind):
    path = in_every_depth(tmp_path)[kind]
    stored = Image(size=16).encode(ImageColumn([path]), [0], ImageSpec(16, 16))
    assert np.abs(stored.values[0, :, :, 0].numpy().astype(int) - RAMP).max() <= 1
    assert (stored.values[0, :, :, 0] == stored.values[0, :, :, 2]).all()


def write_tiff(path: Path, shades: np.ndarray, sample_format: int, photometric: int) -> Path:
    """Write a grey TIFF, byte by byte: Pillow writes neither signed bytes nor black above white."""
    data, bits = shades.tobytes(), 8 * shades.itemsize
    tags = [(256, 16), (257, 16), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1),
            (278, 16), (279, len(data)), (339, sample_format)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    return path


@pytest.mark.parametrize(
    ("shades", "sample_format"),
    [(((255 - RAMP) * 257).astype("<u2"), 1), ((1 - RAMP / 255).astype("<f4"), 3)],
)
def test_a_tiff_whose_white_is_zero_is_turned_around(tmp_path, shades, sample_format):
    path = write_tiff(tmp_path / "a.tif", shades, sample_format, 0)
    stored = Image(size=16).encode(ImageColumn([path]), [0], ImageSpec(16, 16))
    assert (stored.values[0, :, :, 0].numpy() == RAMP).all()


def test_a_transparent_shade_of_16_bits_lies_on_white(tmp_path):
    deep = PIL.Image.fromarray((RAMP * 257).astype(np.uint16))
    deep.save(tmp_path / "a.png", transparency=17 * 257)
    with PIL.Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.info["transparency"]) == ("I;16", 17 * 257)
    path = tmp_path / "a.png"
    stored = Image(size=16).encode(ImageColumn([path]), [0], ImageSpec(16, 16))
    assert (stored.values[0, :, :, 0].numpy() == np.where(RAMP == 17, 255, RAMP)).all()


@pytest.mark.parametrize("dtype", ["i1", "<i2", "<i4", "<u4"])
def test_a_tiff_of_signed_or_32_bit_integers_is_refused(tmp_path, dtype):
    path = write_tiff(tmp_path / "a.tif", (RAMP / 2).astype(dtype), 1 + ("i" in dtype), 1)
    with pytest.raises(
        DataError, match=r"32-bit or signed integers, for which white is not defined"
    ):
        Image().encode(ImageColumn([path]), [0], ImageSpec(32, 32))


def test_one_bit_is_black_and_white(tmp_path):
    PIL.Image.fromarray(RAMP > 100).save(tmp_path / "a.png")
    stored = Image(size=16).encode(ImageColumn([tmp_path / "a.png"]), [0], ImageSpec(16, 16))
    assert sorted(stored.values.unique().tolist()) == [0, 255]


@pytest.mark.parametrize(
    ("shades", "why"),
    [
        (RAMP.astype(np.float32), "floats from 0 to 255, where 0 is black and 1 white"),
        (RAMP.astype(np.float32) / 127 - 1, "floats from -1 to 1.00787, where 0 is black and 1"),
        (np.full((16, 16), np.nan, np.float32), "floats from nan to nan"),
        (RAMP.astype(np.int32), "32-bit or signed integers, for which white is not defined"),
    ],
)
def test_an_image_of_unknown_white_is_refused(tmp_path, shades, why):
    path = tmp_path / "a.tif"
    PIL.Image.fromarray(shades).save(path)
    with pytest.raises(DataError) as error:
        Image().encode(ImageColumn([path]), [0], ImageSpec(32, 32))
    assert error.value.message.startswith(f"row 1: cannot read image {path}: {why}")
    check_error(error.value, types=("8", "16", "0", "1"))


def test_nearly_black_images_of_16_bits_are_remarked(tmp_path):
    column = ImageColumn([None, write_tiff16(tmp_path / "a.tif", RAMP * 16)])
    notes = Image().remarks(column, [0, 1], ImageSpec(16, 16))
    check_notes(notes, ("white is 65535", "16 bits", "first 1 is 4080", "nearly black"))
    column = ImageColumn([write_tiff16(tmp_path / "a.tif", RAMP * 200), save(tmp_path / "b.png")])
    assert Image().remarks(column, [0, 1], ImageSpec(16, 16)) == ()


def test_the_content_of_a_file_is_read_like_the_file(tmp_path):
    path = save(tmp_path / "a.png")
    column = ImageColumn([path, path.read_bytes(), b"junk"])
    assert column.digest(0) == column.digest(1)
    stored = Image(size=4).encode(column, [0, 1], ImageSpec(4, 4))
    assert torch.equal(stored.values[0], stored.values[1])
    with pytest.raises(DataError) as error:
        Image().encode(column, [2], ImageSpec(4, 4))
    check_error(error.value, "3", "4 bytes", "Pillow", "row", "image")
