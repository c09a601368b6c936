"""Parameter transfer (fine-tuning): start from the source's weights and continue training."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from mmx.errors import Problem, TransferError
from mmx.transfer.base import EncoderRate, Source, Start, Transfer
from mmx.transfer.copying import Copied, copy_fitting
from mmx.transfer.depths import (
    Depths,
    count_depths,
    find_depth_problem,
    find_depths,
    find_lowest,
    find_topmost,
)
from mmx.transfer.freezing import PATTERNS, find_frozen_encoders, match_patterns, plan_thawing
from mmx.transfer.interpolated_tensors import LINEAR_HEAD, find_interpolated
from mmx.transfer.norms import find_frozen_buffers, find_parameters, find_statistics
from mmx.transfer.phases import LinearProbe, Phase, Snapshot, TrainEpochs, WiseFT
from mmx.transfer.rates import assign_rates
from mmx.transfer.regularizers.base import ActsOn
from mmx.transfer.search_contract import Choices

RateFactor = Annotated[float, Field(gt=0, le=1000)]
DepthCount = Annotated[int, Field(ge=0, le=1_000_000)]
EVERYTHING: frozenset[ActsOn] = frozenset(
    {"weights", "statistics", "features", "relations", "outputs"}
)


class Parameter(Transfer):
    """Copies what fits: encoders, fusion, and the head's rows of shared classes.

    Use it when the target has enough rows to train the encoders; with few rows, freeze depths or
    add a regulariser. Depths are those of ``encoder.depths()``, and options about depths apply to
    every encoder that starts from the source. Fresh parameters, and everything after the
    encoders, train from the first step on.

    Args:
        freeze: Patterns of names of tensors to freeze as copied (``encoders.image.*``);
            the BatchNorm statistics among them are frozen too.
        freeze_depth: How many depths, from the input on, to freeze as copied, BatchNorm
            statistics included.
        unfreeze_every: Gradual unfreezing (Howard and Ruder 2018, arXiv 1801.06146): encoders
            are frozen at first, and the next depth thaws after each ``unfreeze_every`` epochs,
            from the top down; 0: all train at once.
        copied_rate: Learning rate of copied parameters, as a multiple of the optimiser's.
        head_rate: The same for fresh parameters: head, fusion, encoders that the source lacks.
        layer_decay: Copied encoders learn at ``copied_rate · layer_decay^(K - 1 - d)`` in
            depth d of K, from the input on.
        batch_norm: How copied BatchNorms are treated: their statistics follow the target's
            batches (``train``), are frozen (``eval``), or are frozen together with their
            weights and biases (``frozen``).
        reinitialize: How many depths, from the top, stay fresh (Zhang et al. 2021, arXiv
            2006.05987). Everything after them stays fresh too, since the source trained it on
            other features.
        lp_ft: Linear probing, then fine-tuning (Kumar et al. 2022, arXiv 2202.10054): the head
            is first fitted to frozen features by logistic regression; then everything is trained,
            with frozen BatchNorm statistics.
        wise_ft: After training, the line from the starting weights to the trained ones is
            evaluated at eleven points, on validation and at the end on the test split (Wortsman
            et al. 2022, arXiv 2109.01903). ``curve`` keeps the trained weights, ``best`` the point
            that is best on validation.
        class_map: Source class to target class, for a class with two names.
        fusion: Whether fusion and head are taken too, if they fit; ``auto`` takes them from
            a source of several modalities. A source with one modality then has no fusion to
            give and is trained once for a sweep over fusions. ``encoders_alone`` takes neither
            trunk nor mapping: only encoders are copied.
        map: Target modality to the source modality with the encoder that it starts from.
        min_copied: Fraction of an encoder's tensors that must come from the source, for each
            encoder that has a source encoder to start from. It measures how well the two fit:
            tensors that ``reinitialize`` makes fresh afterwards count as copied.

    Raises:
        ValueError: Two options contradict each other.
    """

    needs = "weights"

    def __init__(
        self,
        *,
        freeze: tuple[str, ...] = (),
        freeze_depth: DepthCount = 0,
        unfreeze_every: DepthCount = 0,
        copied_rate: RateFactor = 1.0,
        head_rate: RateFactor = 1.0,
        layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0,
        batch_norm: Literal["train", "eval", "frozen"] = "train",
        reinitialize: DepthCount = 0,
        lp_ft: bool = False,
        wise_ft: Literal["none", "curve", "best"] = "none",
        class_map: dict[str, str] | None = None,
        fusion: Literal["auto", "encoders_alone"] | bool = "auto",
        map: dict[str, str] | None = None,
        min_copied: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        self.freeze = freeze
        self.freeze_depth = freeze_depth
        self.unfreeze_every = unfreeze_every
        self.copied_rate = copied_rate
        self.head_rate = head_rate
        self.layer_decay = layer_decay
        self.batch_norm = batch_norm
        self.reinitialize = reinitialize
        self.lp_ft = lp_ft
        self.wise_ft = wise_ft
        self.class_map = class_map or {}
        self.fusion = fusion
        self.modality_map: Mapping[str, str] = map or {}
        self.min_copied = min_copied
        _refuse_contradictions(self)

    @property
    def regularizable(self) -> frozenset[ActsOn]:
        """Everything may be regularised; statistics only if they are not frozen."""
        return EVERYTHING - {"statistics"} if self._keeps_statistics else EVERYTHING

    @property
    def encoder_rate(self) -> EncoderRate:
        """The topmost depth of a copied encoder trains at ``copied_rate``."""
        return EncoderRate(self.copied_rate, "transfer.copied_rate")

    @classmethod
    def search_space(cls, choices: Choices) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each regulariser with each rate of copied parameters and each frozen depth."""
        # The last list varies fastest: all depths of the first rate come before the second rate.
        for name, rate, depth in product(choices.regularizers, choices.rates, choices.depths):
            yield name, {"freeze_depth": depth, "copied_rate": float(rate)}

    @property
    def _keeps_statistics(self) -> bool:
        """Whether copied BatchNorm statistics are frozen."""
        return self.lp_ft or self.batch_norm != "train"

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return whether the source is trained with the target's fusion."""
        if self.fusion == "auto":
            return len(modalities) > 1 and not self.reinitialize
        return self.fusion is True

    def unmatched_patterns(self, tensors: Sequence[str]) -> list[tuple[str, str]]:
        """Return the patterns of ``freeze`` that match nothing."""
        return [
            ("freeze", pattern)
            for pattern in self.freeze
            if not any(fnmatchcase(name, pattern) for name in tensors)
        ]

    def misfits(self, model: nn.Module) -> list[Problem]:
        """Return what no source could make right: too few depths, no linear head, no line."""
        counts = {name: len(layers) for name, layers in find_depths(model).items()}
        # Options that fit the deepest encoder may fit: which encoders are copied is not known yet.
        deepest = max(counts, key=lambda name: counts[name])
        found = [
            self._depth_problem({deepest: counts[deepest]}),
            *self._find_problems_behind_encoders(model),
        ]
        return [problem for problem in found if problem is not None]

    def _depth_problem(self, counts: Mapping[str, int]) -> Problem | None:
        return find_depth_problem(
            counts,
            freeze_depth=self.freeze_depth,
            reinitialize=self.reinitialize,
            unfreeze_every=self.unfreeze_every,
        )

    def _find_problems_behind_encoders(self, model: nn.Module) -> list[Problem]:
        """Return problems of options that the model's fusion or head does not allow."""
        found = []
        if self.lp_ft and tuple(getattr(model, "label_tensors", ())) != LINEAR_HEAD:
            found.append(
                Problem(
                    "transfer.lp_ft=true",
                    "fits a linear head, and this model has none: its fusion decides by itself",
                    type_this="transfer.lp_ft=false   (or a fusion of features: fusion=concat)",
                )
            )
        if self.wise_ft != "none" and getattr(getattr(model, "fusion", None), "settles", False):
            found.append(
                Problem(
                    f"transfer.wise_ft={self.wise_ft}",
                    "a part of this fusion is fitted after training, for the trained weights "
                    "alone: at any other point of the line it would be wrong",
                    type_this="transfer.wise_ft=none   (or fusion=concat)",
                )
            )
        return found

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Copy what fits; freeze, and set learning rates, as the options say."""
        if source is None:
            raise TransferError("parameter transfer needs a trained source")
        for problem in self._find_problems_behind_encoders(model):  # the first one, if any
            raise _make_error(problem)
        done, depths = self._copy(source, model, classes)
        from_source = {*done.copied, *done.adapted}
        # Names of the state, buffers included; only parameters can be frozen, thaw or have a rate.
        parameters = dict(model.named_parameters()).keys()
        frozen, frozen_statistics = self._find_frozen(model, from_source, depths)
        waiting = (from_source & parameters) - frozen if self.unfreeze_every else set()
        thaw = plan_thawing(depths, waiting, self.unfreeze_every)
        self._check_something_trains(parameters - frozen, thaw)
        line: set[str] = set()
        of_line: tuple[str, ...] = ()
        if self.wise_ft != "none":
            line, of_line = find_interpolated(model, done, frozen, len(classes), probed=self.lp_ft)
        notes = (*self._notes(model, done, depths, frozen_statistics), *of_line)
        return Start(
            report=done.report(frozen, notes),
            frozen=frozenset(frozen & parameters),
            frozen_encoders=find_frozen_encoders(model.state_dict(), frozen),
            rates=assign_rates(
                (from_source & parameters) - frozen,
                parameters - from_source,
                depths,
                copied_rate=self.copied_rate,
                head_rate=self.head_rate,
                layer_decay=self.layer_decay,
            ),
            thaw=thaw,
            frozen_statistics=frozenset(frozen_statistics),
            phases=self._phases(frozenset(line)),
        )

    def _phases(self, line: frozenset[str]) -> tuple[Phase, ...]:
        """Return the phases of the stage, given the tensors on the line of ``wise_ft``."""
        probe = (LinearProbe(),) if self.lp_ft else ()
        if self.wise_ft == "none":
            return (*probe, TrainEpochs())
        return (*probe, Snapshot(line), TrainEpochs(), WiseFT(keep_best=self.wise_ft == "best"))

    def _copy(
        self, source: Source, model: nn.Module, classes: tuple[str, ...]
    ) -> tuple[Copied, Depths]:
        """Copy what fits and is wanted; return it, and the depths of the copied encoders."""
        # Kept to be restored below: drawing again would take other numbers from the generator.
        drawn = {k: v.clone() for k, v in model.state_dict().items()} if self.reinitialize else {}
        done = copy_fitting(
            self._select_source(source),
            model,
            classes,
            self.class_map,
            modality_map=self.modality_map,
            min_copied=self.min_copied,
        )
        taken = {*done.copied, *done.adapted}
        depths = {
            modality: layers
            for modality, layers in find_depths(model).items()
            if any(name in taken for names in layers for name in names)
        }
        counts = {modality: len(layers) for modality, layers in depths.items()}
        if (problem := self._depth_problem(counts)) is not None:
            raise _make_error(problem)
        # Copied first and then restored, so that min_copied counts the whole encoder.
        redrawn = find_topmost(depths, self.reinitialize)
        with torch.no_grad():
            for name in redrawn:
                # in place: state_dict shares memory with the parameters
                model.state_dict()[name].copy_(drawn[name])
        return _mark_fresh(done, redrawn, list(model.state_dict())), depths

    def _select_source(self, source: Source) -> Source:
        """Return the source without the tensors that the options leave fresh."""
        # lp_ft fits its own head; without the source's fusion its head has no meaning either.
        left: tuple[str, ...] = ("head.",) if self.lp_ft else ()
        if self.fusion is False:
            left += ("fusion.", "head.")
        if self.reinitialize:
            left += ("trunk.", "mapping.", "fusion.", "head.")
        wanted = "encoders." if self.fusion == "encoders_alone" else ""
        state = {
            name: value
            for name, value in source.state.items()
            if name.startswith(wanted) and not name.startswith(left)
        }
        return Source(state, source.classes)

    def _find_frozen(
        self, model: nn.Module, from_source: set[str], depths: Depths
    ) -> tuple[set[str], set[str]]:
        """Return the names of frozen tensors, and of modules with frozen statistics."""
        frozen = match_patterns(self.freeze, list(model.state_dict()), from_source)
        frozen |= find_lowest(depths, self.freeze_depth) & from_source
        # Modules with statistics that all come from the source.
        copied = {
            module: names
            for module, names in find_statistics(model).items()
            if from_source.issuperset(names)
        }
        if self.batch_norm == "frozen":
            frozen |= find_parameters(model, copied) & from_source
        # One frozen statistic of a module freezes them all: its mean and variance belong together.
        frozen_statistics = {
            module
            for module, names in copied.items()
            if self._keeps_statistics or frozen & set(names)
        }
        frozen |= {name for module in frozen_statistics for name in copied[module]}
        # Training puts modules without a trainable parameter into evaluation mode: the remaining
        # buffers of such modules do not change either.
        return frozen | (find_frozen_buffers(model, frozen) & from_source), frozen_statistics

    def _check_something_trains(self, trained: set[str], thaw: Mapping[str, int]) -> None:
        """Refuse a training in which nothing trains, ever or in the first epoch."""
        if not trained:
            given = [f"transfer.freeze={','.join(self.freeze)}"] if self.freeze else []
            given += [f"transfer.freeze_depth={self.freeze_depth}"] if self.freeze_depth else []
            raise TransferError(f"{' '.join(given)} leaves nothing to train", tip=PATTERNS)
        if self.unfreeze_every and not thaw:
            raise TransferError(
                f"transfer.unfreeze_every={self.unfreeze_every}: nothing is left to thaw",
                tip="transfer.unfreeze_every=0",
            )
        # Everything that trains waits for a later epoch: the first one would change nothing.
        if trained <= thaw.keys():
            raise TransferError(
                f"transfer.unfreeze_every={self.unfreeze_every} leaves nothing to train in the "
                "first epoch",
                tip="leave the head out of transfer.freeze, or transfer.unfreeze_every=0",
            )

    def _notes(
        self, model: nn.Module, done: Copied, depths: Depths, frozen_statistics: set[str]
    ) -> list[str]:
        """Return notes on what the options did in this model."""
        notes = []
        fresh = {*done.fresh} & dict(model.named_parameters()).keys()
        for modality, layers in depths.items():
            # freeze_depth freezes what came from the source; the rest of a frozen depth trains.
            partly = sorted(fresh & find_lowest({modality: layers}, self.freeze_depth))
            notes += [f"{name} is fresh and trains, in a frozen depth" for name in partly[:1]]
            if self.reinitialize:
                notes.append(
                    f"the topmost {self.reinitialize} of {count_depths(len(layers))} of the "
                    f"{modality} encoder are fresh, and so is everything after the encoders"
                )
        if self._keeps_statistics and not frozen_statistics:
            given = "lp_ft" if self.lp_ft else f"batch_norm={self.batch_norm}"
            notes.append(f"{given}: nothing that was copied has batch statistics")
        if self.layer_decay < 1 and all(len(layers) == 1 for layers in depths.values()):
            notes.append("layer_decay: the copied encoders have one depth: nothing is slower")
        below = sorted(name for name in fresh if not name.startswith(("head.", "criterion.")))
        if self.lp_ft and below:
            notes.append(
                f"lp_ft: {len(below)} fresh tensors ({below[0]}, …) take part in the features "
                "that the head is fitted to"
            )
        return notes


def _mark_fresh(done: Copied, redrawn: set[str], names: list[str]) -> Copied:
    """Return where tensors come from, with some of the copied ones fresh again."""
    copied = tuple(name for name in done.copied if name not in redrawn)
    adapted = tuple(name for name in done.adapted if name not in redrawn)
    fresh = tuple(name for name in names if name not in {*copied, *adapted})
    return Copied(copied, adapted, fresh, done.notes, done.classes)


def _refuse_contradictions(options: Parameter) -> None:
    """Refuse options that contradict each other."""
    if options.lp_ft and options.unfreeze_every:
        raise ValueError(
            f"`lp_ft` (=true) trains all at once on a fitted head, `unfreeze_every` "
            f"(={options.unfreeze_every}) one depth after the other: set "
            "transfer.lp_ft=false or transfer.unfreeze_every=0"
        )
    if options.lp_ft and options.reinitialize:
        raise ValueError(
            "`lp_ft` (=true) fits the head to the source's features, of which `reinitialize` "
            f"(={options.reinitialize}) leaves noise: set transfer.lp_ft=false or "
            "transfer.reinitialize=0"
        )
    if options.fusion is True and options.reinitialize:
        raise ValueError(
            "`fusion` (=true) takes what the source learned on features of which "
            f"`reinitialize` (={options.reinitialize}) leaves noise: set transfer.fusion=false "
            "or transfer.reinitialize=0"
        )


def _make_error(problem: Problem) -> TransferError:
    return TransferError(f"{problem.given}: {problem.reason}", tip=problem.type_this)
