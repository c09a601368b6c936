"""Reads cells by the name of their column. Needs numpy."""

import math
import re
from typing import Any

import numpy as np


def read(cells: dict[str, Any], how: dict[str, Any]) -> Any:
    """Return ``(columns,)``: numbers, NaN where missing, then codes of words; None without any."""
    there = {name: None if is_missing(cell) else cell for name, cell in cells.items()}
    if all(there.get(column["name"]) is None for column in how["columns"]):
        return None
    return np.array([read_cell(there.get(each["name"]), each) for each in how["columns"]])


def is_missing(cell: Any) -> bool:
    """Return whether a cell holds nothing."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


def read_cell(cell: Any, column: dict[str, Any]) -> float:
    """Return a number, or the code of a word."""
    if column["kind"] == "number":
        if isinstance(cell, str) and column["written"]:
            raise ValueError(f"{column['name']}: give a plain number, of a date days since 1970")
        return math.nan if cell is None else float(cell)
    word = "" if cell is None else str(cell)
    return float(
        column["codes"].get(word, column["alike"].get(normalize_word(word), column["other"]))
    )


def normalize_word(word: str) -> str:
    """Return a common spelling: ``True`` as ``true``, ``1.0`` as ``1``, midnight as its date."""
    if word.lower() in ("true", "false"):
        return word.lower()
    whole = re.fullmatch(r"([+-]?[0-9]+)\.0+", word)
    day = re.fullmatch(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]00:00(:00(\.0+)?)?", word)
    found = whole or day
    return found[1] if found else word
