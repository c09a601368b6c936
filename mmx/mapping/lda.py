"""Linear discriminant analysis."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.errors import DataError
from mmx.mapping.base import Mapping
from mmx.mapping.projection import Projection, describe_shortfalls, map_each, training_rows
from mmx.modalities import Encoded, Features


class Lda(Mapping):
    """Keeps the directions that separate the classes best, relative to the spread within them.

        y_m = A_m (x_m - μ_m),  (S_t - S_w) a = λ S_w a,  aᵀ S_w a = 1

    S_t is the covariance of all rows and S_w the mean covariance within a class. Both are shrunk
    towards a multiple of the identity: otherwise, with more features than rows, some direction
    would separate the training rows perfectly and say nothing about other rows. C classes have
    at most C - 1 directions; further dimensions are zero. Use it for few classes and many
    features.

    Args:
        widths: Modality to D_m.
        width: D', for each modality that has at least as many features.
        shrinkage: How much S_t and S_w are shrunk; ``auto``: as Ledoit and Wolf estimate it.

    Reference: Fisher 1936; Ledoit and Wolf 2004; computed by scikit-learn.
    """

    fitted = True
    kinds = frozenset({"classes"})

    def __init__(
        self,
        widths: dict[str, int],
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 64,
        shrinkage: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto",
    ) -> None:
        super().__init__(widths)
        self.shrinkage = shrinkage
        self.widths = {name: min(width, widths[name]) for name in self.modalities}
        self.maps = nn.ModuleDict(
            {name: Projection(widths[name], self.widths[name]) for name in self.modalities}
        )

    def fit(self, train: Encoded, seed: int) -> tuple[str, ...]:
        """Find the discriminants; see :class:`~mmx.mapping.base.Mapping`.

        Raises:
            DataError: There are too few rows, too few classes or no spread to learn from.
        """
        found = {}
        for name in self.modalities:
            rows = _classes_with_spread(train, name)
            x, target = training_rows(train, name, rows), train.target.cpu()[rows]
            mean, components = self._discriminants(name, x, target)
            cast(Projection, self.maps[name]).set(mean, components[: self.widths[name]])
            found[name] = len(components)
        return describe_shortfalls("discriminants", found, self.widths)

    def _discriminants(self, name: str, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean ``(D,)`` of the rows and all their discriminants ``(K, D)``."""
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # slow to import

        classes = int(target.bincount().count_nonzero())
        if classes < 2:
            raise DataError(
                f"lda needs 2 classes with 2 training rows that have {name}; there are {classes}"
            )
        lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage=self.shrinkage)
        try:
            lda.fit(x.numpy(), target.numpy())
        except np.linalg.LinAlgError as error:
            raise DataError(
                f"lda with shrinkage={self.shrinkage}: within their classes, the {name} features "
                "do not vary in every direction",
                tip="mapping.shrinkage=0.1",
            ) from error
        components = torch.from_numpy(lda.scalings_.T[: min(classes - 1, x.shape[1])])
        return x.mean(0), components

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Map pooled vectors and tokens; see :class:`~mmx.mapping.base.Mapping`."""
        return map_each(self.maps, features, present)


def _classes_with_spread(train: Encoded, name: str) -> Tensor:
    """Return ``(N,)`` bool: rows with the modality, in classes with at least two such rows."""
    here, target = train.present[name].cpu(), train.target.cpu()
    counts = torch.bincount(target[here], minlength=int(target.max()) + 1)
    return here & (counts[target] >= 2)
