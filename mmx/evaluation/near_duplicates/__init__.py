"""Rows of different splits that are nearly the same: pictures, sounds and texts."""

from mmx.evaluation.near_duplicates.find import (
    Conflict,
    NearDuplicates,
    find_conflicts,
    find_near_duplicates,
    group_rows,
)
from mmx.evaluation.near_duplicates.pairs import PairComparison, RowPair

__all__ = [
    "Conflict",
    "NearDuplicates",
    "PairComparison",
    "RowPair",
    "find_conflicts",
    "find_near_duplicates",
    "group_rows",
]
