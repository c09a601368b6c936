"""Image files as people have them, asserted by their pixels."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities.image import Image, ImageColumn, ImageSpec
from mmx.modalities.pixels import UNSAFE, Decoding, list_formats, read_pixels
from mmx.modalities.resized_image import ResizedImage
from mmx.modalities.suffixes import counts_as

COLOURS = np.array([[[0, 0, 0], [200, 10, 10]], [[170, 170, 170], [255, 255, 255]]], np.uint8)
BLOCKS = COLOURS.repeat(16, 0).repeat(16, 1)


def save(image: PIL.Image.Image, form: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def corners(content: bytes, **options: object) -> np.ndarray:
    """Return the middle pixels of the four blocks."""
    return read_pixels(content, 0, None, Decoding(**options))[8::16, 8::16].astype(int)


@pytest.mark.parametrize(
    ("form", "options", "apart"),
    [("PNG", {}, 0), ("BMP", {}, 0), ("TIFF", {}, 0), ("JPEG2000", {}, 0), ("QOI", {}, 0),
     ("TGA", {}, 0), ("PCX", {}, 0), ("WEBP", {"lossless": True}, 0), ("AVIF", {"quality": 100}, 3),
     ("JPEG", {"quality": 100}, 3), ("GIF", {}, 0)],
)  # fmt: skip
def test_colours_are_alike_in_every_format(form, options, apart):
    content = save(PIL.Image.fromarray(BLOCKS), form, **options)
    assert np.abs(corners(content) - COLOURS).max() <= apart


@pytest.mark.parametrize(
    ("mode", "form", "apart"),
    [("CMYK", "TIFF", 0), ("CMYK", "JPEG", 3), ("LAB", "TIFF", 5), ("YCbCr", "TIFF", 3),
     ("RGBA", "PNG", 0), ("RGBX", "TIFF", 0)],
)  # fmt: skip
def test_colours_are_alike_in_every_mode(mode, form, apart):
    if mode == "YCbCr" and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("Pillow 12, the last for Python 3.10, cannot read the file that it writes")
    options = {"quality": 100} if form == "JPEG" else {}
    content = save(PIL.Image.fromarray(BLOCKS).convert(mode), form, **options)
    assert np.abs(corners(content) - COLOURS).max() <= apart


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "I;16"])
def test_shades_are_alike_in_every_mode(mode):
    shades = np.array([[0, 255], [255, 0]], np.uint8).repeat(16, 0).repeat(16, 1)
    image = PIL.Image.fromarray(shades)
    if mode == "I;16":
        image = PIL.Image.fromarray(shades.astype(np.uint16) * 257)
    content = save(image.convert(mode), "TIFF")
    assert PIL.Image.open(io.BytesIO(content)).mode == mode
    assert corners(content)[..., 0].tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize(
    ("content", "shades"),
    [
        (b"P5\n4 1\n1023\n" + np.array([0, 341, 682, 1023], ">u2").tobytes(), [0, 85, 170, 255]),
        (b"P2\n4 1\n1023\n0 341 682 1023\n", [0, 85, 170, 255]),
        (b"P5\n4 1\n100\n" + bytes([0, 33, 66, 100]), [0, 84, 168, 255]),
        (b"P1\n4 1\n0 1 0 1\n", [255, 0, 255, 0]),
        (b"Pf\n4 1\n-1.0\n" + np.array([0, 0.25, 0.5, 1], "<f4").tobytes(), [0, 64, 128, 255]),
    ],
)
def test_portable_maps_are_scaled_by_their_white(content, shades):
    assert read_pixels(content, 0)[0, :, 1].tolist() == shades


def test_a_tiff_of_12_bits():
    packed = bytes([0x00, 0x05, 0x55, 0xAA, 0xAF, 0xFF])  # 0, 0x555, 0xAAA, 0xFFF
    tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1),
            (279, len(packed))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed
    content = head + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert read_pixels(content, 0)[0, :, 0].tolist() == [0x00, 0x55, 0xAA, 0xFF]


UPRIGHT = np.array([[10, 20, 30], [40, 50, 60]])
TURNS = {1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1],
         5: UPRIGHT.T, 6: np.rot90(UPRIGHT, -1), 7: UPRIGHT[::-1, ::-1].T,
         8: np.rot90(UPRIGHT)}  # fmt: skip


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", TURNS)
def test_every_orientation_in_every_format(form, orientation):
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    shades = UPRIGHT.astype(np.uint8).repeat(16, 0).repeat(16, 1)
    image = PIL.Image.fromarray(np.stack([shades] * 3, -1))
    options = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}, "JPEG": {"quality": 100}}
    found = corners(save(image, form, exif=exif, **options.get(form, {})))[..., 0]
    assert found.shape == TURNS[orientation].shape
    assert np.abs(found - TURNS[orientation]).max() <= 3


def write_png(width: int, depth: int, kind: int, samples: bytes, *chunks: tuple[bytes, bytes]):
    """Write a PNG of one row, byte by byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"\0" + samples))
    between = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + between + body + chunk(b"IEND", b"")


PALETTE = (b"PLTE", bytes([10, 0, 0, 20, 0, 0, 30, 0, 0, 40, 0, 0]))


@pytest.mark.parametrize(
    ("content", "white", "black"),
    [
        (write_png(2, 8, 4, bytes([90, 255, 90, 0])), [90, 255], [90, 0]),
        (write_png(2, 8, 6, bytes([90, 0, 0, 255, 90, 0, 0, 0])), [90, 255], [90, 0]),
        (write_png(2, 8, 0, bytes([90, 64]), (b"tRNS", b"\0\x40")), [90, 255], [90, 0]),
        (write_png(2, 16, 0, bytes([90, 90, 64, 64]), (b"tRNS", b"\x40\x40")), [90, 255], [90, 0]),
        (write_png(4, 8, 3, bytes([0, 1, 2, 3]), PALETTE, (b"tRNS", b"\xff\0\x80")),
         [10, 255, 142, 40], [10, 0, 15, 40]),
        (write_png(2, 8, 2, bytes([9, 9, 9, 4, 5, 6]), (b"tRNS", b"\0\4\0\5\0\6")),
         [9, 255], [9, 0]),
    ],
)  # fmt: skip
def test_transparent_pixels_are_laid_on_the_background(content, white, black):
    assert read_pixels(content, 0)[0, :, 0].tolist() == white
    assert read_pixels(content, 0, None, Decoding("black"))[0, :, 0].tolist() == black
    grey = read_pixels(content, 0, None, Decoding("grey"))[0, 1].tolist()
    assert grey == [128] * 3


def test_premultiplied_alpha_is_divided_out():
    data = bytes([50, 25, 0, 128, 100, 50, 0, 255])  # of 100, 50, 0 at half, and opaque
    fields = [(256, 2), (257, 1), (258, 8), (259, 1), (262, 2), (273, 8), (277, 4), (278, 1),
              (279, len(data)), (338, 1)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in fields)
    entries = entries.replace(
        struct.pack("<HHII", 258, 3, 1, 8), struct.pack("<HHII", 258, 3, 4, 200)
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    content = head + struct.pack("<H", len(fields)) + entries + bytes(4)
    content = content.ljust(200, b"\0") + struct.pack("<4H", 8, 8, 8, 8)
    found = read_pixels(content, 0)[0].astype(int)
    assert np.abs(found - [[177, 152, 127], [100, 50, 0]]).max() <= 1


def test_settings_reach_images_of_published_encoders():
    clear = write_png(2, 8, 6, bytes([90, 0, 0, 255, 90, 0, 0, 0]))
    for task in (Image(size=1, background="black"), Image(size=1)):
        shown = ResizedImage(task, size=(1, 2), crop_part=1, interpolation="nearest", how="squash")
        stored = shown.encode(ImageColumn([clear]), [0], ImageSpec(1, 2))
        assert stored.values[0, 0, 1, 0] == (0 if task.decoding.background == "black" else 255)


def test_what_is_laid_on_a_colour_or_left_out_is_remarked():
    red, blue = (PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
    plain = save(red, "PNG")
    animated = [
        save(red, form, save_all=True, append_images=[blue])
        for form in ("GIF", "WEBP", "TIFF", "PNG", "AVIF")
    ]
    for content in animated:
        assert np.abs(read_pixels(content, 0)[0, 0].astype(int) - [254, 0, 0]).max() <= 3
    clear = write_png(2, 8, 6, bytes([90, 0, 0, 255, 90, 0, 0, 0]))
    opaque = write_png(1, 8, 6, bytes([90, 0, 0, 255]))
    linear = write_png(1, 8, 0, bytes([64]), (b"gAMA", struct.pack(">I", 100_000)))
    usual = write_png(1, 8, 0, bytes([64]), (b"gAMA", struct.pack(">I", 45_455)))
    assert read_pixels(linear, 0)[0, 0, 0] == 64
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profiled = save(red, "PNG", icc_profile=srgb)
    column = ImageColumn([plain, *animated, None, clear, opaque, linear, usual, profiled, b"junk"])
    rows = range(len(column))
    check_notes(
        Image(background="grey").remarks(column, rows, ImageSpec(4, 4)),
        ("image", "1 of 12", "transparent", "grey", "target.image.background=white"),
        ("image", "5 of 12", "frames", "first"),
        ("image", "1 of 12", "gamma"),
    )
    assert Image().remarks(ImageColumn([plain, opaque, usual]), range(3), ImageSpec(4, 4)) == ()
    assert (
        Image().remarks(ImageColumn(np.zeros((3, 4, 4), np.uint8)), range(3), ImageSpec(4, 4)) == ()
    )


def test_an_image_of_too_many_pixels_is_refused_with_the_setting_that_reads_it(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.new("L", (60, 50), 7).save(path)
    with pytest.raises(DataError) as error:
        Image(max_pixels=2_999).encode(ImageColumn([None, path]), [1], ImageSpec(4, 4))
    facts = "row 2", path, "60×50", "3,000 pixels", "2,999"
    check_error(error.value, *facts, types=["target.image.max_pixels=3000"])
    stored = Image(max_pixels=3_000).encode(ImageColumn([path]), [0], ImageSpec(4, 4))
    assert (stored.values == 7).all()


@pytest.mark.parametrize("side", [20_000, 40_000])
def test_a_decompression_bomb_is_refused_from_its_header(side):
    content = b"P5\n%d %d\n255\n" % (side, side // 2)
    with pytest.raises(DataError) as error:
        read_pixels(content, 0)
    pixels = side * side // 2
    check_error(error.value, f"{pixels:,} pixels", types=[f"target.image.max_pixels={pixels}"])


@pytest.fixture
def own_pillow(monkeypatch):
    """Keep what reading HEIC registers with Pillow out of other tests."""
    for name in ("OPEN", "ID", "EXTENSION", "MIME", "SAVE", "SAVE_ALL"):
        known = getattr(PIL.Image, name)
        monkeypatch.setattr(PIL.Image, name, known.copy())


def test_heic_is_read_by_its_extra(own_pillow, tmp_path):
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    shades = UPRIGHT.astype(np.uint8).repeat(32, 0).repeat(32, 1)
    image = PIL.Image.fromarray(np.stack([shades] * 3, -1))
    heif.from_pillow(image).save(path, quality=100, exif=exif.tobytes())
    assert counts_as(Path("IMG_1.HEIC"), "image")
    found = read_pixels(path, 0)[16::32, 16::32, 0].astype(int)
    assert found.shape == (3, 2)
    assert np.abs(found - TURNS[6]).max() <= 3
    assert (read_pixels(path.read_bytes(), 0)[16::32, 16::32, 0] == found).all()


def test_heic_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brand in (b"heic", b"mif1"):
        with pytest.raises(DataError) as error:
            read_pixels(b"\0\0\0\x18ftyp" + brand + bytes(60), 4)
        check_error(error.value, "row 5", "HEIC", "pillow-heif", types=["pip install 'mmx[heic]'"])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"II*\0" + bytes(40), "TIFF"),
        (b"P7\nWIDTH 4\n", "not an image format that Pillow knows"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "not an image format that Pillow knows"),
    ],
)
def test_what_cannot_be_opened_says_why(content, why):
    with pytest.raises(DataError, match=why):
        read_pixels(content, 0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000", "GIF", "BMP"])
def test_a_file_that_is_cut_off_is_refused_in_every_format(form):
    shades = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = save(PIL.Image.fromarray(shades), form)
    for part in (0.3, 0.6, 0.9, 0.99):
        with pytest.raises(DataError, match=r"^row 1: cannot read image"):
            read_pixels(content[: int(len(content) * part)], 0)


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n", "EPS"),
        (b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 32, 60, 0, 0, 0, 0) + bytes(60), "EPS"),
        (b"\xd7\xcd\xc6\x9a\0\0" + bytes(60), "WMF"),
        (b"BUFR" + bytes(60), "BUFR"),
    ],
    ids=["EPS", "EPS with a preview", "WMF", "BUFR"],
)
def test_formats_that_another_program_draws_are_refused(
    content, name, as_bytes, tmp_path, monkeypatch
):
    import PIL.EpsImagePlugin

    monkeypatch.setattr(PIL.EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_pixels(content if as_bytes else path, 0)
    check_error(error.value, "row 1", f": {name}, which only another program draws", "PNG")


def test_every_other_format_of_pillow_is_tried():
    PIL.Image.init()
    assert set(PIL.Image.OPEN) - set(list_formats()) == UNSAFE
    assert set(PIL.Image.OPEN) >= UNSAFE
