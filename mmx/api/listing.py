"""The runs under an output folder as a frame."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from mmx.api.frames import import_pandas
from mmx.api.paths import read_path

if TYPE_CHECKING:
    import pandas as pd


def list_runs(
    folder: str | PathLike[str] = "outputs",
    *conditions: str,
    columns: Sequence[str] = (),
    sort: str | None = None,
    attempts: bool = False,
) -> pd.DataFrame:
    """Return the runs under an output folder, one row each, as ``mmx list --csv`` does.

    It is not called ``runs``, since ``mmx.runs`` is the package that reads run directories.

    Args:
        folder: The output folder. The column ``run`` is the path of a run in it.
        conditions: What a run must fulfil, such as ``"target=stl10"`` and ``"accuracy>0.7"``.
        columns: Keys to show after ``run``; none for the usual ones and all test metrics.
        sort: The key to sort by, ascending; None for the oldest first.
        attempts: Whether runs that failed before they trained anything are listed too.

    Example::

        found = mmx.list_runs("outputs", "fusion=gated", columns=["optimizer.lr", "accuracy"])
        best = mmx.load(f"outputs/{found.sort_values('accuracy').run.iloc[-1]}")

    Raises:
        RunError: There is no such folder.
        UsageError: A condition cannot be read, or no run has its key.
    """
    pandas = import_pandas()
    from mmx.runs.conditions import parse_condition
    from mmx.verbs.list import choose_runs, require_folder, tabulate_runs

    root = require_folder(read_path(folder))
    parsed = [parse_condition(text) for text in conditions]
    keys = [key.replace("/", ".") for key in columns]
    shown, _ = choose_runs(root, parsed, keys, sort, attempts=attempts)
    heads, rows = tabulate_runs(shown, keys)
    found = pandas.DataFrame(rows, columns=heads)
    # Where no run has a number, pandas would make a column of None, which has no order.
    numbers = [key for key in ("gain", "seconds") if key in heads]
    return found.astype(dict.fromkeys(numbers, float))
