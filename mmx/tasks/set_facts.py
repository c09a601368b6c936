"""What is known of a public data set before it is opened: ``docs/reference/sets.md`` states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SetFacts:
    """A public data set in figures.

    Attributes:
        rows: Split to the number of its rows, in the authors' splits; ``all`` where there are none.
        classes: Number of classes.
        megabytes: Size of what is fetched, in 10⁶ bytes; 0: it comes with an installed package.
        licence: As its authors state it; "not stated" where they do not.
        source: Who made it, and where it is from.
    """

    rows: Mapping[str, int]
    classes: int
    megabytes: float
    licence: str
    source: str

    @property
    def size(self) -> str:
        """Size of what is fetched, in words."""
        if not self.megabytes:
            return "none"
        if self.megabytes >= 1000:
            return f"{self.megabytes / 1000:.1f} GB"
        return f"{self.megabytes:.0f} MB"

    def describe_rows(self) -> str:
        """Return the rows of each split, such as ``60,000 train, 10,000 test``."""
        return ", ".join(
            f"{count:,}" if split == "all" else f"{count:,} {split}"
            for split, count in self.rows.items()
        )
