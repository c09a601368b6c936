"""What imputing methods share: one vector for each modality, taken apart again."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.missing.base import Missing, Shape
from mmx.modalities import Encoded, Features


class Imputing(Missing):
    """Base of the methods that put something in the place of what is absent.

    A modality is one vector x_m = [pooled; levels] of F_m numbers, zeros where it is absent.
    What takes its place has no gradient, and as tokens it is a single one, the pooled vector.
    A modality is filled in wherever it is absent, if some training row had it; nothing is
    before the first :meth:`fit`. What is present passes as it is.

    Attributes:
        sizes: Modality to F_m.
        known: ``(M,)`` bool, whether a training row had the modality.

    Args:
        shapes: Modality to widths.
    """

    fitted = True
    known: Tensor

    def __init__(self, shapes: dict[str, Shape]) -> None:
        super().__init__(shapes)
        self.sizes = {
            name: shapes[name].pooled + sum(shapes[name].levels) for name in self.modalities
        }
        self.register_buffer("known", torch.zeros(len(shapes), dtype=torch.bool))

    def fit(self, train: Encoded, seed: int) -> None:
        """Learn from the training rows; see :class:`~mmx.missing.base.Missing`."""
        x = {
            name: _vector(train.features[name], train.present[name]).detach().cpu()
            for name in self.modalities
        }
        present = {name: train.present[name].cpu() for name in self.modalities}
        self.known.copy_(torch.stack([here.any() for here in present.values()]))
        self.learn(x, present, seed)

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> tuple[dict[str, Features], dict[str, Tensor]]:
        """Fill in what is absent; see :class:`~mmx.missing.base.Missing`."""
        device = self.known.device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            x = {name: _vector(features[name], present[name]) for name in self.modalities}
            dtype = torch.get_default_dtype()  # of the buffers
            imputed = self.impute({name: each.to(dtype) for name, each in x.items()}, present)
        known = dict(zip(self.modalities, self.known, strict=True))
        filled = {
            name: _filled(features[name], imputed[name], ~present[name] & known[name])
            for name in self.modalities
        }
        return filled, {name: present[name] | known[name] for name in self.modalities}

    def apart(self, side_by_side: Tensor) -> dict[str, Tensor]:
        """Return modality to its part ``(..., F_m)`` of ``(..., ΣF)``."""
        parts = torch.split(side_by_side, list(self.sizes.values()), dim=-1)
        return dict(zip(self.modalities, parts, strict=True))

    @abstractmethod
    def learn(self, x: dict[str, Tensor], present: dict[str, Tensor], seed: int) -> None:
        """Learn from all training rows, on the CPU.

        Args:
            x: Modality to ``(N, F_m)``, zeros where absent.
            present: Modality to ``(N,)`` bool.
            seed: Decides everything that is drawn.
        """

    @abstractmethod
    def impute(self, x: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return modality to ``(B, F_m)``, read only where it is absent and known.

        Args:
            x: Modality to ``(B, F_m)``, zeros where absent.
            present: Modality to ``(B,)`` bool.
        """


def _vector(features: Features, present: Tensor) -> Tensor:
    """Return ``(B, F_m)``: pooled vector and levels side by side, zeros where absent."""
    parts = (features.pooled, *features.levels)
    return torch.cat(parts, dim=1).masked_fill(~present[:, None], 0.0)


def _filled(features: Features, vector: Tensor, where: Tensor) -> Features:
    """Return the features with those of the rows ``where`` ``(B,)`` taken from ``vector``."""

    def put(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(where.view(-1, *[1] * (old.dim() - 1)), new.to(old.dtype), old)

    steps = features.tokens.shape[1]
    olds = (features.pooled, *features.levels)
    news = torch.split(vector, [old.shape[1] for old in olds], dim=1)
    pooled, *levels = (put(new, old) for new, old in zip(news, olds, strict=True))
    first = F.pad(news[0][:, None], (0, 0, 0, steps - 1))  # (B, T, D), zeros behind one token
    is_first = torch.arange(steps, device=where.device) == 0
    return Features(
        put(first, features.tokens),
        put(is_first.expand_as(features.mask), features.mask),
        pooled,
        tuple(levels),
    )
