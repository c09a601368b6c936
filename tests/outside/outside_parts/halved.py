"""Half of the rows an epoch."""

from __future__ import annotations

import numpy as np

from mmx.balance.base import Balance, Rows


class Halved(Balance):
    """Draws as many rows as there are, with repetition."""

    def draw(self, rows: Rows, labels: Rows, generator: np.random.Generator) -> Rows:
        """Return the rows of an epoch."""
        return generator.choice(rows, len(rows))
