from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmx.evaluation import robustness
from mmx.evaluation.noise import CORRUPTIONS, Corruption, Noise, corrupt
from mmx.evaluation.noise.audio import add_white_noise, clip, decibels, drop_frames
from mmx.evaluation.noise.image import add_gaussian_noise, blur, occlude
from mmx.evaluation.noise.tabular import add_noise_to_cells, lose_cells
from mmx.evaluation.noise.text import drop_words, misspell, misspell_words, swap_words
from mmx.evaluation.predict import predict
from mmx.evaluation.robustness import NoiseCurve, NoisePoint, measure_noise_curves
from mmx.modalities import Column, Features
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.modalities.tabular import TabularColumn
from mmx.modalities.text import UNKNOWN, TextColumn
from mmx.tasks.table import MODALITIES

NAMES = {
    "image": ["gaussian", "blur", "occlusion"],
    "audio": ["white_noise", "clipping", "dropped_frames"],
    "text": ["dropped_words", "swapped_words", "misspelt_words"],
    "tabular": ["additive", "missing_cells"],
}


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# images


def test_gaussian_has_the_stated_deviation() -> None:
    grey = np.full((120, 100, 3), 128, np.uint8)
    for strength in (0.05, 0.1):
        noise = add_gaussian_noise(grey, strength, random()).astype(float) - 128
        assert noise.std() == pytest.approx(255 * strength, rel=0.02)
        assert abs(noise.mean()) < 0.5
    heavy = add_gaussian_noise(grey, 2.0, random())
    assert {0, 255} <= set(heavy.ravel().tolist())  # clipped, not wrapped
    weak, strong = (add_gaussian_noise(grey, s, random()).astype(float) - 128 for s in (0.05, 0.1))
    assert np.abs(strong - 2 * weak).max() <= 1.5  # the same draws


def test_blur_equals_a_loop() -> None:
    image = random().integers(0, 256, (7, 10, 3)).astype(np.uint8)
    sigma = 0.2 * 7
    found = blur(image, 0.2, random())
    for y, x in ((0, 0), (3, 5), (6, 9), (2, 9)):
        total, weights = np.zeros(3), 0.0
        for i in range(7):
            for j in range(10):
                weight = math.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * sigma**2))
                total += weight * image[i, j]
                weights += weight
        assert np.abs(found[y, x] - total / weights).max() <= 0.51
    flat = np.full((6, 6, 3), 77, np.uint8)
    assert (blur(flat, 0.5, random()) == 77).all()


def test_occlusion_covers_the_stated_area_inside_the_image() -> None:
    image = np.zeros((40, 20, 3), np.uint8)
    corners = set()
    for seed in range(60):
        for strength in (0.1, 0.25, 0.5, 1.0):
            covered = (occlude(image, strength, random(seed)) == 128).all(-1)
            assert covered.mean() == pytest.approx(strength, abs=0.03)
            rows, across = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
            box = covered[rows[0] : rows[-1] + 1, across[0] : across[-1] + 1]
            assert box.all()
        corners.add((int(rows[0]), int(across[0])))
        quarter = (occlude(image, 0.25, random(seed)) == 128).all(-1)
        corners.add(tuple(np.argwhere(quarter)[0].tolist()))
    assert len(corners) > 40
    assert {top for top, _ in corners} >= {0, 20}  # both edges are reached


# sounds


def test_white_noise_has_the_stated_ratio() -> None:
    sound = (8000 * np.sin(np.arange(40000) / 7)).astype(np.int16)
    for ratio in (20, 10, 0):
        strength = 10 ** (-ratio / 20)
        noise = add_white_noise(sound, strength, random()).astype(float) - sound
        found = 10 * math.log10(np.mean(sound.astype(float) ** 2) / np.mean(noise**2))
        assert found == pytest.approx(ratio, abs=0.1)
        assert decibels(strength) == f"{ratio} dB"
    assert decibels(0.0) == "clean"
    silence = np.zeros(100, np.int16)
    assert (add_white_noise(silence, 1.0, random()) == 0).all()
    loud = np.full(100, 32767, np.int16)
    assert add_white_noise(loud, 1.0, random()).max() == 32767  # clipped, not wrapped


def test_clipping_by_hand() -> None:
    sound = np.array([-1000, 10, 400, 600, -500], np.int16)
    assert clip(sound, 0.5, random()).tolist() == [-500, 10, 400, 500, -500]
    assert clip(np.array([-32768, 20000], np.int16), 0.25, random()).tolist() == [-24576, 20000]
    assert clip(np.zeros(0, np.int16), 0.5, random()).tolist() == []


def test_frames_are_whole_or_silent() -> None:
    sound = np.arange(1, 20_006, dtype=np.int16)
    before = np.zeros(len(sound), bool)
    for strength in (0.1, 0.25, 0.5, 0.75):
        found = drop_frames(sound, strength, random(), frame=20)
        silent = found == 0
        assert (found[~silent] == sound[~silent]).all()
        frames = [silent[start : start + 20] for start in range(0, len(sound), 20)]
        assert all(frame.all() or not frame.any() for frame in frames)
        assert np.mean([frame.all() for frame in frames]) == pytest.approx(strength, abs=0.05)
        assert (silent >= before).all()  # what is lost stays lost
        before = silent


# texts

TEXT = "  The quick\tbrown fox, jumps over\n 13 lazy dogs "


def test_dropped_words_are_lost_in_place() -> None:
    long = " ".join(f"w{i}" for i in range(2000))
    before = set(long.split())
    for strength in (0.1, 0.25, 0.5, 0.75):
        left = drop_words(long, strength, random()).split()
        assert len(left) / 2000 == pytest.approx(1 - strength, abs=0.04)
        assert left == sorted(left, key=lambda word: int(word[1:]))
        assert set(left) <= before  # what is lost stays lost
        before = set(left)
    assert drop_words(TEXT, 1.0, random()).strip() == ""


def test_swapped_words_change_places_with_their_neighbour() -> None:
    assert swap_words(TEXT, 1.0, random()) == "  quick The\tfox, brown over jumps\n lazy 13 dogs "
    long = [f"w{i}" for i in range(2000)]
    found = swap_words(" ".join(long), 0.5, random()).split()
    assert Counter(found) == Counter(long)
    places = [int(word[1:]) - place for place, word in enumerate(found)]
    assert set(places) == {-1, 0, 1}
    assert swap_words("one", 1.0, random()) == "one"


def edits(one: str, two: str) -> int:
    """Return the optimal string alignment distance."""
    table = [[max(i, j) for j in range(len(two) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(two) + 1):
            table[i][j] = min(
                table[i - 1][j] + 1,
                table[i][j - 1] + 1,
                table[i - 1][j - 1] + (one[i - 1] != two[j - 1]),
            )
            if i > 1 and j > 1 and one[i - 1] == two[j - 2] and one[i - 2] == two[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


def test_every_misspelling_is_one_edit() -> None:
    words = ["a", "Ab", "oo", "Oo", "aaaa", "Über", "it's", "13", "straße", "fox,"]
    text = " ".join(words * 50)
    kinds = Counter()
    for before, after in zip(words * 50, misspell_words(text, 1.0, random(1)).split(), strict=True):
        assert after.lower() != before.lower()
        assert edits(before, after) == 1
        kinds[len(after) - len(before)] += 1
    assert min(kinds[-1], kinds[0], kinds[1]) > 50


def test_misspellings_by_hand() -> None:
    assert misspell("words", 0.0, 0.5, 0.0) == "wods"
    assert misspell("words", 0.25, 0.99, 0.0) == "wordss"
    assert misspell("words", 0.5, 0.0, 0.0) == "aords"
    assert misspell("words", 0.75, 0.99, 0.0) == "worsd"  # never past the last letter
    assert misspell("a", 0.0, 0.0, 0.99) == "z"
    assert misspell("Aa", 0.75, 0.0, 0.0) == "ba"


def test_misspelt_words_are_a_part_and_keep_the_rest() -> None:
    long = " ".join(["grass"] * 2000)
    before = np.zeros(2000, bool)
    for strength in (0.1, 0.5):
        wrong = np.array(
            [word != "grass" for word in misspell_words(long, strength, random()).split()]
        )
        assert wrong.mean() == pytest.approx(strength, abs=0.04)
        assert (wrong >= before).all()
        before = wrong


# cells


def test_additive_noise_is_in_units_of_the_deviation() -> None:
    cells = {"a": "3.5", "b": None, "c": 100.0, "word": "x"}
    stds = {"a": 2.0, "b": 1.0, "c": 50.0}
    found = [add_noise_to_cells(cells, 0.5, random(seed), stds=stds) for seed in range(3000)]
    assert {(each["b"], each["word"]) for each in found} == {(None, "x")}
    for name, mean, std in (("a", 3.5, 1.0), ("c", 100.0, 25.0)):
        numbers = np.array([each[name] for each in found])
        assert numbers.mean() == pytest.approx(mean, abs=0.1 * std)
        assert numbers.std() == pytest.approx(std, rel=0.05)
    weak, strong = (
        add_noise_to_cells(cells, s, random(), stds=stds)["a"] - 3.5 for s in (0.1, 1.0)
    )
    assert strong == pytest.approx(10 * weak)
    assert cells["a"] == "3.5"


def test_missing_cells_until_none_is_left() -> None:
    cells = {"a": 1.0, "b": None, "c": "x"}
    found = [lose_cells(cells, 0.5, random(seed)) for seed in range(2000)]
    assert found.count(None) / 2000 == pytest.approx(0.25, abs=0.03)  # a and c both lost
    left = [each for each in found if each is not None]
    assert {each["b"] for each in left} == {None}
    assert {(each["a"], each["c"]) for each in left} == {(1.0, None), (None, "x"), (1.0, "x")}
    assert lose_cells(cells, 1.0, random()) is None


# all of them


def corruptions(run: Any) -> dict[str, Corruption]:
    return robustness.find_corruptions(run.data)


def same(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return number(one) == number(two)
    return bool(one == two)


def number(cells: dict[str, Any]) -> dict[str, Any]:
    return {name: float(cell) if name in "ab" and cell else cell for name, cell in cells.items()}


def test_every_modality_has_noises() -> None:
    assert set(CORRUPTIONS) == set(MODALITIES)


@pytest.mark.parametrize("name", NAMES)
def test_noises_of_a_modality(shop: Callable[..., Any], name: str) -> None:
    run = shop()
    assert sorted(NAMES) == list(corruptions(run))
    corruption = corruptions(run)[name]
    assert [noise.name for noise in corruption.noises] == NAMES[name]
    rows = run.rows
    values = corruption.read(rows, None)
    kept = copy.deepcopy(values)
    here = run.columns[name].present
    for noise in corruption.noises:
        assert len(noise.strengths) == 5
        assert noise.strengths[0] == 0
        assert list(noise.strengths) == sorted(set(noise.strengths))
        nothing = corrupt(corruption, noise, values, rows, 0.0, 0)
        heavy = corrupt(corruption, noise, values, rows, noise.strengths[-1], 0)
        changed = 0
        for row, value, as_was, corrupted in zip(rows, values, nothing, heavy, strict=True):
            if not here[row]:
                assert as_was is corrupted is None
                continue
            assert same(as_was, value)
            changed += not same(corrupted, value)
        assert changed >= 0.6 * here.sum()
        assert all(same(one, two) for one, two in zip(values, kept, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_spoiled_alike_in_any_batch(shop: Callable[..., Any], name: str) -> None:
    corruption = corruptions(shop())[name]
    rows = np.arange(16)
    values = corruption.read(rows, None)
    for noise in corruption.noises:
        strength = noise.strengths[2]

        def corrupted(seed: int, order: np.ndarray, noise: Noise = noise) -> list[Any]:
            given = [values[row] for row in order]
            return corrupt(corruption, noise, given, order, noise.strengths[2], seed)

        together = corrupted(0, rows)
        backwards = corrupted(0, rows[::-1])[::-1]
        single = [corrupted(0, rows[row : row + 1])[0] for row in rows]
        for a, b, c in zip(together, backwards, single, strict=True):
            assert same(a, b)
            assert same(a, c)
        if noise.name in ("blur", "clipping"):
            continue  # nothing is drawn
        other = corrupted(1, rows)
        assert not all(same(a, b) for a, b in zip(together, other, strict=True))
        # equal values in different rows are corrupted differently
        present = np.flatnonzero(corruption.column.present)
        alike = [values[present[0]]] * len(present)
        drawn = corrupt(corruption, noise, alike, present, strength, 0)
        assert not all(same(drawn[0], each) for each in drawn)


@pytest.mark.parametrize("tfidf", [False, True])
@pytest.mark.parametrize("resident", [False, True])
def test_what_is_not_spoiled_is_encoded_as_it_was(
    shop: Callable[..., Any], tfidf: bool, resident: bool
) -> None:
    run = shop(tfidf=tfidf, resident=resident)
    rows = np.array([4, 3, 9, 2])
    ((part, stored),) = run.data.batches([rows])
    batch = run.data.assemble(part, stored, augment=False)
    for name, corruption in corruptions(run).items():
        here = torch.from_numpy(run.columns[name].present[rows])
        values = [
            v if p else None for v, p in zip(corruption.read(rows, stored[name]), here, strict=True)
        ]
        again = robustness.replace_input(
            batch, name, run.data.views[name], corruption.encode(values), here
        )
        assert torch.equal(again.inputs[name][here], batch.inputs[name][here])
        assert torch.equal(again.present[name], batch.present[name])
        if name in batch.lengths:
            assert torch.equal(again.lengths[name], batch.lengths[name])
        assert (name in again.complete) == (name in batch.complete)


def test_words_are_misspelt_before_they_are_vectorised(shop: Callable[..., Any]) -> None:
    run = shop(names=("text", "tabular"))
    corruption = corruptions(run)["text"]
    noise = next(each for each in corruption.noises if each.name == "misspelt_words")
    corrupted = corrupt(corruption, noise, ["grass stone river"], np.array([0]), 1.0, 0)
    assert corruption.encode(corrupted).values[0, :3].tolist() == [UNKNOWN] * 3
    lost = corruption.encode([""])
    assert lost.lengths.tolist() == [1]  # a text without words is still a text


def corrupted_column(run: Any, name: str, noise: Noise, strength: float) -> Column:
    """Spoil all of a task's raw values, row by row, into a new column."""
    corruption = corruptions(run)[name]
    rows = np.arange(len(run.target))
    values = [
        corrupt(corruption, noise, [value], np.array([row]), strength, 7)[0]
        for row, value in zip(rows, corruption.read(rows, None), strict=True)
    ]
    present = np.array([value is not None for value in values])
    if name == "text":
        return TextColumn(values)
    if name == "tabular":
        names = run.columns[name].columns
        return TabularColumn({key: [v and v[key] for v in values] for key in names})
    arrays = np.stack(
        [value if value is not None else 0 * values[present.argmax()] for value in values]
    )
    column = ImageColumn(arrays) if name == "image" else AudioColumn(arrays, sample_rate=4000)
    column.present = present
    return column


class Seen:
    """Measures nothing, and keeps what it was given."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []

    def __call__(self, outputs: Tensor, values: Tensor) -> dict[str, float]:
        self.outputs.append(outputs)
        return {"place": float(len(self.outputs) - 1)}


@pytest.mark.slow
@pytest.mark.parametrize("tfidf", [False, True])
@pytest.mark.parametrize("batch_size", [256, 5])
def test_curves_equal_a_task_of_spoiled_raw_values(
    shop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tfidf: bool, batch_size: int
) -> None:
    monkeypatch.setattr(robustness, "BATCH_SIZE", batch_size)
    run, seen = shop(tfidf=tfidf), Seen()
    found = measure_noise_curves(
        run.model, run.data, run.rows, run.precision, run.prior, seen, seed=7
    )
    assert [(c.modality, c.noise) for c in found] == [
        (name, noise) for name in sorted(NAMES) for noise in NAMES[name]
    ]
    clean, _ = predict(run.model, run.data, run.rows, run.precision)
    for curve in found:
        noises = {noise.name: noise for noise in corruptions(run)[curve.modality].noises}
        assert [p.strength for p in curve.points] == list(noises[curve.noise].strengths)
        assert torch.allclose(seen.outputs[int(curve.points[0].metrics["place"])], clean, atol=1e-5)
        for point in curve.points[1:]:
            column = corrupted_column(run, curve.modality, noises[curve.noise], point.strength)
            data = run.make_data({**run.columns, curve.modality: column})
            expected, _ = predict(run.model, data, run.rows, run.precision)
            got = seen.outputs[int(point.metrics["place"])]
            assert torch.allclose(got, expected, atol=1e-5), (curve.noise, point.strength)
            assert point.by_prior == 0
    gaussian_curve = next(curve for curve in found if curve.noise == "gaussian")
    assert not torch.equal(seen.outputs[int(gaussian_curve.points[-1].metrics["place"])], clean)


def test_streamed_and_resident_data_give_the_same(shop: Callable[..., Any]) -> None:
    outputs = []
    for resident in (True, False):
        run, seen = shop(names=("image", "audio"), resident=resident), Seen()
        run.rows = np.array([2, 3, 4, 6])
        measure_noise_curves(run.model, run.data, run.rows, run.precision, run.prior, seen)
        outputs.append(seen.outputs)
    assert all(torch.equal(one, two) for one, two in zip(*outputs, strict=True))


def test_rows_that_noise_leaves_nothing_of_are_answered_by_the_prior(
    shop: Callable[..., Any],
) -> None:
    run, seen = shop(names=("tabular",)), Seen()
    curves = measure_noise_curves(run.model, run.data, run.rows, run.precision, run.prior, seen)
    cells = next(curve for curve in curves if curve.noise == "missing_cells")
    heavy = cells.points[-1]
    outputs = seen.outputs[int(heavy.metrics["place"])]
    by_prior = (outputs == run.prior).all(1)
    assert 0 < heavy.by_prior == int(by_prior.sum()) < len(run.rows)
    assert [p.by_prior for p in cells.points] == sorted(p.by_prior for p in cells.points)


def test_clean_modalities_are_encoded_once_a_batch(shop: Callable[..., Any]) -> None:
    run = shop()
    calls: list[str] = []
    for name, encoder in run.model.encoders.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.append(name))
    run.model.train()
    measure_noise_curves(run.model, run.data, run.rows, run.precision, run.prior, Seen())
    assert Counter(calls) == {name: 1 + 4 * len(NAMES[name]) for name in NAMES}
    assert run.model.training  # as it was


def test_features_of_a_frozen_encoder_are_computed_again(shop: Callable[..., Any]) -> None:
    run = shop(names=("image", "tabular"))
    run.model.eval()

    @torch.no_grad()
    def extract(batch: Any) -> Features:
        return run.model.encode_one("image", batch)

    frozen = run.data.compute_features("image", extract, 4)
    assert "image" not in next(iter(frozen.batches([run.rows])))[1]  # only its features are there
    one, two = Seen(), Seen()
    measure_noise_curves(run.model, run.data, run.rows, run.precision, run.prior, one)
    measure_noise_curves(run.model, frozen, run.rows, run.precision, run.prior, two)
    for fresh, kept in zip(one.outputs, two.outputs, strict=True):
        assert torch.allclose(fresh, kept, atol=1e-5)
    assert not torch.allclose(two.outputs[0], two.outputs[-1])


# area


def curve(*scores: float, strengths: tuple[float, ...] = (0.0, 1.0, 4.0)) -> NoiseCurve:
    points = tuple(
        NoisePoint(s, "", {"accuracy": score}, 0)
        for s, score in zip(strengths, scores, strict=True)
    )
    return NoiseCurve("image", "blur", "", points)


def test_area_by_hand() -> None:
    assert curve(0.8, 0.8, 0.8).relative_area("accuracy") == pytest.approx(1.0)
    # trapezoids: 1/4 of (0.8 + 0.4) / 2, 3/4 of (0.4 + 0.2) / 2
    found = curve(0.8, 0.4, 0.2).relative_area("accuracy")
    assert found == pytest.approx((0.25 * 0.6 + 0.75 * 0.3) / 0.8)
    assert curve(0.8, 0.4, 0.2).relative_strengths == (0.0, 0.25, 1.0)
    scores = [0.9, 0.7, 0.75, 0.3]
    strengths = (0.0, 0.5, 1.5, 3.0)
    area = np.trapezoid(scores, np.array(strengths) / 3) / 0.9
    assert curve(*scores, strengths=strengths).relative_area("accuracy") == pytest.approx(area)


@pytest.mark.parametrize(
    "scores", [(0.0, 0.1, 0.1), (-0.5, 0.1, 0.2), (math.nan,) * 3, (1, math.nan, 0)]
)
def test_no_area_where_there_is_nothing_to_lose(scores: tuple[float, ...]) -> None:
    assert curve(*scores).relative_area("accuracy") is None
