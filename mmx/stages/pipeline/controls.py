"""The controls of a run: what the target is compared with, trained with its budget.

Shape legend: ``N`` rows, ``C`` outputs.

    scratch       the target's model, fresh: same data, draws and trainer
    unimodal      that, on each of the target's modalities alone; validation chooses which counts
    linear_probe  the source's encoders frozen, a linear head on their concatenated features
    majority      the training rows' most frequent class (label by label, or the mean)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any, cast

import torch
from torch import Tensor

from mmx.errors import DataError, TransferError
from mmx.evaluation.metrics import measure, score
from mmx.evaluation.predict import predict
from mmx.evaluation.subsets import compute_prior
from mmx.experiment.parts import RoleParts
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.objectives import Criterion
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Opened, Specs, Trained
from mmx.stages.core.data import open_task
from mmx.stages.core.model import make_model
from mmx.stages.core.stage import Stage, TrainedSource
from mmx.stages.pipeline.train import train
from mmx.training.data import Rows
from mmx.training.recipe import Epoch
from mmx.transfer import Source
from mmx.transfer.feature import Feature
from mmx.transfer.scratch import Scratch

FRESH = (
    "control scratch: the architecture is the source's and every weight of the run is fresh, the "
    "same as from scratch: the gain is nothing by construction; transfer.sparsity=magnitude takes "
    "the source's pattern along"
)
PROBE = (
    "control linear_probe: the run itself is a linear head on the source's frozen encoders: the "
    "gain over this control is nothing by construction"
)

Answers = Callable[[Rows], Tensor]
"""Some of the target's rows to outputs ``(N, C)`` on the CPU."""


@dataclass(frozen=True)
class Control:
    """One control, ready to be compared with.

    Attributes:
        name: scratch, unimodal, linear_probe or majority.
        answers: What it says of the target's rows.
        criterion: The objective that measures it.
        val: Metrics of all validation rows.
        seconds: Of training; what another stage had trained already costs nothing.
        history: What validation said after each epoch; None where nothing was trained, or
            validation left out rows.
        facts: What else the summary says of it.
        notes: What a reader should know.
    """

    name: str
    answers: Answers
    criterion: Criterion
    val: dict[str, float]
    seconds: float = 0.0
    history: Sequence[Epoch] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether it had a budget to spend."""
        return self.name != "majority"


class Controls:
    """Trains what a run is compared with; what two controls have in common, once.

    Args:
        context: Of the run.
        opened: The target, as the target stage read it.
        source_specs: What the source taught of how to read it.
        given: The trained source; None where there is none.
    """

    def __init__(
        self, context: Context, opened: Opened, source_specs: Specs, given: TrainedSource | None
    ) -> None:
        self.context, self.as_target, self.given = context, opened, given
        self.source_specs = source_specs
        self._opened: Opened | None = None
        self._scratch: Trained | None = None

    def check(self, source: Source) -> None:
        """Refuse a linear probe that cannot start, before anything is trained.

        Args:
            source: What the source would give; trained or not, its names and shapes decide.

        Raises:
            TransferError: The source's encoders do not fit the target's.
        """
        if "linear_probe" not in self.context.experiment.controls:
            return
        probing, probe, target = self._probing(), self._probe(), self.as_target.task.target
        model = make_model(probing.experiment, Role.CONTROL, self.as_target.specs, target, probe)
        try:
            probe.start(source, model, target.classes)
        except TransferError as error:
            raise TransferError(
                f"control linear_probe: {error.message}",
                tip="leave linear_probe out of control=…, or make the encoders alike",
            ) from error

    def train(self, target: Trained) -> list[Control]:
        """Return the run's controls, in the order they were asked for."""
        makers: dict[str, Callable[[], Control]] = {
            "scratch": self._from_scratch,
            "unimodal": partial(self._unimodal, target),
            "linear_probe": self._linear_probe,
            "majority": partial(self._majority, target),
        }
        return [makers[name]() for name in self.context.experiment.controls]

    @property
    def opened(self) -> Opened:
        """The target, read as it would be if there were no source."""
        if self._opened is None:
            specs = self.as_target.specs
            learned = any(spec is self.source_specs.get(name) for name, spec in specs.items())
            modalities = self.context.experiment.modalities[Role.TARGET]
            task = self.as_target.task
            self._opened = (
                open_task(self.context, task, modalities, {}) if learned else self.as_target
            )
        return self._opened

    def _scratch_stage(self) -> Trained:
        if self._scratch is None:
            self._scratch = train(self.context, Stage(StageId.CONTROL, self.opened, Scratch()))
        return self._scratch

    def _from_scratch(self) -> Control:
        found = self._whole("scratch", self._scratch_stage())
        run = self.context.experiment
        fresh = run.transfer.needs == "architecture" and run.regularizer is None
        # Where the source's vocabularies and columns are taken, the target is read otherwise.
        return replace(found, notes=(FRESH,)) if fresh and self.opened is self.as_target else found

    def _whole(self, name: str, trained: Trained) -> Control:
        """Return a control that answers every row by its model."""
        return Control(
            name,
            partial(_predicted, self.context, trained),
            trained.criterion,
            trained.fitted.val,
            trained.fitted.seconds,
            trained.fitted.history,
        )

    def _linear_probe(self) -> Control:
        stage = Stage(
            StageId(Role.CONTROL, "linear_probe"), self.as_target, self._probe(), self.given
        )
        trained = train(self._probing(), stage)
        notes = tuple(f"control linear_probe: {note}" for note in trained.report.notes)
        notes += (PROBE,) if self._is_probe() else ()
        return replace(self._whole("linear_probe", trained), notes=notes)

    def _probe(self) -> Feature:
        """Return the transfer of the probe; an encoder may start from another modality's."""
        return Feature(map=dict(self.context.experiment.transfer.modality_map) or None)

    def _is_probe(self) -> bool:
        """Return whether the run itself is a linear probe."""
        run = self.context.experiment
        fusion, usual = run.role(Role.TARGET).fusion, signature(Concat).parameters
        return (
            run.transfer.is_linear_probe
            and cast("object", fusion.func) is Concat
            and all(usual[name].default == value for name, value in fusion.keywords.items())
            and run.parts.sharing is None
            and run.parts.mapping is None
            and run.settings.match == "none"
        )

    def _probing(self) -> Context:
        """Return the run's context with nothing between encoders and head that is trained."""
        experiment = self.context.experiment
        fusion = cast("partial[Fusion]", partial(Concat))
        role = RoleParts(fusion, experiment.roles[Role.TARGET].objective, own_fusion=False)
        plain = replace(
            experiment,
            roles={**experiment.roles, Role.TARGET: role},
            parts=replace(experiment.parts, sharing=None, mapping=None),
            config={**experiment.config, "sharing": {}, "mapping": {}},
        )
        return replace(self.context, experiment=plain)

    def _majority(self, target: Trained) -> Control:
        always = self._prior()

        def answers(rows: Rows) -> Tensor:
            return always.repeat(len(rows), 1)

        val = self._measured(answers, target.criterion)
        return Control("majority", answers, target.criterion, val)

    def _prior(self) -> Tensor:
        """Return the ``(C,)`` outputs that say what the training rows say on the whole."""
        data = self.opened.data
        values = data.target[torch.from_numpy(data.rows("train")).to(data.device)].cpu()
        return compute_prior(values, self.opened.task.target)

    def _unimodal(self, target: Trained) -> Control:
        """Train each modality alone, and return the one that is best on validation."""
        names = sorted(self.opened.specs)
        if len(names) == 1:
            return self._only(names[0], target)
        found, notes = {}, []
        for name in names:
            self.context.note(StageId.CONTROL, f"unimodal: {name} alone")
            try:
                found[name] = self._alone(name)
            except DataError as error:
                notes.append(f"control unimodal: {error.message}")
        if not found:
            raise DataError("; ".join(notes), tip="leave unimodal out of control=…")
        of = score(self.opened.task.target.kind)
        best = max(found, key=lambda name: of(found[name].val))
        for name, each in found.items():
            notes.extend(each.notes if name == best else ())
        return replace(
            found[best],
            seconds=sum(each.seconds for each in found.values()),
            facts={
                "modality": best,
                "candidates": {name: {"val": each.val} for name, each in found.items()},
            },
            notes=tuple(notes),
        )

    def _only(self, name: str, target: Trained) -> Control:
        """Return the control of a target with one modality: there is nothing to leave out."""
        own = self.context.experiment.source is None
        trained = target if own else self._scratch_stage()
        again = "scratch" in self.context.experiment.controls or own
        same = "the run itself" if own else "the scratch control"
        return replace(
            self._whole("unimodal", trained),
            seconds=0.0 if again else trained.fitted.seconds,
            facts={"modality": name, "candidates": {name: {"val": trained.fitted.val}}},
            notes=(f"control unimodal: the target has {name} alone, so it is {same}",),
        )

    def _alone(self, name: str) -> Control:
        """Train one modality alone.

        Rows that lack it teach nothing and are left out; in validation and test they are
        answered by the training rows' prior, so that all modalities answer the same rows.

        Raises:
            DataError: No row to train on or to validate has it.
        """
        opened, data = self.opened, self.opened.data.showing(name)
        lacking: dict[str, int] = {}
        for split in ("train", "val"):
            rows = data.rows(split)
            here = data.complete(rows)
            if not len(here):
                raise DataError(f"no {split} row has {name}: it cannot be trained alone")
            lacking[split] = len(rows) - len(here)
            data = data.only(split, here)
        alone = replace(opened, data=data, specs={name: opened.specs[name]}, notes=())
        trained = train(
            self.context, Stage(StageId(Role.CONTROL, f"unimodal-{name}"), alone, Scratch())
        )
        always = self._prior()

        def answers(rows: Rows) -> Tensor:
            outputs = always.repeat(len(rows), 1)
            seen = data.present(name, rows)
            if seen.any():
                said = _predicted(self.context, trained, rows[seen])
                outputs[torch.from_numpy(seen)] = said
            return outputs

        val = trained.fitted.val
        if lacking["val"]:
            val = self._measured(answers, trained.criterion)
        return Control(
            "unimodal",
            answers,
            trained.criterion,
            val,
            trained.fitted.seconds,
            None if lacking["val"] else trained.fitted.history,
            notes=(
                f"control unimodal: {lacking['train']} of {len(opened.data.rows('train'))} "
                f"training rows have no {name} and are left out",
            )
            if lacking["train"]
            else (),
        )

    def _measured(self, answers: Answers, criterion: Criterion) -> dict[str, float]:
        """Return the metrics of all validation rows."""
        data = self.opened.data
        rows = data.rows("val")
        values = data.truth(rows)
        target = self.as_target.task.target
        return measure(answers(rows), values, target, criterion.task_loss)


def _predicted(context: Context, trained: Trained, rows: Rows) -> Tensor:
    """Return a model's outputs; its own data has the features of its frozen encoders."""
    return predict(trained.model, trained.data, rows, context.precision)[0]
