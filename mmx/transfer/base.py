"""The contract of every transfer mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from torch import Tensor, nn

from mmx.errors import Problem
from mmx.transfer.phases import Phase, TrainEpochs
from mmx.transfer.regularizers.base import ActsOn, Regularizer
from mmx.transfer.weighting import Weighting
from mmx.transfer.weighting.fixed import Fixed

TargetKind = Literal["classes", "multilabel", "regression"]
"""What a target predicts: one class a row, several labels a row, or a number."""


NO_REGULARIZER = "none"


@dataclass(frozen=True)
class Choices:
    """What a search may choose from, apart from the transfer modes.

    Attributes:
        regularizers: Names; ``none`` for none.
        heads: Names of heads.
        depths: Of encoders, to be frozen.
        rates: Learning rates of copied parameters, as multiples of the optimiser's.
    """

    regularizers: tuple[str, ...]
    heads: tuple[str, ...]
    depths: tuple[int, ...]
    rates: tuple[float, ...]


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
    """Where each tensor of a stage comes from; every one that it keeps stands in one list.

    Attributes:
        copied: As in the source.
        adapted: From the source, changed to fit (head rows moved to other class indices).
        frozen: From the source, as there or changed to fit, and never trained.
        fresh: Drawn anew.
        training_only: What training needs and the target's predictions do not: tensors of a
            regulariser, of the source of joint training, of the weighting of both.
        notes: What did not fit, and why, one line each.
        classes: Target class to the source class whose rows of the head it took.
        density: Name of a tensor with zeros that stay zero to the part of it that is not.
    """

    copied: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    training_only: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    classes: dict[str, str] = field(default_factory=dict)
    density: dict[str, float] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return the number of the target model's tensors in each list."""
        return {
            "copied": len(self.copied),
            "adapted": len(self.adapted),
            "frozen": len(self.frozen),
            "fresh": len(self.fresh),
        }

    def to_json(self) -> dict[str, Any]:
        """Return what ``transfer.json`` holds, where ``training_only`` is called ``beside``."""
        names = {"training_only": "beside"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Start:
    """How a target's training starts.

    Attributes:
        report: Where each tensor comes from.
        frozen: Names of parameters that do not train.
        frozen_encoders: Modalities whose encoder is frozen whole, so that their features
            may be computed once.
        rates: Parameter name to a multiple of the learning rate; 1 where absent.
        thaw: Parameter name to the epoch, counted from 0, in which it begins to train; it is
            frozen before.
        frozen_statistics: Names of modules whose running statistics stay as they are.
        masks: Parameter name to a bool tensor; entries where it is False are zero and stay so.
        weight_decay: False where a regulariser takes its place.
        phases: What the stage does with the started model, in order.
    """

    report: Report
    frozen: frozenset[str] = frozenset()
    frozen_encoders: frozenset[str] = frozenset()
    rates: dict[str, float] = field(default_factory=dict)
    thaw: dict[str, int] = field(default_factory=dict)
    frozen_statistics: frozenset[str] = frozenset()
    masks: dict[str, Tensor] = field(default_factory=dict)
    weight_decay: bool = True
    phases: tuple[Phase, ...] = (TrainEpochs(),)

    def frozen_in(self, epoch: int) -> frozenset[str]:
        """Return the names of the parameters that do not train in an epoch."""
        return self.frozen | {name for name, first in self.thaw.items() if first > epoch}

    @property
    def shared(self) -> frozenset[str]:
        """Names of the tensors that came from the source and are trained."""
        return frozenset({*self.report.copied, *self.report.adapted})


class Transfer(ABC):
    """Base of all transfer modes; keyword-only, plain, annotated constructor arguments.

    Attributes:
        needs: What the mode takes from a source: its ``weights`` (the source is trained),
            its ``architecture`` (its data is opened, nothing is trained), its ``rows`` (source
            and target train jointly) or ``nothing``.
        modality_map: Target modality to the source modality whose encoder it starts from.
        weighting: Name of what weighs the losses of target and source, of a mode that needs rows.
    """

    needs: Literal["nothing", "architecture", "rows", "weights"]
    modality_map: Mapping[str, str] = MappingProxyType({})
    weighting: str = "fixed"

    @property
    def uses_epochs(self) -> bool:
        """Whether a target trains for ``trainer.epochs``; False where all is fitted at once."""
        return True

    @property
    def is_linear_probe(self) -> bool:
        """Whether it does what ``control=linear_probe`` does."""
        return False

    @property
    def regularizable(self) -> frozenset[ActsOn]:
        """What a regulariser may act on while this mode trains, as it is set; nothing by default.

        A mode whose encoders start from the source and train allows ``weights``, ``features``
        and ``relations``; also ``statistics`` where batch norms move, and ``outputs`` where
        what stands behind the encoders may come from the source too. One whose encoders are
        fresh allows ``relations`` alone.
        """
        return frozenset()

    def holds(self, regularizer: Regularizer | type[Regularizer]) -> bool:
        """Return whether a regulariser has something to hold in this mode, as it is set."""
        return regularizer.acts_on in self.regularizable

    @classmethod
    def search_space(cls, choices: Choices) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the settings of this mode that ``transfer=auto`` may try, the plainest first.

        By default the mode as it is, alone and with each regulariser. A mode whose options are
        worth a search yields their values; a regulariser that a setting cannot hold is left out
        by the search itself.

        Yields:
            The regulariser's name, ``none`` for none, and the options that are set.
        """
        yield NO_REGULARIZER, {}
        for name in choices.regularizers:
            yield name, {}

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return whether fusion and head are taken too from a source of these modalities.

        Else the source's own fusion is ``concat`` whatever the target's, and one trained
        source serves them all.
        """
        return False

    @property
    def takes_negative(self) -> bool:
        """Whether losses that are weighed may be below zero; of a mode that needs rows."""
        return True

    def weigh(self, kinds: tuple[str, str]) -> Weighting:
        """Return what weighs the losses of target and source, new; of a mode that needs rows.

        Args:
            kinds: What each predicts: classes, multilabel or regression.
        """
        return Fixed()

    def make_head(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return the head on fused features of ``width``; ``(B, width)`` to ``(B, outputs)``.

        Args:
            width: D of the fused features.
            outputs: C.
            kind: Of the target.
        """
        return nn.Linear(width, outputs)

    def equip(self, model: nn.Module) -> None:  # noqa: B027 most modes add nothing
        """Add to a drawn model the modules that the mode trains, fresh.

        Called whenever the model is made, so that a checkpoint finds its tensors' places;
        ``start`` is called after it.
        """

    def unmatched_patterns(self, tensors: Sequence[str]) -> list[tuple[str, str]]:
        """Return (option, pattern) for each pattern of the options that names no tensor.

        Args:
            tensors: Names of the target model's tensors, known before data is opened.
        """
        return []

    def misfits(self, model: nn.Module) -> list[Problem]:
        """Return what of the options no target model of this make can fulfil.

        Args:
            model: The target model on paper, known before data is opened.
        """
        return []

    @abstractmethod
    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Write the starting weights into ``model`` and say how training goes on.

        Args:
            source: The trained source; None where ``needs`` is not ``weights``.
            model: The target model, freshly drawn and equipped.
            classes: The target's class names in index order; empty for regression.

        Raises:
            TransferError: The source does not fit.
        """


def start_fresh(model: nn.Module, *notes: str) -> Start:
    """Return a start in which nothing comes from a source."""
    return Start(report=Report(fresh=tuple(model.state_dict()), notes=notes))
