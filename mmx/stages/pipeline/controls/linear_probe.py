"""A linear head on the concatenated features of the source's frozen encoders."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from inspect import signature
from typing import cast

from mmx.errors import TransferError
from mmx.experiment import Experiment
from mmx.experiment.parts import RoleParts
from mmx.fusion import Fusion
from mmx.fusion.concat import Concat
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Trained
from mmx.stages.core.stage import Stage
from mmx.stages.core.stage_model import make_meta_model
from mmx.stages.pipeline.controls.base import ControlTrainer, TrainedControl
from mmx.stages.pipeline.train import train_stage
from mmx.transfer import Source
from mmx.transfer.feature import Feature

SAME = (
    "control linear_probe: the run itself is a linear head on the source's frozen encoders: the "
    "gain over this control is nothing by construction"
)


class LinearProbeTrainer(ControlTrainer):
    """Trains feature transfer with a linear head, whatever the run's transfer and fusion."""

    @property
    def transfer(self) -> Feature:
        """The transfer of the probe; an encoder may start from another modality's."""
        return Feature(map=dict(self.context.experiment.transfer.modality_map) or None)

    def check(self, source: Source) -> None:
        """Refuse a source whose encoders do not fit the target's; see ControlTrainer."""
        probing, transfer, opened = _plain(self.context), self.transfer, self.bench.as_target
        target = opened.task.target
        model = make_meta_model(probing.experiment, Role.CONTROL, opened.specs, target, transfer)
        try:
            transfer.start(source, model, target.classes)
        except TransferError as error:
            raise TransferError(
                f"control {self.name}: {error.message}",
                tip=f"leave {self.name} out of control=…, or make the encoders alike",
            ) from error

    def train(self, target: Trained) -> TrainedControl:
        """Return the control; see :class:`~mmx.stages.pipeline.controls.base.ControlTrainer`."""
        bench, id = self.bench, StageId(Role.CONTROL, self.name)
        stage = Stage(id, bench.as_target, self.transfer, bench.given)
        trained = train_stage(_plain(self.context), stage)
        notes = tuple(f"control {self.name}: {note}" for note in trained.report.notes)
        notes += (SAME,) if _is_linear_probe(self.context.experiment) else ()
        found = TrainedControl.of(self.name, self.context, trained)
        return replace(found, notes=(*found.notes, *notes))


def _plain(context: Context) -> Context:
    """Return a run's context without sharing and mapping, and with plain concatenation."""
    experiment = context.experiment
    fusion = cast("partial[Fusion]", partial(Concat))
    role = RoleParts(fusion, experiment.roles[Role.TARGET].objective, own_fusion=False)
    plain = replace(
        experiment,
        roles={**experiment.roles, Role.TARGET: role},
        parts=replace(experiment.parts, sharing=None, mapping=None),
        config={**experiment.config, "sharing": {}, "mapping": {}},
    )
    return replace(context, experiment=plain)


def _is_linear_probe(run: Experiment) -> bool:
    """Return whether a run itself is a linear probe."""
    fusion, usual = run.role(Role.TARGET).fusion, signature(Concat).parameters
    return (
        run.transfer.is_linear_probe
        and cast("object", fusion.func) is Concat
        and all(usual[name].default == value for name, value in fusion.keywords.items())
        and run.parts.sharing is None
        and run.parts.mapping is None
        and run.settings.match == "none"
    )
