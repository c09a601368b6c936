"""The training loop.

Shape legend: ``B`` batch, ``C`` outputs.

One step: seed the generators from the step number, gather a batch, forward under autocast,
backward, clip, update. Validation follows each epoch and selects the best weights. The state
is saved between steps, so that a resumed run takes exactly the steps that are left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from mmx.errors import DivergedError, MemoryExceededError
from mmx.modalities import Batch
from mmx.model import set_encoders_aside, set_training_mode
from mmx.processes import current_group
from mmx.training import checkpoint, saved_state
from mmx.training.collapse import Vitals, find_collapsed, gradient_norms
from mmx.training.data import Rows, make_batches
from mmx.training.events import Event, EventKind, Listener, StopRequest
from mmx.training.gradient_check import GradientCheck
from mmx.training.loss import BatchLoss
from mmx.training.memory import MACHINE, is_out_of_memory, name_full_memory
from mmx.training.optimizer import make_parameter_groups, set_rates, warmup_cosine
from mmx.training.randomness import leave_new_memory_as_it_is, seed_torch
from mmx.training.recipe import FitResult, Progress, Recipe, Validation
from mmx.training.trainer import Trainer
from mmx.training.weighing import SOURCE, Weighing
from mmx.transfer import Start

JointLosses = Iterator[Iterator[tuple[Tensor, Batch]]]
"""For each step, the source's losses and batches in joint training."""

FETCH_EVERY = 10
"""Steps between two reads of the losses, since each read waits for the device."""


def fit(
    loss_of: BatchLoss,
    start: Start,
    recipe: Recipe,
    listen: Listener,
    stop: StopRequest,
) -> FitResult:
    """Train the model of ``loss_of`` in place; it ends with the weights of the best epoch.

    Continues from the state at ``recipe.state_path`` if there is one; see
    :mod:`mmx.training.saved_state`.

    Raises:
        DivergedError: A loss is NaN or infinite.
        DeadParameterError: A trainable parameter got no gradient.
        MemoryExceededError: The device has too little memory for this batch size.
        Interrupted: A signal asked to stop, or the budget is used up; the state is saved.
    """
    with (
        set_encoders_aside(loss_of.model, loss_of.data.extracted),
        loss_of.share_norms(over_processes=recipe.trainer.sync_batch_norm),
    ):
        run = _Run(loss_of, start, recipe, listen)
        first = run.progress.epochs
        try:
            while not run.is_over:
                # An operator that reads memory before it is written shows itself in an epoch.
                with leave_new_memory_as_it_is(when=run.progress.epochs > first):
                    run.train_epoch(run.progress.epochs, stop)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise out_of_memory_error(recipe, name_full_memory(error)) from error
        return run.finish()


def count_steps_per_epoch(rows: Rows, trainer: Trainer) -> int:
    """Return the number of optimiser steps in an epoch."""
    batches = make_batches(rows, trainer.batch_size, trainer.accumulate)
    return math.ceil(len(batches) / trainer.accumulate)


def out_of_memory_error(recipe: Recipe, device: str) -> MemoryExceededError:
    """Return the error for a full device, with a smaller batch size to type."""
    size, accumulate = recipe.trainer.batch_size, recipe.trainer.accumulate
    fits = (
        f"trainer.batch_size={size // 2} trainer.accumulate={accumulate * 2} takes the same steps "
        "with half the memory"
    )
    tip = fits if size > 1 else "choose a smaller encoder, or smaller inputs"
    return MemoryExceededError(
        f"{device} is out of memory in stage {recipe.stage} at trainer.batch_size={size}",
        tip=f"{tip}; in a sweep also jobs=1" if device == MACHINE else tip,
    )


def _hold_zeros(parameter: torch.nn.Parameter, mask: Tensor) -> None:
    """Keep the weights outside a mask at zero: their gradients are multiplied by 0."""
    mask = mask.to(parameter.device)
    parameter.register_hook(lambda gradient: gradient * mask)  # type: ignore[no-untyped-call]


class _Run:
    """The training of one stage under way; :func:`fit` is its outline."""

    def __init__(
        self,
        loss_of: BatchLoss,
        start: Start,
        recipe: Recipe,
        listen: Listener,
    ) -> None:
        self.loss_of, self.start, self.recipe, self.listen = loss_of, start, recipe, listen
        self.model = model = loss_of.model
        self.data = data = loss_of.data
        self.steps_per_epoch = count_steps_per_epoch(data.rows("train"), recipe.trainer)
        self.total = recipe.trainer.epochs * self.steps_per_epoch
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name not in start.frozen)
            if name in start.masks:
                _hold_zeros(parameter, start.masks[name])
        groups = make_parameter_groups(  # with those that thaw later
            model, recipe.optimizer, start.rates, decay=start.weight_decay
        )
        self.optimizer = recipe.optimizer.make(groups, data.device)
        self.scaler = recipe.precision.scaler()
        self.weighing = Weighing(recipe.joint)
        # The gradient that is clipped excludes the weights of the two tasks' losses.
        self.trainable = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and not name.startswith("weighting.")
        ]
        self.group = current_group()
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []
        self.penalties: list[Tensor] = []
        self.gradients: dict[str, list[Tensor]] = {}
        self.samples = 0
        first = [name for name in self._parameter_names() if name not in start.frozen_in(0)]
        self.gradient_check = GradientCheck(model, recipe.stage, first)
        for text in saved_state.resume(recipe.state_path, self._load):
            self.listen(Event(EventKind.NOTE, recipe.stage, text=text))
        self.group.require_equal(model.state_dict(), f"before stage {recipe.stage} trains")
        self.saved_at = self.mark = time.perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        patience = self.recipe.trainer.patience
        exhausted = patience is not None and self.progress.bad_epochs >= patience
        return exhausted or self.progress.epochs >= self.recipe.trainer.epochs

    def train_epoch(self, epoch: int, stop: StopRequest) -> None:
        """Take the remaining steps of an epoch, and validate.

        Raises:
            Interrupted: A signal asked to stop; the state is saved.
        """
        for step_rows, batches, joint in self.epoch(epoch):
            self.step(step_rows, batches, joint)
            if (reason := self.group.agree(stop.reason)) is not None:  # all of them, or none
                self.save()
                where = f"stopped in stage {self.recipe.stage} after step {self.progress.step}"
                raise stop.describe(f"{where} of {self.total}", reason)
            self.save_if_due()
        self.validate(epoch)

    def epoch(self, epoch: int) -> Iterator[tuple[list[Rows], list[Any], JointLosses]]:
        """Yield the remaining steps of an epoch.

        Each is its batches of rows, this process's share of them with their stored values, and
        the losses of joint training.
        """
        recipe = self.recipe
        self._thaw(epoch)
        size, accumulate = recipe.trainer.batch_size, recipe.trainer.accumulate
        order = self.loss_of.order_rows(self.data.rows("train"), recipe.seed, recipe.draws, epoch)
        # A run that resumes within an epoch draws the same order and skips the steps taken.
        done = self.progress.step - epoch * self.steps_per_epoch
        batches = make_batches(order, size, accumulate)[done * accumulate :]
        groups = [batches[at : at + accumulate] for at in range(0, len(batches), accumulate)]
        self.mark, self.samples = time.perf_counter(), 0
        share = self.group.share
        stored = self.data.batches([rows for group in groups for rows in share(group)])
        joint: JointLosses = iter(())
        if recipe.joint is not None:
            joint = recipe.joint.losses(self.progress.step, self.steps_per_epoch - done)
        for group in groups:
            yield group, [next(stored) for _ in share(group)], joint

    def _parameter_names(self) -> list[str]:
        return [name for name, _ in self.model.named_parameters()]

    def _thaw(self, epoch: int) -> None:
        """Unfreeze the parameters that train in this epoch, and freeze all others."""
        start = self.start
        frozen = start.frozen_in(epoch)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in frozen)
        set_training_mode(self.model, frozen, start.frozen_statistics)
        thawed = {name for name, first in start.thaw.items() if 0 < first == epoch}
        if thawed:
            self.gradient_check.start(thawed)

    def step(self, rows: list[Rows], stored: list[Any], joint: JointLosses) -> None:
        """Take one optimiser step over ``accumulate`` batches."""
        recipe, step = self.recipe, self.progress.step
        seed_torch(recipe.seed, recipe.draws, "step", step, *self.group.stream)  # alike in a resume
        set_rates(self.optimizer, warmup_cosine(step, self.total, recipe.trainer.warmup))
        count = sum(len(part) for part in rows)
        loss = torch.zeros((), device=self.data.device)  # stays there: .item() would wait
        whole = self.loss_of.find_step_rows(rows)
        for part, values in stored:
            part_loss, batch = self.loss_of(part, values, whole)
            loss += self._backward(self.weighing(part_loss))
            self.gradient_check.observe(batch)
        with self.weighing.separate_gradients():
            for other, batch in next(joint, ()):
                loss += self._backward(self.weighing(other, SOURCE))
                self.gradient_check.observe(batch, "companion.")
        loss = self.group.add_up(self.model, loss, self.loss_of.penalties, rows)
        self.gradient_check.check(ends_epoch=(step + 1) % self.steps_per_epoch == 0)
        for extra in (self.loss_of.penalise_weights(), self.weighing.extra_loss()):
            if extra is not None:  # after the sum: every process adds the same
                # It has no gradient while all the weights that it penalises are still frozen.
                loss += self._backward(extra) if extra.requires_grad else extra
        self._update()
        self.losses.append(loss)
        penalty = self.loss_of.take_penalty()
        self.penalties += [] if penalty is None else [penalty]
        self.progress.step += 1
        self.samples += count
        if len(self.losses) >= FETCH_EVERY:
            self._fetch_losses()

    def _backward(self, loss: Tensor) -> Tensor:
        """Add a loss's gradients, and return its value."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _update(self) -> None:
        within = self.progress.step % self.steps_per_epoch
        measures = self.is_multimodal and within % FETCH_EVERY == 0
        # Norms are measured, and clipped, in the gradient's own scale, before clipping.
        if measures or self.recipe.trainer.clip is not None:
            self.scaler.unscale_(self.optimizer)
        if measures:
            for name, norm in gradient_norms(self.model.encoders).items():
                self.gradients.setdefault(name, []).append(norm)
        if self.recipe.trainer.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trainable, self.recipe.trainer.clip, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)  # without a gradient, no decay

    @property
    def is_multimodal(self) -> bool:
        """Whether there are several modalities, so that one of them may collapse."""
        return len(self.model.encoders) > 1

    def _fetch_losses(self) -> None:
        """Fetch the losses of the steps since the last call, and check that they are finite."""
        if not self.losses:
            return
        for name, norms in self.gradients.items():
            for norm in torch.stack(norms).tolist():
                if math.isfinite(norm):  # otherwise the scaler of fp16 has skipped the step
                    self.progress.gradients.setdefault(name, []).append(norm)
        self.gradients.clear()
        count = len(self.losses)
        # One transfer for both, since each one waits for the device.
        values = torch.stack([*self.losses, *self.penalties]).tolist()
        values, penalties = values[:count], values[count:]
        first = self.progress.step - count
        self.losses.clear()
        self.penalties.clear()
        now = time.perf_counter()
        self.progress.seconds += now - self.mark
        rate = self.samples / max(now - self.mark, 1e-9)
        self.mark, self.samples = now, 0
        for offset, value in enumerate(values):
            if not math.isfinite(value):
                raise self._divergence_error("loss", value, first + offset + 1)  # counted from 1
            self.progress.loss_sum += value
            self.progress.loss_steps += 1
        # Added one by one, as the losses are: rounding must not depend on when they are fetched,
        # or a resumed run would end with other digits.
        for penalty in penalties:
            self.progress.penalty_sum += penalty
        self._report(EventKind.STEP, {"train.loss": sum(values) / len(values)}, rate)

    def _divergence_error(self, what: str, value: float, step: int) -> DivergedError:
        """Return the error for a loss that is not finite, at a step counted from 1."""
        recipe, path = self.recipe, self.recipe.state_path
        good = "no good checkpoint had been saved yet"
        if saved_state.has_state(path):
            good = f"the last good checkpoint is {path}"
        return DivergedError(
            f"the {what} is {value} in stage {recipe.stage}, epoch "
            f"{(step - 1) // self.steps_per_epoch + 1}, step {step}; {good}",
            tip=f"try optimizer.lr={recipe.optimizer.lr / 10:g}"
            + (" or precision=bf16" if recipe.precision.name == "fp16" else ""),
        )

    def validate(self, epoch: int) -> None:
        """Validate after an epoch, keep the best weights, and save if it is due."""
        self._fetch_losses()
        self.group.require_equal(self.model.state_dict(), f"after epoch {epoch + 1}")
        found = self.recipe.validate(self.model)
        metrics = found.metrics
        if not math.isfinite(metrics["loss"]):
            raise self._divergence_error("validation loss", metrics["loss"], self.progress.step)
        score, progress = list(self.recipe.score(metrics)), self.progress
        if not progress.best_score or score > progress.best_score:  # of equal epochs, the first
            progress.best_score, progress.best_metrics = score, metrics
            progress.best_epoch, progress.bad_epochs = epoch + 1, 0
            # A copy: training goes on to change the model's own tensors in place.
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        else:
            progress.bad_epochs += 1
        progress.history.append((progress.step, progress.seconds, score[0]))
        values = {"train.loss": progress.loss_sum / max(1, progress.loss_steps)}
        if self.loss_of.penalty is not None:
            values["train.penalty"] = progress.penalty_sum / max(1, progress.loss_steps)
        values.update({f"val.{name}": value for name, value in metrics.items()})
        progress.epochs, progress.loss_sum, progress.loss_steps = epoch + 1, 0.0, 0
        progress.penalty_sum = 0.0
        self._report(EventKind.EPOCH, values)
        if self.weighing.moves:
            weights = self.weighing.weights()
            self._report(
                EventKind.VITALS, {f"weight.{task}": weight for task, weight in weights.items()}
            )
        if found.probes:
            self._watch_modalities(epoch, found)
        self.save_if_due()

    def _watch_modalities(self, epoch: int, found: Validation) -> None:
        """Record each modality's gradient and probe, and warn if one has collapsed."""
        progress = self.progress
        gradients = {name: sum(each) / len(each) for name, each in progress.gradients.items()}
        progress.gradients = {}
        progress.vitals.append(asdict(Vitals(gradients, found.probes, found.chance, found.noise)))
        self._report(
            EventKind.VITALS,
            {
                **{f"gradient.{name}": norm for name, norm in sorted(gradients.items())},
                **{f"probe.{name}": accuracy for name, accuracy in sorted(found.probes.items())},
            },
        )
        for name in find_collapsed([Vitals(**each) for each in progress.vitals]):
            if name not in progress.collapsed:
                progress.collapsed[name] = epoch + 1
                text = f"ALARM: {name} has collapsed: its gradient and its probe have fallen away"
                self.listen(Event(EventKind.NOTE, self.recipe.stage, epoch=epoch + 1, text=text))

    def save_if_due(self) -> None:
        """Save once ``checkpoint_seconds`` have passed since the last save."""
        if time.perf_counter() - self.saved_at >= self.recipe.trainer.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """Save the whole state: weights, best weights, optimiser, scaler, progress.

        Encoders that are set aside have the weights that they started with, and are left out.
        Weights that are not finite are not saved, so that the last good state is kept; the next
        loss then reports the divergence.
        """
        self._fetch_losses()
        if checkpoint.find_not_finite(self.model.named_parameters()):
            return
        tensors, plain = checkpoint.optimizer_state(self.optimizer)
        saved_state.save(
            self.recipe.state_path,
            {
                **checkpoint.add_prefix("model", self.model.state_dict()),
                **checkpoint.add_prefix("best", self.best),
                **checkpoint.add_prefix("optimizer", tensors),
            },
            {
                "progress": asdict(self.progress),
                "optimizer": plain,
                "scaler": self.scaler.state_dict(),
            },
        )
        self.saved_at = self.mark = time.perf_counter()

    def _load(self, saved: saved_state.State) -> None:
        # States of earlier versions hold the encoders that are set aside, too.
        aside = tuple(
            f"{part}.encoders.{name}."
            for name, encoder in self.model.encoders.items()
            for part in ("model", "best")
            if not encoder.state_dict()
        )
        tensors = {n: each for n, each in saved.tensors.items() if not n.startswith(aside)}
        facts = saved.facts
        best = checkpoint.take_prefix("best", tensors)
        checkpoint.check_finite(self.model, best, saved.path)
        checkpoint.restore(self.model, checkpoint.take_prefix("model", tensors), saved.path)
        self.best = {name: tensor.to(self.data.device) for name, tensor in best.items()}
        checkpoint.load_optimizer_state(
            self.optimizer, checkpoint.take_prefix("optimizer", tensors), facts["optimizer"]
        )
        self.scaler.load_state_dict(facts["scaler"])
        self.progress = Progress(**facts["progress"])

    def _report(self, kind: EventKind, values: dict[str, float], rate: float = 0.0) -> None:
        step = self.progress.step
        self.listen(
            Event(
                kind=kind,
                stage=self.recipe.stage,
                epoch=(step - 1) // self.steps_per_epoch + 1,
                step=step,
                steps=self.total,
                values=values,
                seconds=self.progress.seconds,
                rate=rate,
            )
        )

    def finish(self) -> FitResult:
        """Load the best weights and return the result."""
        weights = self.weighing.weights()  # before the best epoch's are loaded
        self.model.load_state_dict(self.best)
        for name, parameter in self.model.named_parameters():
            # Patience may have ended training before some parameters were unfrozen.
            parameter.requires_grad_(name not in self.start.frozen)
        progress = self.progress
        rows = len(self.data.rows("train"))
        seen = progress.epochs * rows
        return FitResult(
            val=progress.best_metrics,
            best_epoch=progress.best_epoch,
            epochs=progress.epochs,
            steps=progress.step,
            seconds=progress.seconds,
            samples_per_s=seen / max(progress.seconds, 1e-9),
            collapsed=progress.collapsed,
            history=progress.history,
            weights=weights,
        )
