"""Half of the rows an epoch."""

from __future__ import annotations

import numpy as np

from mmx.balance.base import Balance, RowArray


class Halved(Balance):
    """Draws as many rows as there are, with repetition."""

    def draw(self, rows: RowArray, labels: RowArray, generator: np.random.Generator) -> RowArray:
        """Return the rows of an epoch."""
        return generator.choice(rows, len(rows))
