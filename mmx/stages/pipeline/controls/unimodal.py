"""The target's model on each of its modalities alone; validation chooses which one counts.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mmx.controls import find_control
from mmx.errors import DataError
from mmx.evaluation.metrics import make_score
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Trained
from mmx.stages.core.stage import Stage
from mmx.stages.pipeline.controls.base import ControlTrainer, TrainedControl, predict_rows
from mmx.stages.pipeline.train import train_stage
from mmx.training.data import Data, Rows
from mmx.transfer.scratch import Scratch


class UnimodalTrainer(ControlTrainer):
    """Trains each modality alone, from scratch."""

    def train(self, target: Trained) -> TrainedControl:
        """Return the modality that is best on validation; see ControlTrainer.

        Raises:
            DataError: No modality can be trained alone.
        """
        names = sorted(self.bench.opened.specs)
        if len(names) == 1:
            return self._reuse(names[0], target)
        found, notes = {}, []
        for name in names:
            self.context.note(StageId.CONTROL, f"{self.name}: {name} alone")
            try:
                found[name] = self._train_alone(name)
            except DataError as error:
                notes.append(f"control {self.name}: {error.message}")
        if not found:
            raise DataError("; ".join(notes), tip=f"leave {self.name} out of control=…")
        value = make_score(self.bench.opened.task.target.kind, self.context.experiment.metric)
        best = max(found, key=lambda name: value(found[name].val))
        candidates = {name: {"val": each.val} for name, each in found.items()}
        return replace(
            found[best],
            seconds=sum(each.seconds for each in found.values()),
            facts={"modality": best, "candidates": candidates},
            notes=(*notes, *found[best].notes),
        )

    def _reuse(self, name: str, target: Trained) -> TrainedControl:
        """Return the control of a target with one modality: there is nothing to leave out."""
        experiment = self.context.experiment
        own = not experiment.has_source
        trained = target if own else self.bench.from_scratch
        again = own or any(find_control(each).without_source for each in experiment.controls)
        same = "the run itself" if own else "the scratch control"
        return replace(
            TrainedControl.of(self.name, self.context, trained),
            seconds=0.0 if again else trained.fitted.seconds,
            facts={"modality": name, "candidates": {name: {"val": trained.fitted.val}}},
            notes=(f"control {self.name}: the target has {name} alone, so it is {same}",),
        )

    def _train_alone(self, name: str) -> TrainedControl:
        """Train one modality alone.

        Training rows that lack it are left out. In validation and test such rows are answered by
        the prior of the training rows, so that all modalities are measured on the same rows.

        Raises:
            DataError: No row to train on or to validate has it.
        """
        opened, prior = self.bench.opened, self.bench.prior
        data, lacking = _select_rows(opened.data.select_modality(name), name)
        alone = replace(opened, data=data, specs={name: opened.specs[name]}, notes=())
        id = StageId(Role.CONTROL, f"{self.name}-{name}")
        trained = train_stage(self.context, Stage(id, alone, Scratch()))

        def answers(rows: Rows) -> Tensor:
            outputs = prior.repeat(len(rows), 1)
            seen = data.present(name, rows)
            if seen.any():
                outputs[torch.from_numpy(seen)] = predict_rows(self.context, trained, rows[seen])
            return outputs

        found = replace(TrainedControl.of(self.name, self.context, trained), answers=answers)
        if lacking["val"]:
            val = self.bench.validate(answers, trained.criterion)
            found = replace(found, val=val, history=None)
        if lacking["train"]:
            note = (
                f"control {self.name}: {lacking['train']} of {len(opened.data.rows('train'))} "
                f"training rows have no {name} and are left out"
            )
            found = replace(found, notes=(*found.notes, note))
        return found


def _select_rows(data: Data, name: str) -> tuple[Data, dict[str, int]]:
    """Return data without the rows that lack a modality, and how many of each split did.

    Raises:
        DataError: No row of a split has it.
    """
    lacking: dict[str, int] = {}
    for split in ("train", "val"):
        rows = data.rows(split)
        here = data.find_complete(rows)
        if not len(here):
            raise DataError(f"no {split} row has {name}: it cannot be trained alone")
        lacking[split] = len(rows) - len(here)
        data = data.restrict_split(split, here)
    return data, lacking
