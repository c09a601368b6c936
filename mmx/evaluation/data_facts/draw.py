"""Which training rows stand for a modality on a page."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmx.tasks import TaskData

SAMPLES = 12


def draw_samples(data: TaskData, modality: str, seed: int, count: int = SAMPLES) -> list[int]:
    """Return training rows that have a modality, drawn at random, evenly from the classes.

    Rows of ``val`` and ``test`` are not shown: what is seen of them cannot be unseen. Without
    classes the rows are drawn from all alike. The draw depends on the seed and the rows alone.

    Args:
        data: The data of a task.
        modality: The modality that the rows have.
        seed: Seed of the draw.
        count: Most rows to return.
    """
    rows = data.splits["train"]
    if not len(rows):  # rows to predict are all in ``test``
        rows = np.concatenate(list(data.splits.values()))
    there = rows[data.columns[modality].present[rows]]
    drawn = np.random.default_rng(seed).permutation(there)
    if data.target.kind != "classes":
        return [int(row) for row in drawn[:count]]
    return _take_turns(drawn, data.values.numpy()[drawn])[:count]


def _take_turns(rows: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> list[int]:
    """Return the rows such that each class gives one in turn; of a class, those drawn first."""
    seen: dict[int, int] = {}
    turns = []
    for place, label in enumerate(labels.tolist()):
        turn = seen.get(label, 0)
        seen[label] = turn + 1
        turns.append((turn, place))
    return [int(rows[place]) for _, place in sorted(turns)]
