"""Feature transfer: the source's encoders as frozen extractors, features computed once."""

from __future__ import annotations

from torch import nn

from mmx.errors import TransferError
from mmx.transfer.base import Report, Source, Start, Transfer
from mmx.transfer.copying import copy_fitting
from mmx.transfer.parameter import whole_encoders


class Feature(Transfer):
    """Freezes every encoder that the source gives, BatchNorm statistics included.

    Fusion and head are fresh and trained on the cached features, without augmentation.
    The encoder of a modality that the source lacks is fresh and trained as well.
    """

    needs = "weights"
    takes_fusion = False

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Copy the encoders and freeze them."""
        if source is None:
            raise TransferError("feature transfer needs a trained source")
        encoders = {k: v for k, v in source.state.items() if k.startswith("encoders.")}
        done = copy_fitting(Source(encoders, ()), model, (), {})
        frozen = set(done.copied)
        whole = whole_encoders(list(model.state_dict()), frozen)
        partial = sorted(name for name in frozen if name.split(".")[1] not in whole)
        if partial:
            raise TransferError(
                f"the source's {partial[0].split('.')[1]} encoder fits only in part "
                f"({len(partial)} tensors): frozen beside fresh weights it would extract noise",
                tip="use transfer=parameter, or the same encoder options for both tasks",
            )
        fresh = sorted({name.split(".")[1] for name in done.fresh if name.startswith("encoders.")})
        notes = tuple(
            f"the {name} encoder is fresh: the source "
            + (
                f"has another {name} encoder"
                if any(tensor.startswith(f"encoders.{name}.") for tensor in encoders)
                else f"has no {name}"
            )
            for name in fresh
        )
        return Start(
            report=Report(frozen=tuple(sorted(frozen)), fresh=done.fresh, notes=notes),
            frozen=frozenset(frozen & dict(model.named_parameters()).keys()),
            frozen_encoders=whole,
        )
