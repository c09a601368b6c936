"""The contract of every fusion method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mmx.modalities import Encoded, Features
from mmx.modalities.masking import is_known_full


@dataclass(frozen=True)
class Widths:
    """What a fusion must know about the encoder of one modality.

    Attributes:
        pooled: D of the tokens and of the pooled vector.
        levels: Width of each exposed encoder stage, early to late.
    """

    pooled: int
    levels: tuple[int, ...] = ()


class Fusion(nn.Module, ABC):
    """Base of all fusion methods.

    Write a fusion to try another way of combining modalities; it is one file with a class
    and one YAML with its options.

    The constructor takes ``widths`` (modality to :class:`Widths`) and, by keyword,
    ``outputs`` (C, the width of the model's output). Arguments that a config may set are
    keyword-only, of plain types and annotated, since the config is checked against them.

    Example:
        >>> class Largest(Fusion):
        ...     def __init__(self, widths, *, outputs, width: int = 8):
        ...         super().__init__(widths, outputs=outputs)
        ...         self.width = width
        ...         each = {name: nn.Linear(widths[name].pooled, width) for name in widths}
        ...         self.projections = nn.ModuleDict(each)
        ...
        ...     def forward(self, features, present):
        ...         pooled = zip(self.modalities, self.list_pooled(features, present), strict=True)
        ...         projected = torch.stack([self.projections[n](x) for n, x in pooled], dim=1)
        ...         absent = ~stack_presence(present, self.modalities)[:, :, None]
        ...         return projected.masked_fill(absent, -torch.inf).amax(1)  # (B, D_out)
        >>> fusion = Largest({"image": Widths(3), "text": Widths(5)}, outputs=2)
        >>> both = torch.ones(4, dtype=torch.bool)
        >>> vectors = {"image": torch.randn(4, 3), "text": torch.randn(4, 5)}
        >>> features = {n: Features(x[:, None], both[:, None], x) for n, x in vectors.items()}
        >>> fusion(features, {"image": both, "text": ~both}).shape
        torch.Size([4, 8])

    Attributes:
        outputs: C; only methods that return logits use it.
        level: Where the modalities meet. At ``decision`` and ``algorithm`` level,
            :meth:`forward` returns ``(B, C)`` logits and the model adds no head.
        reads: Whether the method reads the modalities' ``tokens`` or their ``pooled``
            vectors (and ``levels``).
        width_option: The constructor's option that scales the number of parameters;
            ``match=params`` sets it.
        shut_at_start: Patterns of the names of parameters that have a zero gradient in the
            first step, because a gate in front of them starts closed.
        width: Width of the fused vector, D_out, the width of what :meth:`forward` returns.
        modalities: The modalities, sorted by name.
        label_tensors: Only of methods that return logits: names of the tensors with one row
            for each output, which a transfer may match by class name.
        without_parameters: What to type to get a fusion without trainable parameters.
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

    @property
    def layers_of_concatenation(self) -> nn.Module | None:
        """What a method does to the concatenated pooled vectors, where it does nothing else.

        :class:`~mmx.fusion.hierarchical.Hierarchical` then keeps these layers alone for a step.
        None for methods that read the modalities by name.
        """
        return None

    def settle(self, train: Encoded, val: Encoded, seed: int) -> tuple[str, ...]:
        """Fit the part that gradients do not train, and return notes for the report.

        It is called after training, with the best weights, in evaluation mode, and only where
        :attr:`settles` is True. Fitted values belong in buffers, so that a checkpoint holds
        them; if buffers change their shape here, a new instance must be able to load them.

        Args:
            train: Features of the training rows.
            val: Features of the validation rows.
            seed: Seed of all random draws.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to settle")

    def list_pooled(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> list[Tensor]:
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
            features: Modality to features, all of the same B; rows that lack a modality may
                hold any values in it, NaN included.
            present: Modality to ``(B,)`` bool.

        Returns:
            ``(B, D_out)``, or ``(B, C)`` logits where :attr:`decides` is True.
        """


def zero_absent(x: Tensor, present: Tensor) -> Tensor:
    """Return ``x`` ``(B, D)`` with zeros in the rows where ``present`` ``(B,)`` is False.

    The rows are replaced: multiplying them by zero would keep NaN and infinity.
    """
    return x if is_known_full(present) else x.masked_fill(~present[:, None], 0.0)


def stack_presence(present: dict[str, Tensor], modalities: tuple[str, ...]) -> Tensor:
    """Return ``(B, M)`` bool, True for the modalities that a row has."""
    return torch.stack([present[name] for name in modalities], dim=1)
