"""Canonical correlation analysis."""

from __future__ import annotations

from typing import Annotated, cast

from pydantic import Field
from torch import Tensor, nn

from mmx.mapping.base import Mapping
from mmx.mapping.canonical import find_canonical, find_shared_rows
from mmx.mapping.pca import fit_principal
from mmx.mapping.projection import Projection, describe_shortfalls, map_each
from mmx.modalities import Encoded, Features


class Cca(Mapping):
    """Projects the modalities to dimensions that are maximally correlated between them.

        y_m = A_m (x_m - μ_m),  L_m L_mᵀ = S_mm + ridge · tr(S_mm) / D_m · I

    S_mn is the covariance of x_m and x_n over the rows that have both, L_m a Cholesky
    factor and T_mn = L_m⁻¹ S_mn L_n⁻ᵀ. Two modalities, with T = U diag(ρ) Vᵀ: A_1 = Uᵀ L_1⁻¹
    and A_2 = Vᵀ L_2⁻¹, so that ρ are the canonical correlations. For more than two, the MAXVAR
    generalisation: v_1, v_2, … are the first eigenvectors of the matrix of all T_mn (I where
    m = n), and A_m = √M v_mᵀ L_m⁻¹; for two modalities the result is the same. A single modality
    has nothing to correlate with: it is mapped by its whitened principal components.

    Rows with only one of several modalities are not used. All modalities get the same width, at
    most the smallest D_m; dimensions without correlation are zero. Use it where what the
    modalities have in common matters and what only one of them shows is noise.

    Args:
        widths: Modality to D_m.
        width: D', if every D_m is at least as large.
        ridge: Added to each modality's covariance, in units of its mean variance.

    Reference: Hotelling 1936; Kettenring 1971 for more than two.
    """

    fitted = True

    def __init__(
        self,
        widths: dict[str, int],
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 64,
        ridge: Annotated[float, Field(gt=0, le=1e6)] = 1e-3,
    ) -> None:
        super().__init__(widths)
        self.ridge = ridge
        self.common = min(width, *widths.values())
        self.widths = dict.fromkeys(self.modalities, self.common)
        self.maps = nn.ModuleDict(
            {name: Projection(widths[name], self.common) for name in self.modalities}
        )

    def fit(self, train: Encoded, seed: int) -> tuple[str, ...]:
        """Find the projections; see :class:`~mmx.mapping.base.Mapping`."""
        if len(self.modalities) == 1:
            return fit_principal(self.maps, self.widths, train, whiten=True)
        x, used = find_shared_rows(train)
        found = find_canonical(x, used, width=self.common, ridge=self.ridge)
        for name in self.modalities:
            projection = cast(Projection, self.maps[name])
            projection.set(found.means[name], found.components[name])
        counts = dict.fromkeys(self.modalities, len(found.correlations))
        return (found.note(), *describe_shortfalls("correlated", counts, self.widths))

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Map pooled vectors and tokens; see :class:`~mmx.mapping.base.Mapping`."""
        return map_each(self.maps, features, present)
