"""What a search finds beside a grid of 200 points, at a tenth of its trainings.

    python scripts/search_table.py [--seeds 20] [--trials 20]

A point is a small network of two branches on the rows of ``digits_av``: images and the power of 64
bands of frequencies, 100 training rows, 359 validation rows, 20 epochs of AdamW. It is written here
in NumPy, so that thousands of trainings take a minute; proposals and pruning are those of
``mmx search``. Learning rate, width and dropout vary: the grid has 10 × 5 × 4 values of them, the
search their ranges. Prints, for each way to search, by how many points of validation accuracy it
stays below the best of the grid, and in how many seeds by at most one point.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmx.search.space import Dimension, Value
from mmx.search.study import Study, StudySettings
from mmx.tasks.digits import load_images
from mmx.tasks.digits_av import dial

Array = npt.NDArray[np.float32]
EPOCHS, BATCH, DECAY = 20, 20, 0.05
TRAIN_OF_CLASS, VALIDATION = 10, 359
RATES = [float(f"{rate:.2g}") for rate in np.geomspace(1e-4, 1e-1, 10)]
WIDTHS = (8, 16, 32, 64, 128)
DROPOUTS = (0.0, 0.2, 0.4, 0.6)
SPACE = (
    Dimension("lr", "lr=log(1e-4,1e-1)", low=1e-4, high=1e-1, log=True),
    Dimension("width", "width=8..128", low=8, high=128, whole=True),
    Dimension("dropout", "dropout=0..0.6", low=0.0, high=0.6),
)
WAYS = (("tpe", "hyperband"), ("tpe", "none"), ("random", "hyperband"), ("random", "none"))


@dataclass(frozen=True)
class Rows:
    """Rows of a split: one matrix for each input, and labels."""

    inputs: tuple[Array, Array]
    labels: npt.NDArray[np.int64]


def load_rows() -> tuple[Rows, Rows]:
    """Return training and validation rows, standardised by the training rows."""
    images, labels = load_images()
    flat = images.reshape(len(labels), -1).astype(np.float32)
    tones = np.stack([dial(int(label), row, -12.0) for row, label in enumerate(labels)])
    power = np.abs(np.fft.rfft(tones / 32768.0, axis=1))[:, 1:] ** 2
    bands = np.log(np.stack([part.mean(1) for part in np.array_split(power, 64, 1)], 1) + 1e-6)
    order = np.random.default_rng(0).permutation(len(labels))
    train = np.concatenate([order[labels[order] == c][:TRAIN_OF_CLASS] for c in range(10)])
    val = np.setdiff1d(order, train, assume_unique=True)[:VALIDATION]
    parts = [_standardise(each.astype(np.float32), train) for each in (flat, bands)]
    one, two = (Rows((parts[0][rows], parts[1][rows]), labels[rows]) for rows in (train, val))
    return one, two


def _standardise(values: Array, train: npt.NDArray[np.int64]) -> Array:
    mean, std = values[train].mean(0), values[train].std(0)
    return np.asarray((values - mean) / (std + 1e-3), dtype=np.float32)


def train_epochs(
    train: Rows, val: Rows, values: dict[str, Value], seed: int = 0
) -> Iterator[float]:
    """Yield the validation accuracy of a network after each epoch."""
    rate, width, dropout = (float(values[name]) for name in ("lr", "width", "dropout"))
    random, wide = np.random.default_rng(seed), int(width)
    shapes = [(each.shape[1], wide) for each in train.inputs]
    weights = [_draw(random, *shape) for shape in (*shapes, (2 * wide, 10))]
    weights += [np.zeros(size, np.float32) for size in (wide, wide, 10)]
    means = [np.zeros_like(each) for each in weights]
    squares = [np.zeros_like(each) for each in weights]
    step, steps = 0, EPOCHS * len(train.labels) // BATCH
    for _ in range(EPOCHS):
        for rows in np.array_split(random.permutation(len(train.labels)), steps // EPOCHS):
            step += 1
            batch = Rows((train.inputs[0][rows], train.inputs[1][rows]), train.labels[rows])
            kept = (random.random((len(rows), 2 * wide)) >= dropout) / (1 - dropout)
            gradients = _find_gradients(weights, batch, kept.astype(np.float32))
            now = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            for weight, mean, square, gradient in zip(
                weights, means, squares, gradients, strict=True
            ):
                mean += 0.1 * (gradient - mean)
                square += 0.001 * (gradient**2 - square)
                scale = np.sqrt(square / (1 - 0.999**step)) + 1e-8
                weight -= now * (mean / (1 - 0.9**step) / scale)
                if weight.ndim > 1:
                    weight -= now * DECAY * weight
        yield float((_answer(weights, val)[1].argmax(1) == val.labels).mean())


def _draw(random: np.random.Generator, ins: int, outs: int) -> Array:
    drawn: Array = random.normal(0, ins**-0.5, (ins, outs)).astype(np.float32)
    return drawn


def _answer(weights: list[Array], rows: Rows, kept: Any = 1.0) -> tuple[Array, Array]:
    parts = [x @ w + b for x, w, b in zip(rows.inputs, weights[:2], weights[3:5], strict=True)]
    hidden = np.maximum(np.concatenate(parts, 1), 0) * kept
    return hidden, hidden @ weights[2] + weights[5]


def _find_gradients(weights: list[Array], rows: Rows, kept: Array) -> list[Array]:
    hidden, logits = _answer(weights, rows, kept)
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    chances[np.arange(len(rows.labels)), rows.labels] -= 1
    chances /= len(rows.labels)
    back = (chances @ weights[2].T) * (hidden > 0) * kept
    parts = np.split(back, 2, 1)
    first = [x.T @ part for x, part in zip(rows.inputs, parts, strict=True)]
    return [*first, hidden.T @ chances, *(part.sum(0) for part in parts), chances.sum(0)]


def search(
    rows: tuple[Rows, Rows], way: tuple[str, str], trials: int, seed: int
) -> tuple[float, dict[str, Value], int]:
    """Return the best score of a study, its values, and the epochs that all trials took."""
    with tempfile.TemporaryDirectory() as folder:
        given = StudySettings(seed, *way, batch=2, epochs=EPOCHS)
        study, epochs = Study(Path(folder) / "journal", SPACE, given), 0
        while proposals := study.propose(trials):
            for each in proposals:
                judge, scores = study.make_judge(each.number), {}
                for epoch, score in enumerate(train_epochs(*rows, each.values), 1):
                    scores[epoch] = score
                    if judge.is_hopeless(epoch, score):
                        study.tell_pruned(each.number, scores, judge.rungs)
                        break
                else:
                    study.tell(each.number, max(scores.values()), scores, judge.rungs)
                epochs += len(scores)
        done = [row for row in study.list_trials() if row.score is not None]
    best = max(done, key=lambda row: (row.score or 0.0, -row.number))
    return best.score or 0.0, best.values, epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="of the proposals")
    parser.add_argument("--trials", type=int, default=20)
    given = parser.parse_args()
    rows, began = load_rows(), time.process_time()
    points = [
        dict(zip(("lr", "width", "dropout"), each, strict=True))
        for each in itertools.product(RATES, WIDTHS, DROPOUTS)
    ]
    scores = [max(train_epochs(*rows, each)) for each in points]
    best = max(scores)
    ranked = sorted(scores, reverse=True)
    print(f"grid: {len(points)} trainings, {len(points) * EPOCHS} epochs; best {best:.4f} at "
          f"{points[scores.index(best)]}; 10th {ranked[9]:.4f}, median "
          f"{statistics.median(scores):.4f}; {time.process_time() - began:.0f} CPU s")  # fmt: skip
    print("\n| sampler, pruner | epochs, of the grid's | points below the best: median | worst "
          "| within 1 point |\n|---|---|---|---|---|")  # fmt: skip
    for way in WAYS:
        found = [search(rows, way, given.trials, seed) for seed in range(given.seeds)]
        below = [100 * (best - score) for score, _, _ in found]
        share = statistics.fmean(epochs for *_, epochs in found) / (len(points) * EPOCHS)
        near = sum(each <= 1.0 + 1e-9 for each in below)
        print(f"| {way[0]}, {way[1]} | {share:.1%} | {statistics.median(below):.1f} | "
              f"{max(below):.1f} | {near} of {given.seeds} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
