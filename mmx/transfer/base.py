"""The contract of every transfer mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from mmx.errors import Problem
from mmx.transfer.phases import Phase, TrainEpochs
from mmx.transfer.regularizers.base import ActsOn, Regularizer
from mmx.transfer.search_contract import NO_REGULARIZER, Choices, Search
from mmx.transfer.weighting import Weighting
from mmx.transfer.weighting.fixed import Fixed

TargetKind = Literal["classes", "multilabel", "regression"]
"""What a target predicts: one class per row, several labels per row, or a number."""


@dataclass(frozen=True)
class ChosenHead:
    """The head that a transfer mode was told to use.

    Attributes:
        typed: The option that chose it, such as ``transfer.head=knn``.
        kinds: The kinds of target it serves.
        plain: Whether it is a linear layer with default options.
        alone: Whether nothing but the head is fitted or trained, on cached features.
        fitted: Whether it is fitted, without a gradient step.
        type_for_any_kind: What to type for a head that serves every kind of target.
        type_for_plain: What to type for the plain linear layer.
    """

    typed: str
    kinds: frozenset[TargetKind]
    plain: bool
    alone: bool
    fitted: bool
    type_for_any_kind: str
    type_for_plain: str


@dataclass(frozen=True)
class EncoderRate:
    """How fast copied encoders train.

    Attributes:
        factor: Multiple of the optimiser's learning rate.
        key: The config key that sets it, such as ``transfer.copied_rate``; empty where none does.
    """

    factor: float
    key: str = ""


@dataclass(frozen=True)
class Source:
    """What a trained source gives to a target.

    Attributes:
        state: The model's tensors by name: ``encoders.<modality>.…``, ``fusion.…``, ``head.…``.
        classes: Class names in index order; empty for regression.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Where each tensor of a stage comes from; each tensor of the target is in exactly one list.

    Attributes:
        copied: From the source, unchanged.
        adapted: From the source, changed to fit (head rows moved to other class indices).
        frozen: From the source, unchanged or changed to fit, and never trained.
        fresh: Initialised at random.
        training_only: Tensors that training needs and the target's predictions do not: those of a
            regulariser, of the source in joint training, of the weighting of the two losses.
        notes: What did not fit, and why, one line each.
        classes: Target class to the source class from which its rows of the head were taken.
        density: Name of a sparse tensor to the fraction of its entries that is not masked.
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
        """Return the number of tensors of the target model in each list."""
        return {
            "copied": len(self.copied),
            "adapted": len(self.adapted),
            "frozen": len(self.frozen),
            "fresh": len(self.fresh),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``transfer.json``, where ``training_only`` is called ``beside``."""
        # The key of earlier versions: their run directories and readers of the file rely on it.
        names = {"training_only": "beside"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Start:
    """How a target's training starts.

    Attributes:
        report: Where each tensor comes from.
        frozen: Names of parameters that do not train.
        frozen_encoders: Modalities with a completely frozen encoder, so that their features
            may be computed once.
        rates: Parameter name to a multiple of the learning rate; 1 if absent.
        thaw: Parameter name to the epoch, counted from 0, from which it trains; it is frozen
            before.
        frozen_statistics: Names of modules with running statistics that do not change.
        masks: Parameter name to a bool tensor; entries where it is False are zero and stay zero.
        weight_decay: False if a regulariser takes its place.
        phases: The phases of the stage, in order.
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
        # An epoch before the first one of a parameter: it still waits.
        return self.frozen | {name for name, first in self.thaw.items() if first > epoch}

    @property
    def shared(self) -> frozenset[str]:
        """Names of the tensors that came from the source and are trained."""
        return frozenset({*self.report.copied, *self.report.adapted})


class Transfer(ABC):
    """Base of all transfer modes; keyword-only, plain, annotated constructor arguments.

    Example:
        A mode that copies the source's encoders and trains everything.

        >>> from mmx.contract.world import World  # a small source and target
        >>> from mmx.transfer.copying import copy_fitting
        >>> class Encoders(Transfer):
        ...     needs = "weights"
        ...
        ...     @property
        ...     def regularizable(self):
        ...         return frozenset({"features", "relations"})
        ...
        ...     def start(self, source, model, classes):
        ...         state = {k: v for k, v in source.state.items() if k.startswith("encoders.")}
        ...         done = copy_fitting(Source(state, ()), model, (), {})
        ...         return Start(done.report(frozen=()))
        >>> world = World()
        >>> source = Source(world.source.state_dict(), ("a", "b", "c", "d"))
        >>> Encoders().start(source, world.model, ("e", "f", "g")).report.counts()
        {'copied': 20, 'adapted': 0, 'frozen': 0, 'fresh': 3}

    Attributes:
        needs: What the mode takes from a source: its ``weights`` (the source is trained),
            its ``architecture`` (its data is opened, nothing is trained), its ``rows`` (source
            and target train jointly) or ``nothing``.
        keeps_encoders: Whether the encoders that a source gives are taken whole, and nothing may
            change them.
        modality_map: Target modality to the source modality with the encoder that it starts from.
        weighting: Name of the weighting of the two losses, for a mode that needs rows.
    """

    needs: Literal["nothing", "architecture", "rows", "weights"]
    keeps_encoders: ClassVar[bool] = False
    modality_map: Mapping[str, str] = MappingProxyType({})
    weighting: str = "fixed"

    @property
    def uses_epochs(self) -> bool:
        """Whether a target trains for ``trainer.epochs``; False if it is fitted in one go."""
        return True

    @property
    def chosen_head(self) -> ChosenHead | None:
        """The head that was chosen by an option of this mode; None where it has no such option."""
        return None

    @property
    def encoder_rate(self) -> EncoderRate | None:
        """How fast encoders from the source train as a whole; None where they do not.

        Published weights that would train so fast that they forget are noted in the run.
        """
        return None

    @property
    def search(self) -> Search | None:
        """The search that chooses another mode in place of this one; None for most modes."""
        return None

    @property
    def is_scratch(self) -> bool:
        """Whether it does what ``control=scratch`` does."""
        return False

    @property
    def is_linear_probe(self) -> bool:
        """Whether the mode does the same as ``control=linear_probe``."""
        return False

    @property
    def regularizable(self) -> frozenset[ActsOn]:
        """What a regulariser may act on under this mode with its options; nothing by default.

        A mode with trainable encoders from the source allows ``weights``, ``features`` and
        ``relations``; also ``statistics`` if the statistics of batch norms change, and ``outputs``
        if fusion and head may come from the source too. A mode with fresh encoders allows
        ``relations`` alone.
        """
        return frozenset()

    def holds(self, regularizer: Regularizer | type[Regularizer]) -> bool:
        """Return whether a regulariser has an effect under this mode with its options."""
        return regularizer.acts_on in self.regularizable

    @classmethod
    def search_space(cls, choices: Choices) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the settings of this mode that ``transfer=auto`` may try, the simplest first.

        By default, the mode with default options, alone and with each regulariser. A mode with
        options that are worth a search yields their values. The search itself leaves out a
        regulariser that :meth:`holds` refuses.

        Yields:
            The regulariser's name, ``none`` for none, and the options to set.
        """
        yield NO_REGULARIZER, {}
        for name in choices.regularizers:
            yield name, {}

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return whether fusion and head, too, are taken from a source with these modalities.

        If not, the source's fusion is ``concat`` whatever the target's is, so that one trained
        source serves every fusion.
        """
        return False

    @property
    def takes_negative(self) -> bool:
        """Whether the weighted losses may be negative; for a mode that needs rows."""
        return True

    def weigh(self, kinds: tuple[str, str]) -> Weighting:
        """Return a new weighting of the losses of target and source; for a mode that needs rows.

        Args:
            kinds: What each predicts: classes, multilabel or regression.
        """
        return Fixed()

    def make_head(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return a fresh head for fused features: ``(B, width)`` to ``(B, outputs)``.

        Args:
            width: D of the fused features.
            outputs: C.
            kind: The target's kind.
        """
        return nn.Linear(width, outputs)

    def equip(self, model: nn.Module) -> None:  # noqa: B027 most modes add nothing
        """Add the mode's own modules to a fresh model, such as adapters.

        Called whenever the model is made, so that tensors of a checkpoint can be loaded;
        ``start`` is called after it.
        """

    def unmatched_patterns(self, tensors: Sequence[str]) -> list[tuple[str, str]]:
        """Return (option, pattern) for each pattern in the options that matches no tensor.

        Args:
            tensors: Names of the target model's tensors, known before data is opened.
        """
        return []

    def misfits(self, model: nn.Module) -> list[Problem]:
        """Return a problem for each option that no target model of this architecture can fulfil.

        Args:
            model: A meta model of the target, made before data is opened.
        """
        return []

    @abstractmethod
    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Write the starting weights into ``model`` and return how training continues.

        Args:
            source: The trained source; None unless ``needs`` is ``weights``.
            model: The target model, fresh and equipped.
            classes: The target's class names in index order; empty for regression.

        Raises:
            TransferError: The source does not fit.
        """


def start_fresh(model: nn.Module, *notes: str) -> Start:
    """Return a start in which every tensor is fresh."""
    return Start(report=Report(fresh=tuple(model.state_dict()), notes=notes))
