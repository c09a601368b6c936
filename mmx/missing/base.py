"""The contract of every way to treat missing modalities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mmx.modalities import Encoded, Features


@dataclass(frozen=True)
class Shape:
    """The widths of one modality's features.

    Attributes:
        pooled: D of the tokens and of the pooled vector.
        levels: Width of each level, early to late.
    """

    pooled: int
    levels: tuple[int, ...] = ()


class Missing(nn.Module, ABC):
    """Base of all treatments of missing modalities.

    The constructor takes ``shapes`` (modality to :class:`Shape`); what a config may set is
    keyword-only, plain and annotated. Use ``mask`` unless many rows lack a modality that the
    others can predict; ``drop`` shows what the incomplete rows are worth.

    Example:
        >>> class Zero(Missing):
        ...     \"\"\"Zeros count as present: the fusion cannot tell them from data.\"\"\"
        ...
        ...     def forward(self, features, present):
        ...         filled = {}
        ...         for name, each in features.items():
        ...             absent = ~present[name][:, None]  # (B, 1)
        ...             filled[name] = Features(
        ...                 each.tokens.masked_fill(absent[..., None], 0.0),
        ...                 each.mask | absent,
        ...                 each.pooled.masked_fill(absent, 0.0),
        ...             )
        ...         return filled, {name: here | True for name, here in present.items()}
        ...
        >>> import torch
        >>> ones = torch.ones(2, 8)
        >>> x = {"image": Features(ones[:, None], torch.ones(2, 1).bool(), ones)}
        >>> filled, _ = Zero({"image": Shape(8)})(x, {"image": torch.tensor([True, False])})
        >>> filled["image"].pooled.sum().item()
        8.0

    Attributes:
        fitted: Whether :meth:`fit` has to be called before training and after each epoch.
        drops_rows: Whether training leaves out the rows that lack a modality.
        modalities: The modalities, sorted by name.
    """

    fitted: ClassVar[bool] = False
    drops_rows: ClassVar[bool] = False

    def __init__(self, shapes: dict[str, Shape]) -> None:
        super().__init__()
        self.shapes = shapes
        self.modalities = tuple(sorted(shapes))

    def fit(self, train: Encoded, seed: int) -> None:
        """Learn what stands in for an absent modality from the training rows.

        What is learned is kept in buffers, so that it travels with the checkpoint; a method
        whose buffers change their shape here must be able to load them into a new instance.

        Args:
            train: Features of the training rows.
            seed: Determines all random draws.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to fit")

    @abstractmethod
    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> tuple[dict[str, Features], dict[str, Tensor]]:
        """Fill in what is absent.

        Args:
            features: Modality to features; rows of an absent modality may hold anything.
            present: Modality to ``(B,)`` bool.

        Returns:
            Features and presence as the fusion sees them.
        """
