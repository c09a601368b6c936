"""Many heads on cached features, trained as one batch with the results of separate training.

Shape legend: ``S`` seeds (or sources), ``L`` optimisers, ``N`` training rows, ``M`` validation
rows, ``B`` batch, ``D`` width, ``H`` hidden units, ``C`` outputs.

A single head is so small that a training step is nearly all overhead. S · L heads share this
overhead; one matrix product computes the first layers of all L heads of a seed, since they read
the same batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.stage_id import Role
from mmx.training.data import Rows, make_batches
from mmx.training.events import StopRequest
from mmx.training.fit import count_steps_per_epoch
from mmx.training.optimizer import Optimizer, set_rates, warmup_cosine
from mmx.training.randomness import permute, seed_torch
from mmx.training.trainer import Trainer
from mmx.transfer.heads.linear import LinearHead
from mmx.transfer.heads.mlp import MlpHead

ValMetrics = dict[str, float]
TrainableHead = LinearHead | MlpHead
VAL_ROWS = 1024
"""Validation rows that all heads evaluate at once; it bounds the memory."""
NORM = ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")


@dataclass(frozen=True)
class HeadTraining:
    """How the heads are trained and evaluated.

    Attributes:
        optimizers: L of one kind; they may differ in ``lr`` and ``weight_decay``.
        trainer: Epochs, batch size, accumulation, clipping, warm-up and patience are used.
        loss: (outputs ``(B, C)``, targets, targets of the whole step) → scalar, a batch's part
            of the mean over the step's rows.
        validate: Outputs ``(S · L, M, C)`` of the validation rows → the metrics of each head;
            head s · L + l is the l-th of seed s, and ``loss`` is among the metrics.
        score: Metrics to a tuple; the larger, the better.
        draws: Role that, with the seed, determines the order of rows and the dropout. With the
            target's, the draws are those of :func:`~mmx.training.fit.fit`.
    """

    optimizers: Sequence[Optimizer]
    trainer: Trainer
    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    validate: Callable[[Tensor], Sequence[ValMetrics]]
    score: Callable[[ValMetrics], tuple[float, ...]]
    draws: Role = Role.TARGET


@dataclass
class TrainedHead:
    """The result of training one head.

    Attributes:
        state: The head's tensors by name, of the best epoch; empty if it diverged in the first.
        val: Validation metrics of that epoch.
        best_epoch: That epoch, counted from 1.
        curve: The metrics of each epoch, as ``train.loss`` and ``val.<name>``, until patience
            ran out.
        diverged: Whether a loss was NaN or infinite; later epochs are ignored.
    """

    state: dict[str, Tensor] = field(default_factory=dict)
    val: ValMetrics = field(default_factory=dict)
    best_epoch: int = 0
    curve: list[ValMetrics] = field(default_factory=list)
    diverged: bool = False


def train_heads(
    heads: Sequence[TrainableHead],
    features: Sequence[Tensor],
    target: Tensor,
    val: Sequence[Tensor],
    seeds: Sequence[int],
    plan: HeadTraining,
    stop: StopRequest | None = None,
) -> list[list[TrainedHead]]:
    """Train S · L heads as one batch, with the results of separate training.

    Head (s, l) starts as ``heads[s]``, reads ``features[s]`` in an order drawn from
    ``seeds[s]``, and is updated by optimiser l. It has the batches, dropout masks, learning
    rates, gradient clipping and best epoch that :func:`~mmx.training.fit.fit` would give it: the
    numbers agree up to the order of additions. All computations use the heads' number format,
    without autocast.

    ``features`` may be the same tensor S times, which is then stored once, or features of
    different widths from different sources: narrower ones are padded with zeros, which does not
    change the results.

    Args:
        heads: S fresh heads of one kind, on the features' device; they are not changed.
        features: S of ``(N, D_s)``, the training rows.
        target: ``(N,)`` or ``(N, C)``, the same rows' targets.
        val: S of ``(M, D_s)``, the validation rows.
        seeds: S seeds for the order of rows and for dropout.
        plan: How they are trained and evaluated.
        stop: A request to stop. Nothing is saved, since the training takes only seconds.

    Returns:
        ``found[s][l]``.

    Raises:
        TransferError: The optimisers differ in more than rate and decay, or do not work
            elementwise.
        Interrupted: A signal asked to stop.
    """
    batch = _HeadBatch(heads, features, target, val, plan)
    found = [[TrainedHead() for _ in plan.optimizers] for _ in heads]
    trainer, rows = plan.trainer, np.arange(len(target))
    steps = count_steps_per_epoch(rows, trainer)
    for epoch in range(trainer.epochs):
        orders = [permute(rows, seed, plan.draws, "order", epoch) for seed in seeds]
        parts = [make_batches(order, trainer.batch_size, trainer.accumulate) for order in orders]
        # batch i of each seed: all seeds have as many rows, so the shapes agree
        batches = [np.stack(each) for each in zip(*parts, strict=True)]  # of (S, B)
        losses = []
        for step in range(steps):
            group = batches[step * trainer.accumulate : (step + 1) * trainer.accumulate]
            losses.append(batch.step(group, epoch * steps + step, trainer.epochs * steps, seeds))
            if stop is not None and stop.is_made:
                raise stop.describe(
                    f"stopped in epoch {epoch + 1} of {trainer.epochs} of heads trained together"
                )
        mean = torch.stack(losses).mean(0).tolist()  # (S, L)
        metrics = plan.validate(batch.outputs())
        if not _judge(found, batch, mean, metrics, plan, epoch):
            break
    return found


def _judge(
    found: list[list[TrainedHead]],
    batch: _HeadBatch,
    losses: list[list[float]],
    metrics: Sequence[ValMetrics],
    plan: HeadTraining,
    epoch: int,
) -> bool:
    """Record an epoch's metrics, keep better heads; return whether any head continues."""
    patience, goes_on = plan.trainer.patience, False
    for s, row in enumerate(found):
        for i, head in enumerate(row):
            waited = len(head.curve) - head.best_epoch
            # It is trained on with the others, since all are one tensor, but no longer judged.
            if head.diverged or (patience is not None and waited >= patience):
                continue
            own = metrics[s * len(row) + i]
            if not math.isfinite(losses[s][i]) or not math.isfinite(own["loss"]):
                head.diverged = True
                continue
            head.curve.append(
                {"train.loss": losses[s][i], **{f"val.{name}": v for name, v in own.items()}}
            )
            # Strictly better, as in fit: of equal epochs the first stays.
            if not head.val or plan.score(own) > plan.score(head.val):
                head.val, head.best_epoch = dict(own), epoch + 1
                head.state = batch.state(s, i)
            goes_on |= patience is None or len(head.curve) - head.best_epoch < patience
    return goes_on


class _HeadBatch:
    """S · L heads of one architecture: their stacked parameters, and a step of all of them."""

    def __init__(
        self,
        heads: Sequence[TrainableHead],
        features: Sequence[Tensor],
        target: Tensor,
        val: Sequence[Tensor],
        plan: HeadTraining,
    ) -> None:
        self.heads, self.plan, self.target = heads, plan, target
        like = heads[0].layers[0].weight
        self.width = max(head.layers[0].in_features for head in heads)
        self.count = len(plan.optimizers)
        self.features = _FeatureTables(features, self.width, like)
        self.val = _FeatureTables(val, self.width, like)
        self.names = _parameter_names(heads[0])
        self.parameters = {
            name: self._stack([dict(head.named_parameters())[name] for head in heads])
            for name in self.names
        }
        norms = [head.norm for head in heads if head.norm is not None]
        self.norm = None if not norms else _Norm(norms[0], len(heads), self.width, like)
        self.dropout = heads[0].dropout
        self.parts = {
            # Views: the optimiser writes into them, and so into the stacked parameter.
            name: [list(row) for row in parameter.detach()]  # (S, L), which share its memory
            for name, parameter in self.parameters.items()
        }
        self.optimizer = self._optimizer(plan.optimizers)

    def _stack(self, tensors: list[nn.Parameter]) -> Tensor:
        """Return ``(S, L, …)`` of S tensors, their last axis padded where widths differ."""
        # Features of several encoders have several widths: weights for the padding read zeros.
        widest = max(each.shape[-1] for each in tensors)
        padded = [F.pad(each.detach(), (0, widest - each.shape[-1])) for each in tensors]
        # (S, 1, …) → (S, L, …): the L heads of a seed start alike.
        every = torch.stack(padded)[:, None].expand(-1, self.count, *padded[0].shape)
        # An expanded tensor is one memory: without a clone all L heads would move together.
        return every.clone().requires_grad_(True)

    def _optimizer(self, recipes: Sequence[Optimizer]) -> torch.optim.Optimizer:
        """Return torch's own optimiser, to which each head's part of a parameter is a tensor."""
        groups = []
        for i, recipe in enumerate(recipes):
            for matrices in (True, False):
                members = [
                    row[i]
                    for parts in self.parts.values()
                    for row in parts
                    if (row[i].dim() > 1) == matrices
                ]
                decay = recipe.weight_decay if matrices else 0.0  # vectors do not decay
                groups.append({"params": members, "peak_lr": recipe.lr, "weight_decay": decay})
        return _like(recipes).make(groups, self.target.device)

    def step(self, group: Sequence[Rows], step: int, total: int, seeds: Sequence[int]) -> Tensor:
        """Take one optimiser step of every head; return the losses ``(S, L)``.

        Args:
            group: ``(S, B)`` row numbers of each of the step's batches.
            step: Number of the step.
            total: Steps of the whole training.
            seeds: S seeds.
        """
        whole = self.target[torch.from_numpy(np.concatenate(group, 1)).to(self.target.device)]
        masks = self._masks([rows.shape[1] for rows in group], step, seeds)
        total_loss = torch.zeros((), device=self.target.device)
        # Outer: over seeds, with their own targets. Inner: over optimisers, with the same targets.
        each = torch.vmap(torch.vmap(self.plan.loss, in_dims=(0, None, None)))
        with torch.enable_grad():
            for rows, mask in zip(group, masks, strict=True):
                index = torch.from_numpy(rows).to(self.target.device)  # (S, B)
                x = self.features.rows(index)
                x = x if self.norm is None else self.norm.train(x)
                losses = each(self._forward(x, mask), self.target[index], whole)  # (S, L)
                # The heads share no parameter, so the sum gives each its own loss's gradient.
                losses.sum().backward()  # type: ignore[no-untyped-call]
                total_loss = total_loss + losses.detach()
        if self.plan.trainer.clip is not None:
            gradients = [each.grad for each in self.parameters.values() if each.grad is not None]
            _clip(gradients, self.plan.trainer.clip)
        self._update(warmup_cosine(step, total, self.plan.trainer.warmup))
        return total_loss

    def _update(self, share: float) -> None:
        """Take a step of torch's optimiser at a fraction of the peak rates."""
        # The optimiser knows the parts (s, i), which share memory with the stacked parameter but
        # have no gradient of their own.
        for name, parameter in self.parameters.items():
            for s, row in enumerate(self.parts[name]):
                for i, part in enumerate(row):
                    part.grad = None if parameter.grad is None else parameter.grad[s, i]
            parameter.grad = None
        set_rates(self.optimizer, share)
        self.optimizer.step()

    def _masks(
        self, sizes: Sequence[int], step: int, seeds: Sequence[int]
    ) -> list[Tensor] | list[None]:
        """Return each batch's dropout factors ``(S, 1, B, H)``, drawn as in separate training."""
        if not self.dropout:
            return [None] * len(sizes)
        like = self.parameters[self.names[0]]
        drawn = []
        # Each seed draws from its own generator state, batch by batch, as fit's steps do.
        for seed in seeds:
            seed_torch(seed, self.plan.draws, "step", step)
            # Dropout of ones is its mask, with the factor 1 / (1 - p) in it.
            ones = [like.new_ones(size, like.shape[2]) for size in sizes]
            drawn.append([F.dropout(each, self.dropout) for each in ones])
        # From a list for each seed to a tensor for each batch, (S, 1, B, H): all heads of a seed
        # drop the same units.
        return [torch.stack(masks)[:, None] for masks in zip(*drawn, strict=True)]

    def _forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return ``(S, L, B, C)`` of ``(S, B, D)``.

        Rows are columns between layers, ``(…, D, B)``, so that the gradients of the weights are
        computed in the weights' own memory layout.
        """
        layers = [self.parameters[name] for name in self.names]
        # (S, D, B): rows last, so that weights stand on the left of all products.
        x = x.mT
        for place, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
            if place:
                x = x.relu() if mask is None else x.relu() * mask.mT
                x = weight @ x  # (S, L, O, H) @ (S, L, H, B)
            else:  # all heads of a seed read one x: (S, L·H, D) @ (S, D, B)
                x = (weight.flatten(1, 2) @ x).view(*weight.shape[:3], -1)
            x = x + bias[..., None]  # (S, L, O, 1), over rows
        return x.mT

    @torch.no_grad()
    def outputs(self) -> Tensor:
        """Return ``(S · L, M, C)`` of the validation rows."""
        parts = []
        for first in range(0, self.val.count, VAL_ROWS):
            index = torch.arange(
                first, min(first + VAL_ROWS, self.val.count), device=self.target.device
            )
            x = self.val.rows(index.expand(len(self.heads), -1))
            parts.append(self._forward(x if self.norm is None else self.norm.evaluate(x)))
        # (S, L, M, C) → (S · L, M, C): head i of seed s is number s · L + i.
        return torch.cat(parts, dim=2).flatten(0, 1)

    def state(self, s: int, i: int) -> dict[str, Tensor]:
        """Return a copy of the current tensors of one head, by the names in a head."""
        shapes = dict(self.heads[s].named_parameters())
        found = {
            name: parameter.detach()[s, i][..., : shapes[name].shape[-1]].clone()
            for name, parameter in self.parameters.items()
        }
        if self.norm is not None:
            found.update(self.norm.state(s, self.heads[s].layers[0].in_features))
        return found


class _FeatureTables:
    """S tables of features ``(N, D_s)``, padded to one width; stored once if all are the same."""

    def __init__(self, tables: Sequence[Tensor], width: int, like: Tensor) -> None:
        self.count = len(tables[0])
        one = all(table is tables[0] for table in tables)
        kept = tables[:1] if one else tables
        padded = [F.pad(table.to(like), (0, width - table.shape[1])) for table in kept]
        self.table = torch.cat(padded)  # (N, D) or (S·N, D)
        # Row n of table s is at s · N + n; in a single table, at n.
        offsets = self.count * torch.arange(len(tables), device=like.device)
        self.offsets = torch.zeros_like(offsets)[:, None] if one else offsets[:, None]

    def rows(self, index: Tensor) -> Tensor:
        """Return ``(S, B, D)`` of ``(S, B)`` row numbers."""
        return self.table[index + self.offsets]


class _Norm:
    """S batch norms without scale and shift, computed as one with S · D channels."""

    def __init__(self, one: nn.BatchNorm1d, seeds: int, width: int, like: Tensor) -> None:
        self.momentum, self.eps, self.width = one.momentum or 0.0, one.eps, width
        self.mean, self.var = like.new_zeros(seeds * width), like.new_ones(seeds * width)
        self.batches = 0

    def train(self, x: Tensor) -> Tensor:
        """Return ``(S, B, D)`` normalised by the batch, and update the running statistics."""
        self.batches += 1
        return self._normalise(x, training=True)

    def evaluate(self, x: Tensor) -> Tensor:
        """Return ``(S, M, D)`` normalised by the running statistics."""
        return self._normalise(x, training=False)

    def _normalise(self, x: Tensor, *, training: bool) -> Tensor:
        # One channel for each feature of each seed: no seed sees the rows of another.
        channels = x.detach().transpose(0, 1).flatten(1)  # (B, S·D)
        normal = F.batch_norm(
            channels, self.mean, self.var, None, None, training, self.momentum, self.eps
        )
        # (B, S · D) → (B, S, D) → (S, B, D)
        return normal.view(len(normal), len(x), self.width).transpose(0, 1)

    def state(self, s: int, width: int) -> dict[str, Tensor]:
        """Return one norm's tensors by their names in a head."""
        here = slice(s * self.width, s * self.width + width)
        values = (self.mean[here].clone(), self.var[here].clone(), torch.tensor(self.batches))
        return dict(zip(NORM, values, strict=True))


def _parameter_names(head: TrainableHead) -> list[str]:
    """Return the names of weight and bias of each layer, first to last."""
    names = {id(parameter): name for name, parameter in head.named_parameters()}
    return [names[id(part)] for layer in head.layers for part in (layer.weight, layer.bias)]


def _clip(gradients: Sequence[Tensor], most: float) -> None:
    """Scale each head's gradient down to a norm of ``most``, as torch's ``clip_grad_norm_``."""
    # (S, L, …) → (S, L): each head is clipped by its own norm, as if it trained alone.
    norms = torch.stack([torch.linalg.vector_norm(each.flatten(2), dim=2) for each in gradients])
    whole = torch.linalg.vector_norm(norms, dim=0)  # (S, L) norm of the norms
    # torch's own 1e-6, so that a head has the digits of separate training.
    scale = (most / (whole + 1e-6)).clamp(max=1.0)  # (S, L)
    for gradient in gradients:
        gradient.mul_(scale.view(*scale.shape, *[1] * (gradient.dim() - 2)))


def _like(optimizers: Sequence[Optimizer]) -> Optimizer:
    """Return the first of L elementwise optimisers of one kind.

    Raises:
        TransferError: They are not elementwise, or differ in more than rate and decay.
    """
    first = optimizers[0]
    plain = [{**vars(each), "lr": 0, "weight_decay": 0, "": type(each)} for each in optimizers]
    if any(each != plain[0] for each in plain):
        raise TransferError("heads trained together differ in lr and weight_decay alone")
    if not first.elementwise:
        raise TransferError(
            f"{type(first).__name__} cannot train many heads at once: it is not elementwise",
            tip="optimizer=adamw or optimizer=sgd, or leave out transfer.decays and "
            "transfer.head_seeds",
        )
    return first
