"""Deep canonical correlation analysis."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, islice
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.errors import TrainingError
from mmx.mapping.base import Mapping
from mmx.mapping.canonical import factor, find_canonical, find_shared_rows, whiten_cross
from mmx.mapping.pca import fit_principal
from mmx.mapping.projection import Projection, describe_shortfalls, map_each
from mmx.modalities import Encoded, Features


class DeepCca(Mapping):
    """Maps the modalities by networks that are trained to have highly correlated outputs.

        h_m = V_m relu(W_m z_m + b_m) + c_m,  z_m: x_m with every feature standardised
        max Σ_{m<n} Σ_k ρ_k(h_m, h_n),  ρ_k the canonical correlations of a batch

    The networks are trained once by Adam, before the model is trained, and are then fixed. The
    projections of :class:`~mmx.mapping.cca.Cca` are applied to their outputs. As there, rows with
    only one modality are not used, the covariances have a ridge, and a single modality is mapped
    by its whitened principal components.

    Use large batches: in a batch with no more rows than dimensions, the outputs correlate
    perfectly whatever the data. Prefer ``cca`` unless there are thousands of rows.

    Args:
        widths: Modality to D_m.
        width: D' of the outputs; at most D_m for a single modality.
        hidden: Width of the ReLU layer.
        ridge: Added to each covariance, in units of its mean variance.
        steps: Steps of Adam; they bound the time, whatever the number of rows.
        batch_size: The most rows in a step.
        lr: Learning rate of Adam.

    Reference: Andrew et al. 2013, "Deep canonical correlation analysis" (ICML).
    """

    fitted = True

    def __init__(
        self,
        widths: dict[str, int],
        *,
        width: Annotated[int, Field(ge=1, le=65_536)] = 64,
        hidden: Annotated[int, Field(ge=1, le=65_536)] = 128,
        ridge: Annotated[float, Field(gt=0, le=1e6)] = 1e-3,
        steps: Annotated[int, Field(ge=1, le=1_000_000)] = 300,
        batch_size: Annotated[int, Field(ge=2, le=1_000_000)] = 1000,
        lr: Annotated[float, Field(gt=0, le=1000)] = 1e-3,
    ) -> None:
        super().__init__(widths)
        self.ridge, self.steps, self.batch_size, self.lr = ridge, steps, batch_size, lr
        alone = len(widths) == 1
        self.common = min(width, *widths.values()) if alone else width
        self.widths = dict.fromkeys(self.modalities, self.common)
        self.maps = nn.ModuleDict(
            {
                name: Projection(widths[name], self.common)
                if alone
                else _Network(widths[name], hidden, self.common)
                for name in self.modalities
            }
        )

    def fit(self, train: Encoded, seed: int) -> tuple[str, ...]:
        """Train the networks; see :class:`~mmx.mapping.base.Mapping`.

        Raises:
            DataError: There are too few rows to learn from.
            TrainingError: The correlation has become NaN.
        """
        if len(self.modalities) == 1:
            return fit_principal(self.maps, self.widths, train, whiten=True)
        x, used = find_shared_rows(train)
        networks = {name: cast(_Network, self.maps[name]) for name in self.modalities}
        generator = torch.Generator().manual_seed(seed)
        with torch.inference_mode(False):  # gradients are needed here, even if the caller has none
            z = {name: networks[name].standardise(x[name], used[name]) for name in networks}
            weights = {name: networks[name].draw(generator) for name in networks}
            try:
                self._train(weights, z, used, generator)
                h = {name: _outputs(z[name], weights[name]).detach().double() for name in z}
                found = find_canonical(h, used, width=self.common, ridge=self.ridge)
            except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]  # of NaN
                raise TrainingError(
                    f"deep_cca diverged at a learning rate of {self.lr:g}",
                    tip=f"mapping.lr={self.lr / 10:g}",
                ) from error
        for name, network in networks.items():
            network.set(weights[name], found.means[name], found.components[name])
        counts = dict.fromkeys(self.modalities, len(found.correlations))
        return (found.note(), *describe_shortfalls("correlated", counts, self.widths))

    def _train(
        self,
        weights: dict[str, list[Tensor]],
        z: dict[str, Tensor],
        used: dict[str, Tensor],
        generator: torch.Generator,
    ) -> None:
        """Train the weights in place for ``steps`` steps."""
        optimizer = torch.optim.Adam([w for each in weights.values() for w in each], lr=self.lr)
        rows = torch.stack(list(used.values())).any(0).nonzero().squeeze(1)
        for batch in islice(_batches(rows, self.batch_size, generator), self.steps):
            h = {name: _outputs(z[name][batch], weights[name]) for name in z}
            here = {name: used[name][batch] for name in z}
            loss = -total_correlation(h, here, self.ridge)
            if not loss.requires_grad:  # no two rows of the batch share two modalities
                continue
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def forward(
        self, features: dict[str, Features], present: dict[str, Tensor]
    ) -> dict[str, Features]:
        """Map pooled vectors and tokens; see :class:`~mmx.mapping.base.Mapping`."""
        return map_each(self.maps, features, present)


class _Network(nn.Module):
    """One modality's network and the projection on top; only buffers, since it does not train."""

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        shapes = ((hidden, inputs), (hidden,), (outputs, hidden), (outputs,))
        for name, shape in zip(_WEIGHTS, shapes, strict=True):
            self.register_buffer(name, torch.zeros(shape))
        self.projection = Projection(outputs, outputs)

    @property
    def weights(self) -> list[Tensor]:
        """W, b, V and c."""
        return [self.get_buffer(name) for name in _WEIGHTS]

    def standardise(self, x: Tensor, used: Tensor) -> Tensor:
        """Learn mean and deviation of the used rows of ``x`` ``(N, D)``.

        Returns:
            All rows standardised, in float32; rows that are not used are zero.
        """
        mean, deviation = x[used].mean(0), x[used].std(0, correction=0)
        # A constant feature has a deviation of rounding errors: dividing by it would add noise.
        scale = deviation.where(deviation > 1e-6 * deviation.max(), 1.0)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        return ((x - mean) / scale).masked_fill(~used[:, None], 0.0).float()

    def draw(self, generator: torch.Generator) -> list[Tensor]:
        """Return initial W, b, V and c, drawn uniformly from ±√(1 / fan-in)."""
        drawn = []
        for index, like in enumerate(self.weights):
            # Each bias (odd index) has the fan-in of the matrix before it.
            bound = self.weights[index - index % 2].shape[1] ** -0.5
            start = torch.rand(like.shape, generator=generator, dtype=torch.float32)
            drawn.append(((2 * start - 1) * bound).requires_grad_())
        return drawn

    def set(self, weights: list[Tensor], mean: Tensor, components: Tensor) -> None:
        """Copy in the trained weights and the projection on top."""
        for buffer, weight in zip(self.weights, weights, strict=True):
            buffer.copy_(weight.detach())
        self.projection.set(mean, components)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(..., D')`` of ``x`` ``(..., D)``."""
        projected: Tensor = self.projection(_outputs((x - self.mean) / self.scale, self.weights))
        return projected


_WEIGHTS = ("hidden_weight", "hidden_bias", "output_weight", "output_bias")


def _outputs(z: Tensor, weights: list[Tensor]) -> Tensor:
    """Return V relu(W z + b) + c."""
    first, first_bias, second, second_bias = weights
    return F.linear(F.linear(z, first, first_bias).relu(), second, second_bias)


def _batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of at most ``size`` rows without end, in a new order in each epoch.

    The batches of an epoch differ in size by at most one row.
    """
    while True:
        order = rows[torch.randperm(len(rows), generator=generator)]
        yield from order.tensor_split(math.ceil(len(rows) / size))


def total_correlation(h: dict[str, Tensor], here: dict[str, Tensor], ridge: float) -> Tensor:
    """Return Σ_{m<n} Σ_k ρ_k(h_m, h_n), each pair over the rows that have both.

    Args:
        h: Modality to ``(B, D)``.
        here: Modality to ``(B,)`` bool.
        ridge: In units of the mean variance of a modality.
    """
    total = torch.zeros((), dtype=torch.float64)
    for pair in combinations(sorted(h), 2):
        rows = here[pair[0]] & here[pair[1]]
        if rows.sum() > 1:
            both = [h[name][rows].double() for name in pair]
            first, second = (x - x.mean(0) for x in both)
            whitened = whiten_cross((first, factor(first, ridge)), (second, factor(second, ridge)))
            total = total + torch.linalg.svdvals(whitened).sum()
    return total
