"""Structure: the source's architecture, with fresh weights."""

from __future__ import annotations

from torch import nn

from mmx.transfer.base import Source, Start, Transfer, everything_fresh


class Structure(Transfer):
    """What the source's data decided of the architecture (vocabularies, columns), fresh weights.

    The source is not trained. Its text vocabulary, and its columns where the target has
    the same, shape the target's encoders; all weights are drawn anew and trained. Where
    both tasks lead to the same architecture the mode equals ``scratch``, and its gain is
    zero by construction.
    """

    needs = "architecture"

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Leave the model as it was drawn: its shape is what was transferred."""
        return everything_fresh(model, "the architecture is the source's, every weight is fresh")
