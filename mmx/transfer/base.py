"""The contract of every transfer mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Source:
    """What a trained source offers.

    Attributes:
        state: The model's tensors by name: ``encoders.<modality>.…``, ``fusion.…``, ``head.…``.
        classes: Class names in index order; empty for regression.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Where each tensor of the target model comes from; every tensor stands in one list.

    Attributes:
        copied: As in the source.
        adapted: From the source, changed to fit (head rows moved to other class indices).
        frozen: As in the source, and never trained.
        fresh: Drawn anew.
        notes: What did not fit, and why, one line each.
    """

    copied: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return the number of tensors in each list."""
        return {
            "copied": len(self.copied),
            "adapted": len(self.adapted),
            "frozen": len(self.frozen),
            "fresh": len(self.fresh),
        }


@dataclass(frozen=True)
class Start:
    """How a target's training starts.

    Attributes:
        report: Where each tensor comes from.
        frozen: Names of parameters that do not train.
        frozen_encoders: Modalities whose encoder is frozen whole, so that their features
            may be computed once.
        rates: Parameter name to a multiple of the learning rate; 1 where absent.
        weight_decay: False where the regulariser takes its place.
        regularizer: R(w), added to the loss of each step; sums over weights, not over
            the batch, so that its strength means the same at every batch size.
    """

    report: Report
    frozen: frozenset[str] = frozenset()
    frozen_encoders: frozenset[str] = frozenset()
    rates: dict[str, float] = field(default_factory=dict)
    weight_decay: bool = True
    regularizer: Callable[[nn.Module], Tensor] | None = None


class Transfer(ABC):
    """Base of all transfer modes; keyword-only, plain, annotated constructor arguments.

    Attributes:
        needs: What the mode takes from a source: its ``weights`` (the source is trained),
            its ``architecture`` (its data is opened, nothing is trained) or ``nothing``.
        takes_fusion: Whether the weights it takes are those of the fusion and the head too;
            else the source's fusion is ``concat`` whatever the target's, and one source
            serves them all.
    """

    needs: ClassVar[Literal["nothing", "architecture", "weights"]]
    takes_fusion: ClassVar[bool] = True

    def unmatched(self, tensors: Sequence[str]) -> list[tuple[str, str]]:
        """Return (option, pattern) for each pattern of the options that names no tensor.

        Args:
            tensors: Names of the target model's tensors, known before data is opened.
        """
        return []

    @abstractmethod
    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Write the starting weights into ``model`` and say how training goes on.

        Args:
            source: The trained source; None where ``needs`` is not ``weights``.
            model: The target model, freshly drawn.
            classes: The target's class names in index order; empty for regression.

        Raises:
            TransferError: The source does not fit.
        """


def everything_fresh(model: nn.Module, *notes: str) -> Start:
    """Return a start in which nothing comes from a source."""
    return Start(report=Report(fresh=tuple(model.state_dict()), notes=notes))
