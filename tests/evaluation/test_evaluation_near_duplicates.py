"""Near-duplicates: copies that are planted are found, and other rows are not."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
import soundfile

from mmx.evaluation.near_duplicates import (
    NearDuplicates,
    PairComparison,
    RowPair,
    find_conflicts,
    find_near_duplicates,
    group_rows,
)
from mmx.evaluation.near_duplicates.alignment import measure_aligned_distances
from mmx.evaluation.near_duplicates.images import compare_pictures
from mmx.evaluation.near_duplicates.sounds import compare_sounds, correlate_shifted
from mmx.evaluation.near_duplicates.texts import compare_texts, cut_pieces, simplify
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.modalities.text import TextColumn
from mmx.tasks.table import Table


def paint(seed: int, size: tuple[int, int] = (120, 90)) -> PIL.Image.Image:
    """Return a smooth picture of random blobs."""
    rng = np.random.default_rng(seed)
    small = PIL.Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return small.resize(size, PIL.Image.Resampling.BICUBIC)


def encode(image: PIL.Image.Image, quality: int = 90) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


COPIES = {
    "equal": lambda image: encode(image),
    "re-encoded": lambda image: encode(image, 30),
    "half": lambda image: encode(image.resize((60, 45))),
    "double": lambda image: encode(image.resize((240, 180))),
    "another shape": lambda image: encode(image.resize((90, 90))),
    "cropped": lambda image: encode(image.crop((3, 2, 118, 88))),
    "cropped and resized": lambda image: encode(image.crop((0, 3, 117, 90)).resize((100, 75)), 60),
    "darker": lambda image: encode(image.point(lambda level: level * 0.93)),
}
OTHERS = {
    "another": lambda image: encode(paint(1000)),
    "mirrored": lambda image: encode(image.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)),
    "turned": lambda image: encode(image.rotate(90).resize((120, 90))),
    "negative": lambda image: encode(image.point(lambda level: 255 - level)),
    "half of it": lambda image: encode(image.crop((0, 0, 60, 90))),
    "grey": lambda image: encode(image.convert("L").convert("RGB")),
    "with a large patch": lambda image: encode(_cover(image)),
}


def _cover(image: PIL.Image.Image) -> PIL.Image.Image:
    image = image.copy()
    image.paste((255, 0, 0), (20, 20, 60, 60))
    return image


def searches(count: int, test: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    train = np.array([row for row in range(count) if row not in test])
    return [(np.array(test), train)]


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_of_a_picture_is_found(name):
    images = [encode(paint(seed)) for seed in range(30)]
    column = ImageColumn([*images, COPIES[name](paint(7))])
    found = compare_pictures(column, None, searches(31, [30]))
    assert [(pair.row, pair.other) for pair in found.pairs] == [(30, 7)]


@pytest.mark.parametrize("name", OTHERS)
def test_another_picture_is_not(name):
    images = [encode(paint(seed)) for seed in range(30)]
    column = ImageColumn([*images, OTHERS[name](paint(7))])
    assert compare_pictures(column, None, searches(31, [30])).pairs == ()


def paint_small(seed: int) -> np.ndarray:
    """Return a smooth grey picture of 32 × 32 pixels, as numbers."""
    return np.asarray(paint(seed, (32, 32)).convert("L").convert("RGB"), dtype=np.float64)


def round_levels(levels: np.ndarray) -> np.ndarray:
    return levels.clip(0, 255).astype(np.uint8)


def test_small_pictures_may_differ_as_much_as_a_jpeg_of_them_does():
    """A JPEG changes fine texture, so that smooth pictures that differ by as much are others."""
    rng = np.random.default_rng(0)
    fine = [paint_small(seed) + rng.normal(0, 18, (32, 32, 1)) for seed in range(20)]
    jpeg = PIL.Image.open(io.BytesIO(encode(PIL.Image.fromarray(round_levels(fine[7])), 50)))
    smooth = paint_small(7), paint_small(7) + 0.2 * (paint_small(8) - paint_small(7))
    rows = [*map(round_levels, [*fine, *smooth]), np.asarray(jpeg)]
    for one, other in ((7, 22), (20, 21)):
        measured = measure_aligned_distances(rows[one][None], rows[other][None])
        assert 0.15 < measured.shape[0] < 0.35
        assert measured.patch[0] < 0.6
    found = compare_pictures(ImageColumn(rows), None, searches(23, [21, 22])).pairs
    assert [(pair.row, pair.other) for pair in found] == [(22, 7)]


def test_plain_tiny_and_absent_pictures_are_not_compared():
    white = encode(PIL.Image.new("RGB", (40, 40), "white"))
    tiny = encode(paint(1, (8, 8)))
    column = ImageColumn([white, white, tiny, tiny, None, None])
    found = compare_pictures(column, None, [(np.array([1, 3, 5]), np.array([0, 2, 4]))])
    assert found.pairs == ()
    assert found.unreadable == {}
    digits = np.tile(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), (4, 1, 1))
    assert compare_pictures(ImageColumn(digits), None, searches(4, [3])).pairs == ()


def test_a_broken_picture_is_named_and_the_others_are_compared():
    column = ImageColumn([encode(paint(1)), encode(paint(1), 40), b"none"])
    found = compare_pictures(column, None, searches(3, [1, 2]))
    assert [(pair.row, pair.other) for pair in found.pairs] == [(1, 0)]
    assert list(found.unreadable) == [2]
    assert found.unreadable[2].startswith("row 3: cannot read image")


def test_the_distance_of_shape_is_that_of_the_correlation():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    assert measure_aligned_distances(one, one).shape[0] == pytest.approx(0, abs=2e-3)
    assert measure_aligned_distances(one, one).colour[0] == pytest.approx(0, abs=1e-3)
    smooth = np.asarray(paint(3, (32, 32)))[None]
    noisy = (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    grey = [each[0] @ np.array([0.299, 0.587, 0.114]) for each in (smooth, noisy)]
    correlation = np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1]
    found = measure_aligned_distances(smooth, noisy).shape[0]
    assert found == pytest.approx(np.sqrt(2 - 2 * correlation), rel=0.03)


def say(seed: int, rate: int = 8000, seconds: float = 1.0) -> np.ndarray:
    """Return a sound of random tones that come and go."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    sound = np.zeros_like(time)
    for _ in range(8):
        start, length = rng.uniform(0, 0.7 * seconds), rng.uniform(0.1, 0.3) * seconds
        envelope = np.exp(-(((time - start - length / 2) / (length / 3)) ** 2))
        sweep = rng.uniform(150, 3000) + rng.uniform(-400, 400) * time
        sound += envelope * np.sin(2 * np.pi * sweep * time + rng.uniform(0, 6))
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def pack(sound: np.ndarray, rate: int, kind: str = "WAV") -> bytes:
    content = io.BytesIO()
    soundfile.write(content, sound, rate, format=kind)
    return content.getvalue()


SOUNDS = {
    "equal": lambda: pack(say(3), 8000),
    "flac": lambda: pack(say(3), 8000, "FLAC"),
    "ogg": lambda: pack(say(3), 8000, "OGG"),
    "mp3": lambda: pack(say(3), 8000, "MP3"),
    "louder": lambda: pack(1.9 * say(3), 8000),
    "much softer": lambda: pack(0.02 * say(3), 8000),
    "at another rate": lambda: pack(say(3, 22_050), 22_050),
    "inverted": lambda: pack(-say(3), 8000),
    "after silence": lambda: pack(np.pad(say(3), (1500, 300)), 8000),
    "with some noise": lambda: pack(
        say(3) + np.random.default_rng(0).normal(0, 0.01, 8000).astype(np.float32), 8000
    ),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_a_copy_of_a_sound_is_found(name):
    column = AudioColumn([*(pack(say(seed), 8000) for seed in range(12)), SOUNDS[name]()])
    found = compare_sounds(column, None, searches(13, [12]))
    assert [(pair.row, pair.other) for pair in found.pairs] == [(12, 3)]


@pytest.mark.parametrize(
    "other",
    [
        pack(say(99), 8000),
        pack(say(3)[::-1].copy(), 8000),
        pack(np.zeros(8000, np.float32), 8000),
        pack(np.zeros(0, np.float32), 8000),
        pack(np.concatenate([say(3), say(4)]), 8000),
    ],
    ids=["another", "backwards", "silence", "empty", "with more behind it"],
)
def test_another_sound_is_not(other):
    column = AudioColumn([*(pack(say(seed), 8000) for seed in range(12)), other])
    assert compare_sounds(column, None, searches(13, [12])).pairs == ()


def test_silences_are_not_alike_and_broken_sounds_are_named():
    silence = pack(np.zeros(800, np.float32), 8000)
    column = AudioColumn([silence, silence, b"none", None])
    found = compare_sounds(column, None, searches(4, [1, 2, 3]))
    assert found.pairs == ()
    assert list(found.unreadable) == [2]


def test_the_correlation_is_that_of_numpy():
    one, other = say(1)[:400], say(2)[:300]
    by_hand = np.abs(np.correlate(one.astype(float), other.astype(float), "full")).max()
    by_hand /= np.sqrt((one.astype(float) ** 2).sum() * (other.astype(float) ** 2).sum())
    assert correlate_shifted(one, other) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Blue T-shirt", "BLUE  tshirt!", True),
        ("Straße", "STRASSE", True),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "Full width", True),
        ("cafe\u0301", "CAFÉ", True),
        ("cafe", "café", False),
        ("नमस्ते दुनिया", "नमस्ते, दुनिया!", True),
        ("कि", "की", False),  # they differ in a vowel sign alone
        ("Size 1.5", "size 15", False),
        ("Size 1,5.", "size 1.5", True),
        ("Size 10", "Size 11", False),
        ("Blue shirt", "Blue shirts", False),
        ("!!!", "???", False),
        ("", "", False),
    ],
)
def test_texts_are_compared_by_letters_digits_and_marks(one, other, same):
    found = compare_texts(TextColumn([one, other]), None, searches(2, [1]))
    assert bool(found.pairs) == same
    assert (simplify(one) == simplify(other) != "") == same


LONG = "The quick brown fox jumps over the lazy dog while seven wizards quietly mix potions. " * 2


def list_pieces(text: str) -> set[str]:
    return {text[at : at + 8] for at in range(len(text) - 7)}


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (LONG.replace("seven", "eight", 1), True),
        (LONG + "And a few words more.", True),
        (
            LONG[: len(LONG) // 4] + "something else follows here, about quite other things. " * 3,
            False,
        ),
        (
            "Nothing in this sentence is like the one about foxes, and it is as long as that. " * 2,
            False,
        ),
    ],
)
def test_long_texts_are_compared_by_their_pieces(other, alike):
    column = TextColumn([LONG, other, "short"])
    found = compare_texts(column, None, searches(3, [1]))
    pieces = [list_pieces(simplify(text)) for text in (LONG, other)]
    share = len(pieces[0] & pieces[1]) / len(pieces[0] | pieces[1])
    assert (share >= 0.8) == alike
    assert bool(found.pairs) == alike
    if alike:
        assert found.pairs[0].distance == pytest.approx(1 - share)
    assert len(cut_pieces(simplify(other))) == len(pieces[1])


def test_pairs_within_a_split_are_for_groups_alone(tmp_path):
    words = ["alpha", "Alpha!", "beta", "gamma", "BETA", "delta", "alpha", "eps"]
    splits = ["train"] * 5 + ["val"] + ["test"] * 2
    labels = list("ababaaab")
    lines = [f"{a},{b},{c}" for a, b, c in zip(words, splits, labels, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["word,split,kind", *lines]))
    task = Table(
        name="t",
        path=str(tmp_path / "t.csv"),
        label="kind",
        columns={"text": "word"},
        split="split",
    )
    data = task.load()
    across = find_near_duplicates(data, {})
    assert across.nearest("text") == [RowPair(6, 0, 0.0)]
    every = find_near_duplicates(data, {}, everywhere=True)
    assert RowPair(6, 0, 0.0) in every.nearest("text")
    groups = group_rows(8, every.found["text"].pairs)
    assert groups == [0, 0, 2, 3, 2, 5, 0, 7]


def test_groups_are_the_connected_rows():
    pairs = [RowPair(4, 1, 0.1), RowPair(2, 4, 0.1), RowPair(5, 3, 0.1)]
    assert group_rows(7, pairs) == [0, 1, 1, 3, 1, 3, 6]


def test_the_nearest_pair_of_each_other_split_counts():
    pairs = (RowPair(2, 0, 0.3), RowPair(2, 1, 0.1), RowPair(2, 3, 0.2), RowPair(2, 4, 0.0))
    split_of = np.array(["train", "train", "test", "val", "test"])
    found = NearDuplicates({"image": PairComparison(pairs)}, (), split_of)
    assert found.nearest("image") == [RowPair(2, 1, 0.1), RowPair(2, 3, 0.2)]


def test_equal_rows_with_other_labels_contradict_each_other(tmp_path):
    lines = ["same,1,a", "same,1,b", "same,2,a", "other,1,b", "other,1,b", *["x,3,a", "y,4,b"]]
    lines += [f"w{row},5,{'ab'[row % 2]}" for row in range(10)]
    (tmp_path / "t.csv").write_text("\n".join(["word,number,kind", *lines]))
    task = Table(
        name="t",
        path=str(tmp_path / "t.csv"),
        label="kind",
        columns={"text": "word", "tabular": ["number"]},
    )
    assert [conflict.rows for conflict in find_conflicts(task.load())] == [(0, 1)]
