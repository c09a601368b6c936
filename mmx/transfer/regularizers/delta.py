"""DELTA: feature maps stay close to the source's, weighted by how much the target needs them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.errors import TransferError
from mmx.modalities import StepRows
from mmx.transfer.regularizers.base import Penalty, Reference, Regularizer, RegularizerContext, Step
from mmx.transfer.regularizers.channel_weights import weigh_channels
from mmx.transfer.regularizers.features import (
    Strength,
    attach_reference,
    average_terms,
    disable_autocast,
    find_compared_modalities,
    make_zero,
    select_rows,
    upcast,
)
from mmx.transfer.regularizers.maps import Map, MapRecorder, compute_maps


class Delta(Regularizer):
    """Keeps the encoders' feature maps close to the source's, channel by channel.

        R = mean_m 1/n Σ_i ½ Σ_layers Σ_c a_c (C / HW) ‖FM_c(x_i) − FM0_c(x_i)‖²

    FM is the map of C channels and H × W positions after a stage of modality m's encoder, FM0
    that of the source in evaluation mode on the same rows. R is a mean over the n rows that have
    m, a mean over the positions of each (for audio, the frames that are not padding) and, since
    Σ_c a_c = 1, C times a weighted mean over channels: λ means the same at every batch and image
    size. It is a sum over the stages.

    a is the softmax over channels of the standardised increase of the loss when the channel is
    zeroed in the source's encoder, measured once before training by a ridge regression on
    its features (:func:`~mmx.transfer.regularizers.channel_weights.weigh_channels`).

    Stages are those of convolutional, residual and fully connected encoders, and quarters of a
    vision transformer. Of any other encoder the pooled features count, with H × W = 1.
    Frozen encoders whose features were computed in advance are left out. Use it in place of
    ``l2_sp`` when the weights may move but what the encoders extract should not; each step also
    runs the source's encoders.

    Args:
        strength: λ, the weight of the penalty in the loss.
        probe_rows: Training rows on which the increase of the loss is measured.

    Reference: Li et al. 2019, arXiv 1901.09229.
    """

    acts_on = "features"
    needs = frozenset({"weights", "model"})
    zero_at_start = True
    reads_modules = True

    def __init__(
        self,
        *,
        strength: Strength = 0.01,
        probe_rows: Annotated[int, Field(ge=1, le=10**10)] = 64,
    ) -> None:
        self.strength = strength
        self.probe_rows = probe_rows

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: There is no source, or no encoder that it shares with the target
                reads any training row.
        """
        reference, modalities = find_compared_modalities(context, "delta")
        weights = {
            name: context.keep(
                name,
                self.probe_rows,
                partial(weigh_channels, context, reference.encoder(name), name, self.probe_rows),
            )
            for name in modalities
        }
        weights = {name: found for name, found in weights.items() if found}
        if not weights:
            raise TransferError(
                "regularizer=delta: no encoder shared with the source reads any training row",
                tip="regularizer=none",
            )
        return DeltaPenalty(context, reference, weights, self.strength)


class DeltaPenalty(Penalty):
    """The penalty of :class:`Delta`; records the feature maps of the model that it is bound to.

    Args:
        context: The maps of its model are recorded.
        reference: The source.
        weights: Modality to a of each stage. They follow from the data, so no checkpoint holds
            them.
        strength: λ, the weight of the penalty in the loss.
    """

    reference: Reference

    def __init__(
        self,
        context: RegularizerContext,
        reference: Reference,
        weights: dict[str, list[Tensor]],
        strength: float,
    ) -> None:
        super().__init__()
        attach_reference(self, reference)
        self.strength = strength
        self.recorders = {
            name: MapRecorder(context.model.get_submodule(f"encoders.{name}")) for name in weights
        }
        for name, stages in weights.items():
            for index, weight in enumerate(stages):
                self.register_buffer(f"{name}_{index}", weight, persistent=False)

    def forward(self, step: Step) -> Tensor:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Penalty`."""
        return average_terms(self.strength, [term for _, term in self._terms(step)], step)

    def part(self, step: Step, rows: StepRows) -> Tensor:
        """Return a batch's part, of each modality's mean over the step's rows; see Penalty."""
        if not rows.present:
            return super().part(step, rows)
        # Each modality has its own mean: over its rows of the batch, n_m, times n_m / N_m of the
        # step. The mean over modalities counts those that any row of the step has.
        here, terms = step.batch.present, make_zero(step)
        for name, term in self._terms(step):
            terms = terms + term * (here[name].sum() / rows.present[name].sum())
        read = [rows.present[name].any() for name in self.recorders if name in step.batch.inputs]
        return self.strength * terms / torch.stack(read).sum().clamp(min=1) if read else terms

    def _terms(self, step: Step) -> Iterator[tuple[str, Tensor]]:
        """Yield each modality that any row of the batch has, and its mean over those rows."""
        batch = step.batch
        for name, recorder in self.recorders.items():
            maps = recorder.take()  # also if they are not needed: the next step must not see them
            if name not in batch.inputs:
                continue
            x, lengths = select_rows(name, batch, batch.inputs[name]), batch.lengths.get(name)
            if len(x) == 0:
                continue
            lengths = None if lengths is None else select_rows(name, batch, lengths)
            maps0 = compute_maps(self.reference.encoder(name), x, lengths)
            _check(name, maps, maps0)
            with disable_autocast(step):
                found = [
                    map_distance(*pair, self.get_buffer(f"{name}_{index}"))
                    for index, pair in enumerate(zip(maps, maps0, strict=True))
                ]
                yield name, torch.stack(found).sum()


def map_distance(new: Map, old: Map, weight: Tensor) -> Tensor:
    """Return 1/n Σ_i ½ Σ_c a_c (C / HW) ‖FM_c − FM0_c‖² of one stage.

    Args:
        new: FM.
        old: FM0.
        weight: a ``(C,)``.
    """
    # Subtracted in float32: under autocast the maps are half precision, and nearly equal.
    squares = new.mean((upcast(new.values) - upcast(old.values)).square())  # (n, C)
    return (squares @ weight).mean() * len(weight) / 2


def _check(name: str, maps: list[Map], maps0: list[Map]) -> None:
    here, there = ([tuple(each.values.shape[1:]) for each in found] for found in (maps, maps0))
    if here != there:
        raise TransferError(
            f"regularizer=delta: the {name} encoder's maps of (channels, positions) are {here}, "
            f"the source's {there}",
            tip="the same encoder options for both tasks, or regularizer=rkd",
        )
