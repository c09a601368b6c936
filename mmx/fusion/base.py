"""The contract of every fusion method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mmx.modalities import Encoded, Features


@dataclass(frozen=True)
class Widths:
    """What a fusion must know of one modality's encoder.

    Attributes:
        pooled: D of the tokens and of the pooled vector.
        levels: Width of each exposed encoder stage, early to late.
    """

    pooled: int
    levels: tuple[int, ...] = ()


class Fusion(nn.Module, ABC):
    """Base of all fusion methods.

    The constructor takes ``widths`` (modality to :class:`Widths`) and, by keyword,
    ``outputs`` (C, the width of the model's output); what a config may set is
    keyword-only, plain and annotated, since the config is checked against it.

    Attributes:
        outputs: C; only methods that decide make use of it.
        level: Where the modalities meet. At ``decision`` and ``algorithm`` level,
            :meth:`forward` returns ``(B, C)`` logits and the model adds no head.
        reads: Whether the method reads the modalities' ``tokens`` or their ``pooled``
            vectors (and ``levels``).
        width_option: The constructor's option that scales the number of parameters;
            ``match=params`` sets it.
        shut_at_start: Patterns of parameters whose first gradient is zero by definition,
            behind a gate that starts shut.
        width: D_out, the width of what :meth:`forward` returns.
        modalities: The modalities, sorted by name.
        label_tensors: Methods that decide only: names of the tensors with one row for
            each output, which a transfer may match by class name.
        without_parameters: What to type for the model to have a fusion that does not train.
        settles: Whether a part of the method is fitted by :meth:`settle`, not by gradients.
    """

    level: ClassVar[Literal["data", "feature", "token", "decision", "algorithm"]] = "feature"
    reads: ClassVar[Literal["pooled", "tokens"]] = "pooled"
    width_option: ClassVar[str] = "width"
    without_parameters: ClassVar[str] = "fusion=concat"
    shut_at_start: ClassVar[tuple[str, ...]] = ()
    width: int
    label_tensors: tuple[str, ...] = ()
    settles: bool = False

    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__()
        self.modalities = tuple(sorted(widths))
        self.outputs = outputs

    @property
    def decides(self) -> bool:
        """Whether :meth:`forward` returns logits, so that the model adds no head."""
        return self.level in ("decision", "algorithm")

    def settle(self, train: Encoded, val: Encoded, seed: int) -> tuple[str, ...]:
        """Fit what gradients do not, once training has ended, and return notes for the reader.

        Called with the best weights, in evaluation mode, only where :attr:`settles`. What
        is fitted is kept in buffers, so that it travels with the checkpoint; a method whose
        buffers change their shape here must be able to load them into a new instance.

        Args:
            train: Features of the training rows.
            val: Features of the validation rows.
            seed: Decides everything that is drawn.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to settle")

    def pooled(self, features: dict[str, Features], present: dict[str, Tensor]) -> list[Tensor]:
        """Return each modality's ``(B, D_m)`` pooled vectors, by name; zeros where absent."""
        return [zero_absent(features[name].pooled, present[name]) for name in self.modalities]

    @classmethod
    def kinds(cls, **_options: Any) -> frozenset[str]:
        """Return the kinds of target that the method serves with these options."""
        return frozenset({"classes", "multilabel", "regression"})

    @abstractmethod
    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Fuse a batch.

        Args:
            features: Modality to features, all of the same B; rows of an absent modality
                may hold anything.
            present: Modality to ``(B,)`` bool.

        Returns:
            ``(B, D_out)``; from methods that decide ``(B, C)`` logits.
        """


def zero_absent(x: Tensor, present: Tensor) -> Tensor:
    """Return ``x`` ``(B, D)`` with zeros in the rows where ``present`` ``(B,)`` is False.

    The rows are replaced, not multiplied by zero, which would keep NaN and infinity.
    """
    return x.masked_fill(~present[:, None], 0.0)


def stack_presence(present: dict[str, Tensor], modalities: tuple[str, ...]) -> Tensor:
    """Return ``(B, M)`` bool, which of the modalities each row has."""
    return torch.stack([present[name] for name in modalities], dim=1)
