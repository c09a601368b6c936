"""The contract of every mapping."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from mmx.modalities import Encoded, Features


class Mapping(nn.Module, ABC):
    """Base of all mappings.

    The constructor takes ``widths`` (modality to D_m of its tokens and pooled vector); what
    a config may set is keyword-only, plain and annotated. Use a mapping where a fusion needs
    equal widths, or where features have many more dimensions than there are training rows.

    Example:
        >>> class Truncate(Mapping):
        ...     \"\"\"Keeps the first dimensions of each modality.\"\"\"
        ...
        ...     def __init__(self, widths: dict[str, int], *, width: int = 16) -> None:
        ...         super().__init__(widths)
        ...         self.widths = {name: min(width, widths[name]) for name in self.modalities}
        ...
        ...     def forward(self, features, present):
        ...         return {
        ...             name: Features(
        ...                 each.tokens[..., : self.widths[name]],
        ...                 each.mask,
        ...                 each.pooled[..., : self.widths[name]],
        ...                 each.levels,
        ...             )
        ...             for name, each in features.items()
        ...         }
        >>> Truncate({"text": 8, "image": 64}).widths
        {'image': 16, 'text': 8}

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

        What is learned is kept in buffers, so that checkpoints contain it. Rows that lack a
        modality are not used to learn the map of that modality.

        Args:
            train: Features of the training rows, from the encoders as training starts.
            seed: Determines all random draws.

        Raises:
            DataError: There are too few rows to learn from.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to fit")

    @abstractmethod
    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Map pooled vectors and tokens alike; masks and levels do not change.

        Args:
            features: Modality to features; rows of an absent modality may hold anything,
                before and after.
            present: Modality to ``(B,)`` bool.

        Returns:
            The features, ``(B, T, D')`` tokens and ``(B, D')`` pooled vectors.
        """
