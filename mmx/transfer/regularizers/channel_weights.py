"""How much the target needs each channel of the source's feature maps.

Shape legend: ``N`` training rows that have a modality, ``n`` some of them, ``C`` channels,
``K`` targets of a row, ``D`` width, ``G`` channels that are tried in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.modalities import Batch
from mmx.transfer.regularizers.base import RegularizerContext
from mmx.transfer.regularizers.features import select_rows, upcast
from mmx.transfer.regularizers.maps import (
    find_channel_axis,
    find_stages,
    record_outputs,
    repeat_rows,
    replay_outputs,
    zero_channels,
)

HEAD_RIDGE = 0.1
"""Ridge penalty of the head that measures the loss, in units of the features' mean variance."""

ROWS_A_PASS = 256
"""Rows of one forward pass: the rows of a batch, once for each channel that is tried."""


@dataclass(frozen=True)
class _Rows:
    """Rows of the target as one of the source's encoders reads them.

    Attributes:
        x: ``(n, …)``.
        lengths: ``(n,)``, for sequences.
        target: ``(n, K)`` float64 on the CPU.
    """

    x: Tensor
    lengths: Tensor | None
    target: Tensor

    def select(self, rows: Tensor) -> _Rows:
        """Return the rows with these numbers."""
        there = rows.to(self.x.device)
        lengths = None if self.lengths is None else self.lengths[there]
        return _Rows(self.x[there], lengths, self.target[rows])


@dataclass(frozen=True)
class _Head:
    """A linear map from pooled features to the targets.

    Attributes:
        weight: ``(D, K)``.
        bias: ``(K,)``.
    """

    weight: Tensor
    bias: Tensor

    def losses(self, pooled: Tensor, target: Tensor) -> Tensor:
        """Return each row's squared error, ``(n,)`` float64 on the CPU."""
        # In float64: losses with and without one channel are nearly equal.
        found = pooled.double().cpu() @ self.weight + self.bias
        return (found - target).square().sum(1)


@torch.no_grad()
def weigh_channels(
    context: RegularizerContext, encoder: nn.Module, name: str, rows: int
) -> list[Tensor]:
    """Return a ``(C,)`` for each map of an encoder; an empty list if no training row has an input.

        a = softmax((r − mean r) / std r),  r_c = loss with channel c at zero − loss

    The loss is the squared error of a ridge regression from the encoder's pooled features to
    the targets (classes as one-hot vectors), fitted to all training rows. The increases r are
    means over ``rows`` of them, drawn without replacement. Many channels are tried in one pass,
    and the maps before them are computed once.

    This costs C · rows passes through the layers after each map: for a ``resnet18`` on 32 × 32
    images about as much as training on 4000 of them.

    Args:
        context: Its training rows and seed are used.
        encoder: The source's encoder, in evaluation mode.
        name: The modality.
        rows: Rows on which the increases are measured.

    Raises:
        TransferError: The encoder does not run all modules that it lists as its stages.
    """
    pooled, targets = [], []
    for part in _parts(context, name):
        pooled.append(encoder(part.x, part.lengths).pooled)
        targets.append(part.target)
    if not pooled:
        return []
    head = _fit_ridge(torch.cat(pooled).double().cpu(), torch.cat(targets))
    total = sum(len(each) for each in targets)
    chosen = torch.zeros(total, dtype=torch.bool)
    # A generator of its own: the draws of training do not depend on this one.
    order = torch.randperm(total, generator=torch.Generator().manual_seed(context.seed))
    chosen[order[:rows]] = True
    losses: list[Tensor] = []
    start = 0
    for part in _parts(context, name):  # the same batches again, in the same order
        here = chosen[start : start + len(part.target)].nonzero().squeeze(1)
        start += len(part.target)
        if len(here):
            found = _losses(encoder, part.select(here), head)
            losses = [a + b for a, b in zip(losses, found, strict=True)] if losses else found
    return [_weights(each / int(chosen.sum())).to(upcast(pooled[0])) for each in losses]


def _weights(losses: Tensor) -> Tensor:
    """Return the softmax of standardised losses; the loss with all channels cancels."""
    # Not 0, where every channel has the same loss: the weights are then equal.
    spread = losses.std(correction=0).clamp(min=torch.finfo(losses.dtype).tiny)
    return ((losses - losses.mean()) / spread).softmax(0)


def _parts(context: RegularizerContext, name: str) -> Iterator[_Rows]:
    """Yield the training rows that have an input of a modality, batch by batch."""
    for batch in context.rows():
        if name not in batch.inputs:
            continue
        target = select_rows(name, batch, _targets(batch, context))
        if len(target):
            lengths = batch.lengths.get(name)
            yield _Rows(
                select_rows(name, batch, batch.inputs[name]),
                None if lengths is None else select_rows(name, batch, lengths),
                target.cpu(),
            )


def _targets(batch: Batch, context: RegularizerContext) -> Tensor:
    """Return ``(B, K)`` float64."""
    if context.kind == "classes":
        return F.one_hot(batch.target, context.outputs).double()
    return batch.target.double().view(len(batch), -1)


def _fit_ridge(x: Tensor, y: Tensor) -> _Head:
    """Return the ridge regression of ``y`` ``(N, K)`` on ``x`` ``(N, D)``, with a free intercept.

        W = (Σ + ρ tr(Σ)/D I)⁻¹ Xᵀ Y / N,  b = ȳ − x̄ W

    Σ is the covariance of ``x``, X and Y are centred, and ρ is :data:`HEAD_RIDGE`.
    """
    mean, centre = x.mean(0), y.mean(0)
    x, y = x - mean, y - centre
    # The normal equations of ridge regression, divided by N: (Σ + ρ I) W = xᵀy / N.
    covariance = x.T @ x / len(x)
    # Relative to the mean variance, so that rescaled features give the same weights.
    ridge = HEAD_RIDGE * covariance.trace() / len(covariance)
    ridge = ridge.clamp(min=torch.finfo(ridge.dtype).tiny)  # for features that do not vary
    eye = torch.eye(len(covariance), dtype=x.dtype)
    weight = torch.linalg.solve(covariance + ridge * eye, x.T @ y / len(x))
    # b = ȳ - x̄ᵀW, the intercept that centring stands for
    return _Head(weight, centre - mean @ weight)


def _losses(encoder: nn.Module, rows: _Rows, head: _Head) -> list[Tensor]:
    """Return, for each map, the ``(C,)`` losses with each channel at zero, summed over rows."""
    with record_outputs(encoder) as outputs:
        encoder(rows.x, rows.lengths)
    stages = find_stages(encoder)
    # An encoder may use the weights of a stage without calling it, and then no hook runs.
    if len(outputs) != len(stages):
        raise TransferError(
            f"regularizer=delta: {len(outputs)} of the {len(stages)} stages of "
            f"{type(encoder).__name__} run as modules, and the maps of the others are not seen",
            tip="regularizer=rkd",
        )
    at_once = max(1, ROWS_A_PASS // len(rows.x))  # G, channels of one pass
    found = []
    for depth, output in enumerate(outputs):
        values = output if isinstance(output, Tensor) else output.pooled
        parts = []
        channels = torch.arange(values.shape[find_channel_axis(values)])
        for group in torch.split(channels, at_once):
            count = len(group)
            before = [repeat_rows(each, count) for each in outputs[:depth]]
            changed = zero_channels(output, group.to(values.device))
            lengths = None if rows.lengths is None else rows.lengths.repeat(count)
            x = rows.x.repeat(count, *[1] * (rows.x.ndim - 1))
            # The changed stage replays too: its own output, with the channels of this group at
            # zero.
            # Stages up to this one return what was recorded; only those after it compute.
            with replay_outputs(stages[: depth + 1], [*before, changed]):
                pooled = encoder(x, lengths).pooled  # (G·n, D)
            errors = head.losses(pooled, rows.target.repeat(count, 1))  # (G·n,), channel by channel
            # Group by group in the repetition, so the rows of one channel lie together: (G·n,) →
            # (G, n).
            parts.append(errors.view(count, -1).sum(1))  # (G,)
        found.append(torch.cat(parts))
    return found
