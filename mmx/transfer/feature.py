"""Feature transfer: the source's frozen encoders extract features, which are computed once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from mmx.errors import Problem, TransferError
from mmx.transfer.base import (
    ChosenHead,
    Report,
    Source,
    Start,
    TargetKind,
    Transfer,
)
from mmx.transfer.copying import Copied, copy_fitting
from mmx.transfer.freezing import find_frozen_encoders
from mmx.transfer.heads import HEADS, FittedHead, Head, HeadName
from mmx.transfer.heads.linear import Linear
from mmx.transfer.phases import Phase, TrainEpochs
from mmx.transfer.search_contract import NO_REGULARIZER, Choices
from mmx.variants import variant

HeadStrength = Annotated[float, Field(gt=0, le=1e9)]
HeadDecay = Annotated[float, Field(ge=0, le=1e9)]
WITHOUT_PARAMETERS = {"fusion": "fusion=concat", "mapping": "mapping=none", "trunk": "sharing=none"}
"""Part of a model to what to type so that it has no parameters."""


@dataclass(frozen=True)
class FitHead(Phase):
    """Fit only the head to cached features, or train several as one batch, and keep the best.

    Attributes:
        head: The head.
        decays: Values of weight decay for a head that is trained; empty for the optimiser's.
        seeds: How many heads are trained for each weight decay.
    """

    name = "fit_head"
    head: Head
    decays: tuple[float, ...] = ()
    seeds: int = 1


class Feature(Transfer):
    """Takes every encoder of the source unchanged and frozen; fusion and head are fresh.

    A frozen encoder keeps its BatchNorm statistics too. Its features are computed once,
    without augmentation. The encoder of a modality that the source lacks is fresh and
    trained. ``knn``, ``logistic`` and ``closed_form`` are fitted to the cached features,
    without gradient steps, and heads for several ``decays`` or ``head_seeds`` are trained on
    them as one batch; both require all encoders from the source and a fusion without parameters.

    Use it when the target has very few rows, or when many targets share one source: it is the
    fastest mode. To train the encoders too, use ``transfer=parameter``, with
    ``transfer.fusion=encoders_alone`` if everything else should be fresh.

    Args:
        head: ``linear`` and ``mlp`` (one hidden layer) are trained by gradients; ``knn``,
            ``logistic`` and ``closed_form`` (ridge regression) are fitted. See
            :mod:`mmx.transfer.heads`. Your own head is a node with its options,
            ``{_target_: my_package.my_head.MyHead, scale: 2}``.
        normalize: Whether a BatchNorm without scale and shift comes before the head; ``linear``
            and ``mlp``. None: false.
        decays: Values of weight decay to use in place of the optimiser's, of which validation
            chooses one; ``linear`` and ``mlp``. None: the optimiser's.
        head_seeds: How many heads to train for each weight decay, with the run's seed and the
            following ones. They differ in initial weights, the order of rows and dropout. The
            decay is chosen by their mean; the run's head is always that of its own seed, so that
            no head is selected by chance; ``linear`` and ``mlp``. None: 1.
        width: Units of the hidden layer; ``mlp``. None: 256.
        dropout: Probability that a hidden unit is dropped in training; ``mlp``. None: 0.
        k: How many training rows vote; ``knn``. None: 20.
        temperature: The smaller it is, the more the nearest rows count; ``knn``. None: 0.07.
        grid: Values of C (``logistic``) or λ (``closed_form``), of which validation chooses
            one. None: powers of ten, 1e-5 to 1e4 and 1e-5 to 1e3.
        map: Target modality to source modality, for encoders that start from another modality's.
        min_copied: Fraction of an encoder's tensors that must come from the source. If some do,
            all must, since the encoder is frozen.

    Attributes:
        head_alone: Whether only the head is fitted or trained, on cached features.
        chosen: What was typed to choose the head, its decays or its seeds.

    Raises:
        ValueError: An option is given that the head does not read.
    """

    needs = "weights"
    keeps_encoders = True

    def __init__(
        self,
        *,
        head: HeadName | Head = "linear",
        normalize: bool | None = None,
        decays: Annotated[tuple[HeadDecay, ...], Field(min_length=1)] | None = None,
        head_seeds: Annotated[int, Field(ge=1, le=100_000)] | None = None,
        width: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] | None = None,
        k: Annotated[int, Field(ge=1, le=100_000)] | None = None,
        temperature: Annotated[float, Field(gt=0, le=10000)] | None = None,
        grid: Annotated[tuple[HeadStrength, ...], Field(min_length=1)] | None = None,
        map: dict[str, str] | None = None,
        min_copied: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        options = {
            "normalize": normalize,
            "width": width,
            "dropout": dropout,
            "k": k,
            "temperature": temperature,
            "grid": grid,
        }
        # None is "not given", so that an option of another head is noticed even at its default.
        given = {name: value for name, value in options.items() if value is not None}
        name, kind = (head, HEADS[head]) if isinstance(head, str) else _identify_head(head)
        of_training = {"decays": decays and list(decays), "head_seeds": head_seeds}
        _check_readers(name, kind, given, of_training)
        self.head = kind(**given) if isinstance(head, str) else head
        # From strong to weak: of equally good decays validation keeps the first, the strongest.
        self.decays = tuple(sorted(set(decays or ()), reverse=True))
        self.head_seeds = head_seeds or 1
        self.modality_map = map or {}
        self.min_copied = min_copied
        self.head_alone = bool(self.decays) or self.head_seeds > 1 or self.fits
        self.chosen = _name_choice(name, decays or (), self.head_seeds)

    @property
    def fits(self) -> bool:
        """Whether the head is fitted, without gradient steps."""
        return isinstance(self.head, FittedHead)

    @property
    def uses_epochs(self) -> bool:
        """Whether the head is trained; a fitted head takes no gradient steps."""
        return not self.fits

    @property
    def chosen_head(self) -> ChosenHead:
        """The head, by the option that chose it."""
        return ChosenHead(
            typed=f"transfer.{self.chosen}",
            kinds=self.head.kinds,
            plain=self.head == Linear(),
            alone=self.head_alone,
            fitted=self.fits,
            type_for_any_kind="transfer.head=closed_form",
            type_for_plain="transfer.head=linear",
        )

    @property
    def is_linear_probe(self) -> bool:
        """Whether this is a linear probe: frozen encoders and a linear head with its defaults."""
        return not self.head_alone and self.head == Linear()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of a target: training epochs, or a fit of the head alone."""
        if not self.head_alone:
            return (TrainEpochs(),)
        return (FitHead(self.head, self.decays, self.head_seeds),)

    @classmethod
    def search_space(cls, choices: Choices) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each head; a regulariser has no effect on frozen encoders."""
        for head in choices.heads:
            yield NO_REGULARIZER, {"head": head}

    def make_head(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return the chosen head; see :class:`~mmx.transfer.base.Transfer`."""
        return self.head.make(width, outputs, kind)

    def misfits(self, model: nn.Module) -> list[Problem]:
        """Return what would have to train together with a head that needs cached features."""
        names = [name for name, _ in model.named_parameters() if not name.startswith("encoders.")]
        return self.find_trained_outside_head(names, model)

    def find_trained_outside_head(self, trained: Iterable[str], model: nn.Module) -> list[Problem]:
        """Return a problem with the first trained parameter outside the head, if there is one.

        Args:
            trained: Names of parameters that would train.
            model: Their model.
        """
        others = [name for name in trained if not name.startswith("head.")]
        if not self.head_alone or not others:
            return []
        part = others[0].split(".")[0]
        advice = WITHOUT_PARAMETERS.get(part, "transfer.head=linear")
        # A fusion may know a setting of its own that has no parameters.
        if part == "fusion":
            advice = getattr(model.get_submodule(part), "without_parameters", advice)
        return [
            Problem(
                f"transfer.{self.chosen}",
                f"works on cached features, and {others[0]} would have to be trained before them",
                type_this=advice,
            )
        ]

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Copy the encoders, and freeze them."""
        if source is None:
            raise TransferError("feature transfer needs a trained source")
        done = self._copy_encoders(source, model)
        taken = {*done.copied, *done.adapted}
        whole = find_frozen_encoders(model.state_dict(), taken)
        _check_whole(taken, whole)
        # Again as in misfits, now that it is known which encoders are fresh and would train.
        parameters = dict(model.named_parameters())
        for problem in self.find_trained_outside_head(
            (name for name in parameters if name not in taken), model
        ):
            raise TransferError(str(problem))
        return Start(
            report=Report(
                frozen=tuple(sorted(taken)),
                fresh=tuple(name for name in model.state_dict() if name not in taken),
                notes=done.notes,
            ),
            frozen=frozenset(taken & parameters.keys()),
            frozen_encoders=whole,
            phases=self.phases,
        )

    def _copy_encoders(self, source: Source, model: nn.Module) -> Copied:
        """Copy only the encoders, and note which are fresh and why."""
        # copy_fitting sees a source and a model of encoders alone, so that nothing else is copied.
        state = {k: v for k, v in source.state.items() if k.startswith("encoders.")}
        only = nn.Module()
        only.encoders = model.get_submodule("encoders")
        done = copy_fitting(
            Source(state, ()),
            only,
            (),
            {},
            modality_map=self.modality_map,
            min_copied=self.min_copied,
            in_part=False,
        )
        taken = {name.split(".")[1] for name in (*done.copied, *done.adapted)}
        fresh = sorted({name.split(".")[1] for name in done.fresh} - taken)
        theirs = {name.split(".")[1] for name in state}
        notes = tuple(
            f"the {name} encoder is fresh: the source "
            + (f"has another {name} encoder" if name in theirs else f"has no {name}")
            for name in fresh
        )
        return Copied(done.copied, done.adapted, done.fresh, (*done.notes, *notes))


def _check_whole(taken: Collection[str], whole: Collection[str]) -> None:
    """Refuse an encoder that comes only partly from the source.

    Args:
        taken: Names of the tensors that come from the source.
        whole: Modalities with an encoder that comes completely from the source.
    """
    partial = sorted(name for name in taken if name.split(".")[1] not in whole)
    if partial:
        raise TransferError(
            f"the source's {partial[0].split('.')[1]} encoder fits only in part "
            f"({len(partial)} tensors): frozen next to fresh weights it would extract noise",
            tip="use transfer=parameter, or the same encoder options for both tasks",
        )


def _identify_head(head: Head) -> tuple[str, type[Head]]:
    """Return the name and class of a head that was given as a node."""
    return variant(type(head)), type(head)


def _name_choice(head: str, decays: Collection[float], head_seeds: int) -> str:
    """Return what was typed to choose the head, its decays or its seeds."""
    if decays:
        return f"decays=[{','.join(f'{each:g}' for each in decays)}]"
    return f"head_seeds={head_seeds}" if head_seeds > 1 else f"head={head}"


def _check_readers(
    head: str, kind: type[Head], given: dict[str, Any], of_training: dict[str, Any]
) -> None:
    """Refuse options that the chosen head does not read.

    Args:
        head: Its name.
        kind: Its class.
        given: The options of heads that were given.
        of_training: The options of training several heads as one batch; None if not given.
    """

    def reads(option: str, kind: type[Head]) -> bool:
        if option in of_training:
            return kind.batched
        # A head from outside states its options in its own node, not among these.
        return option in {each.name for each in fields(kind)} and kind in HEADS.values()

    for name, value in [*given.items(), *of_training.items()]:
        if value is not None and not reads(name, kind):
            shown = list(value) if isinstance(value, tuple) else value
            readers = [key for key, each in HEADS.items() if reads(name, each)]
            read = " and ".join(f"head={reader}" for reader in readers)
            raise ValueError(f"`{name}` (={shown}) is read by {read}, not by head={head}")
