"""The training loop.

Shape legend: ``B`` batch, ``C`` outputs.

One step is: seed from the step number, gather a batch, forward under autocast, backward,
clip, update. Validation follows each epoch and picks the best weights. The state is
saved between steps, so a resumed run repeats nothing that counts and skips nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from mmx.errors import DivergedError, Interrupted, MemoryExceededError
from mmx.modalities import Batch
from mmx.model import set_training_mode
from mmx.training import checkpoint, saved_state
from mmx.training.collapse import Vitals, find_collapsed, gradient_norms
from mmx.training.data import Rows, make_batches
from mmx.training.events import Event, EventKind, Listener, StopRequest
from mmx.training.gradient_check import GradientCheck
from mmx.training.loss import BatchLoss
from mmx.training.optimizer import make_parameter_groups, set_rates, warmup_cosine
from mmx.training.randomness import seed_torch
from mmx.training.recipe import FitResult, Progress, Recipe, Validation
from mmx.training.trainer import Trainer
from mmx.training.weighing import SOURCE, Weighing
from mmx.transfer import Start

JointLosses = Iterator[Iterator[tuple[Tensor, Batch]]]
"""For each step, the losses and batches of the source of joint training."""

LOOK_EVERY = 10
"""Steps between two looks at the losses: each look waits for the device."""


def fit(
    loss_of: BatchLoss,
    start: Start,
    recipe: Recipe,
    listen: Listener,
    stop: StopRequest,
) -> FitResult:
    """Train the model of ``loss_of`` in place, and leave it with the weights of the best epoch.

    Continues from the state at ``recipe.state_path``, see :mod:`mmx.training.saved_state`.

    Raises:
        DivergedError: A loss is NaN or infinite.
        DeadParameterError: A trainable parameter got no gradient.
        MemoryExceededError: The device has no memory for this batch size.
        Interrupted: A signal asked to stop; the state is saved.
    """
    run = _Run(loss_of, start, recipe, listen)
    try:
        while not run.over:
            epoch = run.progress.epochs
            for step_rows, batches, joint in run.epoch(epoch):
                run.step(step_rows, batches, joint)
                if stop.signal_number is not None:
                    run.save()
                    raise Interrupted(
                        f"stopped in stage {recipe.stage} after step "
                        f"{run.progress.step} of {run.total}",
                        signal_number=stop.signal_number,
                    )
                run.save_if_due()
            run.validate(epoch)
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory(recipe, "CUDA") from error
    return run.finish()


def count_steps_per_epoch(rows: Rows, trainer: Trainer) -> int:
    """Return the optimiser steps of an epoch."""
    batches = make_batches(rows, trainer.batch_size, trainer.accumulate)
    return math.ceil(len(batches) / trainer.accumulate)


def out_of_memory(recipe: Recipe, device: str) -> MemoryExceededError:
    """Return the error that suggests what fits."""
    size, accumulate = recipe.trainer.batch_size, recipe.trainer.accumulate
    fits = (
        f"trainer.batch_size={size // 2} trainer.accumulate={accumulate * 2} takes the same steps "
        "with half the memory"
    )
    return MemoryExceededError(
        f"{device} is out of memory in stage {recipe.stage} at trainer.batch_size={size}",
        tip=fits if size > 1 else "choose a smaller encoder, or smaller inputs",
    )


def _hold_zeros(parameter: torch.nn.Parameter, mask: Tensor) -> None:
    """Keep at zero what a mask leaves out: without a gradient no optimiser moves it."""
    mask = mask.to(parameter.device)
    parameter.register_hook(lambda gradient: gradient * mask)  # type: ignore[no-untyped-call]


class _Run:
    """One stage's training under way: what :func:`fit` reads as sentences."""

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
        groups = make_parameter_groups(
            model, recipe.optimizer, start.rates, decay=start.weight_decay
        )
        self.optimizer = recipe.optimizer.make(groups, data.device)
        self.scaler = recipe.precision.scaler()
        self.weighing = Weighing(recipe.joint)
        # What weighs two tasks is no part of the gradient that is clipped.
        self.trainable = [
            parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and not name.startswith("weighting.")
        ]
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.losses: list[Tensor] = []
        self.penalties: list[Tensor] = []
        self.gradients: dict[str, list[Tensor]] = {}
        self.samples = 0
        first = [name for name in self._names() if name not in start.frozen_in(0)]
        self.gradient_check = GradientCheck(model, recipe.stage, first)
        for text in saved_state.resume(recipe.state_path, self._load):
            self.listen(Event(EventKind.NOTE, recipe.stage, text=text))
        self.saved_at = self.mark = time.perf_counter()

    @property
    def over(self) -> bool:
        """Whether all epochs are done, or patience has run out."""
        patience = self.recipe.trainer.patience
        exhausted = patience is not None and self.progress.bad_epochs >= patience
        return exhausted or self.progress.epochs >= self.recipe.trainer.epochs

    def epoch(self, epoch: int) -> Iterator[tuple[list[Rows], list[Any], JointLosses]]:
        """Yield, for each step still to do in the epoch, what it is made of.

        That is its batches of rows, their stored values, and the losses of joint training.
        """
        recipe = self.recipe
        self._thaw(epoch)
        size, accumulate = recipe.trainer.batch_size, recipe.trainer.accumulate
        order = self.loss_of.order(self.data.rows("train"), recipe.seed, recipe.draws, epoch)
        done = self.progress.step - epoch * self.steps_per_epoch
        batches = make_batches(order, size, accumulate)[done * accumulate :]
        self.mark, self.samples = time.perf_counter(), 0
        stored = self.data.batches(batches)
        joint: JointLosses = iter(())
        if recipe.joint is not None:
            joint = recipe.joint.losses(self.progress.step, self.steps_per_epoch - done)
        for first in range(0, len(batches), accumulate):
            group = batches[first : first + accumulate]
            yield group, [next(stored)[1] for _ in group], joint

    def _names(self) -> list[str]:
        return [name for name, _ in self.model.named_parameters()]

    def _thaw(self, epoch: int) -> None:
        """Let train what trains in this epoch, and hold all else still."""
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
        seed_torch(recipe.seed, recipe.draws, "step", step)
        set_rates(self.optimizer, warmup_cosine(step, self.total, recipe.trainer.warmup))
        count = sum(len(part) for part in rows)
        loss = torch.zeros((), device=self.data.device)
        whole = self.loss_of.whole(rows)
        for part, values in zip(rows, stored, strict=True):
            part_loss, batch = self.loss_of(part, values, whole)
            loss += self._backward(self.weighing(part_loss))
            self.gradient_check.observe(batch)
        with self.weighing.apart():
            for other, batch in next(joint, ()):
                loss += self._backward(self.weighing(other, SOURCE))
                self.gradient_check.observe(batch, "companion.")
        self.gradient_check.check(ends_epoch=(step + 1) % self.steps_per_epoch == 0)
        for held in (self.loss_of.held_weights(), self.weighing.held()):
            if held is not None:  # and where it holds weights that all wait to thaw, it is a number
                loss += self._backward(held) if held.requires_grad else held
        self._update()
        self.losses.append(loss)
        penalty = self.loss_of.take_penalty()
        self.penalties += [] if penalty is None else [penalty]
        self.progress.step += 1
        self.samples += count
        if len(self.losses) >= LOOK_EVERY:
            self._look()

    def _backward(self, loss: Tensor) -> Tensor:
        """Add a loss's gradients, and return its value."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _update(self) -> None:
        within = self.progress.step % self.steps_per_epoch
        looks = self.is_multimodal and within % LOOK_EVERY == 0
        if looks or self.recipe.trainer.clip is not None:
            self.scaler.unscale_(self.optimizer)
        if looks:
            for name, norm in gradient_norms(self.model.encoders).items():
                self.gradients.setdefault(name, []).append(norm)
        if self.recipe.trainer.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trainable, self.recipe.trainer.clip, foreach=True)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @property
    def is_multimodal(self) -> bool:
        """Whether there are several modalities, one of which may starve."""
        return len(self.model.encoders) > 1

    def _look(self) -> None:
        """Fetch the losses since the last look; refuse those that are not finite."""
        if not self.losses:
            return
        for name, norms in self.gradients.items():
            for norm in torch.stack(norms).tolist():
                if math.isfinite(norm):  # else fp16 has left the step out
                    self.progress.gradients.setdefault(name, []).append(norm)
        self.gradients.clear()
        count = len(self.losses)
        values = torch.stack([*self.losses, *self.penalties]).tolist()  # one wait for both
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
                raise self._diverged("loss", value, first + offset + 1)
            self.progress.loss_sum += value
            self.progress.loss_steps += 1
        for penalty in penalties:  # one by one, as the losses: a sum must not know of the looks
            self.progress.penalty_sum += penalty
        self._say(EventKind.STEP, {"train.loss": sum(values) / len(values)}, rate)

    def _diverged(self, what: str, value: float, step: int) -> DivergedError:
        """Return the error of a loss that is not finite, met at a step counted from 1."""
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
        """Validate after an epoch, keep the best weights, and save when it is due."""
        self._look()
        found = self.recipe.validate(self.model)
        metrics = found.metrics
        if not math.isfinite(metrics["loss"]):
            raise self._diverged("validation loss", metrics["loss"], self.progress.step)
        score, progress = list(self.recipe.score(metrics)), self.progress
        if not progress.best_score or score > progress.best_score:
            progress.best_score, progress.best_metrics = score, metrics
            progress.best_epoch, progress.bad_epochs = epoch + 1, 0
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
        self._say(EventKind.EPOCH, values)
        if self.weighing.moves:
            weights = self.weighing.weights()
            self._say(
                EventKind.VITALS, {f"weight.{task}": weight for task, weight in weights.items()}
            )
        if found.probes:
            self._watch(epoch, found)
        self.save_if_due()

    def _watch(self, epoch: int, found: Validation) -> None:
        """Keep the modalities' signs of life, and raise the alarm where one collapses."""
        progress = self.progress
        gradients = {name: sum(each) / len(each) for name, each in progress.gradients.items()}
        progress.gradients = {}
        progress.vitals.append(asdict(Vitals(gradients, found.probes, found.chance, found.noise)))
        self._say(
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

        Weights that are no longer finite are not saved: the next loss will say so, and a good
        state is kept.
        """
        self._look()
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
        tensors, facts = saved.tensors, saved.facts
        best = checkpoint.take_prefix("best", tensors)
        checkpoint.check_finite(self.model, best, saved.path)
        checkpoint.restore(self.model, checkpoint.take_prefix("model", tensors), saved.path)
        self.best = {name: tensor.to(self.data.device) for name, tensor in best.items()}
        checkpoint.load_optimizer_state(
            self.optimizer, checkpoint.take_prefix("optimizer", tensors), facts["optimizer"]
        )
        self.scaler.load_state_dict(facts["scaler"])
        self.progress = Progress(**facts["progress"])

    def _say(self, kind: EventKind, values: dict[str, float], rate: float = 0.0) -> None:
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
        """Load the best weights and say what was found."""
        weights = self.weighing.weights()
        self.model.load_state_dict(self.best)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name not in self.start.frozen)  # also what patience kept cold
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
