"""Principal components."""

from __future__ import annotations

from typing import Annotated, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.mapping.base import Mapping
from mmx.mapping.projection import Projection, describe_shortfalls, map_each, training_rows
from mmx.modalities import Encoded, Features


class Pca(Mapping):
    """Keeps the directions in which a modality's training rows vary most.

        y_m = Λ^{-1/2} V (x_m - μ_m), Λ^{-1/2} only with ``whiten``

    V are the first eigenvectors of the covariance, Λ its eigenvalues. A modality keeps at most
    D_m dimensions. If its rows vary in fewer directions (N rows vary in at most N - 1), the
    remaining dimensions are zero. Use it to reduce wide features of frozen encoders without
    labels.

    Args:
        widths: Modality to D_m.
        width: D', for each modality that has at least as many features.
        whiten: Give every dimension variance 1.

    Reference: Pearson 1901; computed by scikit-learn.
    """

    fitted = True

    def __init__(
        self,
        widths: dict[str, int],
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 64,
        whiten: bool = False,
    ) -> None:
        super().__init__(widths)
        self.whiten = whiten
        self.widths = {name: min(width, widths[name]) for name in self.modalities}
        self.maps = nn.ModuleDict(
            {name: Projection(widths[name], self.widths[name]) for name in self.modalities}
        )

    def fit(self, train: Encoded, seed: int) -> tuple[str, ...]:
        """Find the components; see :class:`~mmx.mapping.base.Mapping`."""
        return fit_principal(self.maps, self.widths, train, whiten=self.whiten)

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Map pooled vectors and tokens; see :class:`~mmx.mapping.base.Mapping`."""
        return map_each(self.maps, features, present)


def fit_principal(
    maps: nn.ModuleDict, widths: dict[str, int], train: Encoded, *, whiten: bool
) -> tuple[str, ...]:
    """Set each modality's :class:`Projection` to its principal components, and return notes."""
    found = {}
    for name in sorted(widths):
        mean, components = find_principal(training_rows(train, name), widths[name], whiten=whiten)
        cast(Projection, maps[name]).set(mean, components)
        found[name] = len(components)
    return describe_shortfalls("principal components", found, widths)


def find_principal(x: Tensor, width: int, *, whiten: bool) -> tuple[Tensor, Tensor]:
    """Return the mean and at most ``width`` principal components of ``x`` ``(N, D)``.

    Directions in which float32 features differ by rounding only are left out: whitening would
    scale this noise up to variance 1.
    """
    from sklearn.decomposition import PCA  # slow to import, and not needed to refuse a config

    rows, inputs = x.shape
    solver = "covariance_eigh" if rows > inputs else "full"  # neither draws random numbers
    pca = PCA(min(width, rows, inputs), svd_solver=solver).fit(x.numpy())
    spread = np.sqrt(pca.explained_variance_)
    # The tolerance of numpy.linalg.matrix_rank, for singular values of float32 features.
    kept = spread > spread[0] * inputs * torch.finfo(torch.float32).eps
    scale = spread[kept, None] if whiten else 1.0
    return torch.from_numpy(pca.mean_), torch.from_numpy(pca.components_[kept] / scale)
