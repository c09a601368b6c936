"""Parameter transfer: start from the source's weights and train on."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from mmx.errors import TransferError, closest
from mmx.transfer.base import Report, Source, Start, Transfer
from mmx.transfer.copying import copy_fitting
from mmx.transfer.l2_sp import l2_sp


class Parameter(Transfer):
    """Copies what fits: encoders, fusion, and head rows of shared classes.

    Args:
        freeze: Patterns of tensor names that stay as they were copied (``encoders.image.*``);
            BatchNorm statistics below them are frozen too.
        copied_rate: Learning rate of copied parameters, as a multiple of the others'.
        regularizer: ``l2_sp`` pulls copied parameters towards where they started, and
            takes the place of weight decay.
        alpha: Strength of that pull, L2-SP's α.
        beta: Pull of all other parameters towards zero, L2-SP's β.
        class_map: Source class to target class, where one class has two names.
    """

    needs = "weights"

    def __init__(
        self,
        *,
        freeze: tuple[str, ...] = (),
        copied_rate: Annotated[float, Field(gt=0)] = 1.0,
        regularizer: Literal["none", "l2_sp"] = "none",
        alpha: Annotated[float, Field(ge=0)] = 0.01,
        beta: Annotated[float, Field(ge=0)] = 0.01,
        class_map: dict[str, str] | None = None,
    ) -> None:
        self.freeze = freeze
        self.copied_rate = copied_rate
        self.regularizer = regularizer
        self.alpha = alpha
        self.beta = beta
        self.class_map = class_map or {}

    def unmatched(self, tensors: Sequence[str]) -> list[tuple[str, str]]:
        """Return the patterns of ``freeze`` that match nothing."""
        return [
            ("freeze", pattern)
            for pattern in self.freeze
            if not any(fnmatchcase(name, pattern) for name in tensors)
        ]

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Copy what fits, freeze what was asked for."""
        if source is None:
            raise TransferError("parameter transfer needs a trained source")
        done = copy_fitting(source, model, classes, self.class_map)
        from_source = {*done.copied, *done.adapted}
        frozen = self._frozen(list(model.state_dict()), from_source)
        parameters = dict(model.named_parameters())
        if not parameters.keys() - frozen:
            raise TransferError(
                f"transfer.freeze={','.join(self.freeze)} leaves nothing to train",
                tip="patterns look like encoders.image.* or fusion.*",
            )
        shared = (from_source & parameters.keys()) - frozen
        return Start(
            report=Report(
                copied=tuple(name for name in done.copied if name not in frozen),
                adapted=tuple(name for name in done.adapted if name not in frozen),
                frozen=tuple(sorted(frozen)),
                fresh=done.fresh,
                notes=done.notes,
            ),
            frozen=frozenset(frozen & parameters.keys()),
            frozen_encoders=whole_encoders(list(model.state_dict()), frozen),
            rates=dict.fromkeys(shared, self.copied_rate),
            weight_decay=self.regularizer == "none",
            regularizer=(
                l2_sp(model, shared, alpha=self.alpha, beta=self.beta)
                if self.regularizer == "l2_sp"
                else None
            ),
        )

    def _frozen(self, names: list[str], from_source: set[str]) -> set[str]:
        """Return the tensors that ``freeze`` names; each must hold something worth keeping."""
        frozen: set[str] = set()
        for pattern in self.freeze:
            found = {name for name in names if fnmatchcase(name, pattern)}
            if not found:
                near = closest(pattern, names)
                raise TransferError(
                    f"transfer.freeze={pattern} matches no tensor of the model"
                    + (f"; the closest is {near}" if near else ""),
                    tip="patterns look like encoders.image.* or fusion.*",
                )
            if not found & from_source:
                raise TransferError(
                    f"transfer.freeze={pattern} would freeze fresh weights only",
                    tip="freeze what the source gave: "
                    + ", ".join(sorted(from_source)[:3])
                    + ", …",
                )
            frozen |= found & from_source
        return frozen


def whole_encoders(names: list[str], frozen: set[str]) -> frozenset[str]:
    """Return the modalities all of whose encoder tensors are frozen."""
    tensors: dict[str, list[str]] = {}
    for name in names:
        if name.startswith("encoders."):
            tensors.setdefault(name.split(".")[1], []).append(name)
    return frozenset(key for key, own in tensors.items() if all(name in frozen for name in own))
