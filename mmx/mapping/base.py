"""The contract of every mapping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mmx.modalities import Encoded, Features


class Mapping(nn.Module, ABC):
    """Base of all mappings.

    The constructor takes ``widths`` (modality to D_m of its tokens and pooled vector); what
    a config may set is keyword-only, plain and annotated.

    Attributes:
        fitted: Whether :meth:`fit` has to be called before training.
        kinds: The kinds of target that a fitted mapping can be learned with.
        modalities: The modalities, sorted by name.
        widths: Modality to the width after the mapping.
    """

    fitted: ClassVar[bool] = False
    kinds: ClassVar[frozenset[str]] = frozenset({"classes", "multilabel", "regression"})
    widths: dict[str, int]

    def __init__(self, widths: dict[str, int]) -> None:
        super().__init__()
        self.modalities = tuple(sorted(widths))

    def fit(self, train: Encoded, seed: int) -> tuple[str, ...]:
        """Learn the mapping from the training rows, and return notes for the reader.

        What is learned is kept in buffers, so that it travels with the checkpoint. Rows
        that lack a modality take no part in what concerns it.

        Args:
            train: Features of the training rows, of the encoders as training starts.
            seed: Decides everything that is drawn.

        Raises:
            DataError: There are too few rows to learn from.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to fit")

    @abstractmethod
    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Map pooled vectors and tokens alike; masks and levels stay as they are.

        Args:
            features: Modality to features; rows of an absent modality may hold anything,
                and may afterwards.
            present: Modality to ``(B,)`` bool.

        Returns:
            The features, ``(B, T, D')`` tokens and ``(B, D')`` pooled vectors.
        """
