"""What imputations share: one vector for each modality, split into its parts afterwards."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.missing.base import Missing, Shape
from mmx.modalities import Encoded, Features


class Imputing(Missing):
    """Base of the imputations, which fill in the features of an absent modality.

    A modality is one vector x_m = [pooled; levels] of F_m numbers, zeros where it is absent.
    Imputed features have no gradient, and a single token, which is the pooled vector. A modality
    is imputed wherever it is absent, provided that some training row had it; before the first
    :meth:`fit` nothing is imputed. Features that are present do not change.

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
            dtype = torch.get_default_dtype()  # as the buffers have; features may be in bf16
            imputed = self.impute({name: each.to(dtype) for name, each in x.items()}, present)
        known = dict(zip(self.modalities, self.known, strict=True))
        filled = {
            name: _fill_rows(features[name], imputed[name], ~present[name] & known[name])
            for name in self.modalities
        }
        return filled, {name: present[name] | known[name] for name in self.modalities}

    def split_modalities(self, side_by_side: Tensor) -> dict[str, Tensor]:
        """Return modality to its columns ``(..., F_m)`` of ``(..., ΣF)``."""
        parts = torch.split(side_by_side, list(self.sizes.values()), dim=-1)
        return dict(zip(self.modalities, parts, strict=True))

    @abstractmethod
    def learn(self, x: dict[str, Tensor], present: dict[str, Tensor], seed: int) -> None:
        """Learn from all training rows, on the CPU.

        Args:
            x: Modality to ``(N, F_m)``, zeros where absent.
            present: Modality to ``(N,)`` bool.
            seed: Determines all random draws.
        """

    @abstractmethod
    def impute(self, x: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return modality to ``(B, F_m)``; only rows that lack a known modality are used.

        Args:
            x: Modality to ``(B, F_m)``, zeros where absent.
            present: Modality to ``(B,)`` bool.
        """


def _vector(features: Features, present: Tensor) -> Tensor:
    """Return ``(B, F_m)``: pooled vector and levels side by side, zeros where absent."""
    parts = (features.pooled, *features.levels)
    return torch.cat(parts, dim=1).masked_fill(~present[:, None], 0.0)


def _fill_rows(features: Features, vector: Tensor, where: Tensor) -> Features:
    """Return the features with the rows ``where`` ``(B,)`` replaced by those of ``vector``."""

    def replace_rows(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(where.view(-1, *[1] * (old.dim() - 1)), new.to(old.dtype), old)

    steps = features.tokens.shape[1]
    olds = (features.pooled, *features.levels)
    news = torch.split(vector, [old.shape[1] for old in olds], dim=1)
    pooled, *levels = (replace_rows(new, old) for new, old in zip(news, olds, strict=True))
    first = F.pad(news[0][:, None], (0, 0, 0, steps - 1))  # (B, T, D): one token, then zeros
    is_first = torch.arange(steps, device=where.device) == 0
    return Features(
        replace_rows(first, features.tokens),
        replace_rows(is_first.expand_as(features.mask), features.mask),
        pooled,
        tuple(levels),
    )
