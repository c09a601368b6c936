"""What mappings share: a fitted projection, mapping each modality, and the rows to learn from."""

from __future__ import annotations

from collections.abc import Mapping as Dict

import torch
from torch import Tensor, nn

from mmx.errors import DataError
from mmx.modalities import Encoded, Features


class Projection(nn.Module):
    """A linear map that is fitted, not trained.

        y = A (x - μ)

    Both are zero until :meth:`set` is called, so the shapes never depend on data.

    Attributes:
        mean: μ ``(D,)``.
        components: A ``(D', D)``.

    Args:
        inputs: D.
        outputs: D'.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("components", torch.zeros(outputs, inputs))

    def set(self, mean: Tensor, components: Tensor) -> None:
        """Set μ and the first rows of A; the remaining rows of A are zero."""
        self.mean.copy_(mean)
        self.components.zero_()[: len(components)].copy_(components)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(..., D')`` of ``x`` ``(..., D)``."""
        return nn.functional.linear(x - self.mean, self.components)


def map_each(
    maps: nn.ModuleDict, features: dict[str, Features], present: dict[str, Tensor]
) -> dict[str, Features]:
    """Return the features with each modality's tokens and pooled vector mapped.

    Rows of an absent modality are read as zeros: otherwise their values, which may be NaN, would
    reach the gradients of the map, even if nothing reads the rows themselves.
    """

    def map_tensor(name: str, x: Tensor) -> Tensor:
        absent = ~present[name].view(-1, *[1] * (x.dim() - 1))
        result: Tensor = maps[name](x.masked_fill(absent, 0.0))
        return result

    return {
        name: Features(
            map_tensor(name, each.tokens), each.mask, map_tensor(name, each.pooled), each.levels
        )
        for name, each in features.items()
    }


def training_rows(train: Encoded, name: str, among: Tensor | None = None) -> Tensor:
    """Return the ``(N_m, D)`` pooled vectors of the rows that have a modality, in float64.

    Args:
        train: Features of the training rows.
        name: The modality.
        among: ``(N,)`` bool, the rows to learn from; None for all that have the modality.

    Raises:
        DataError: The rows are fewer than two or all the same.
    """
    pooled = train.features[name].pooled.detach()
    rows = train.present[name] if among is None else among.to(pooled.device)
    x = pooled[rows].cpu().double()
    if len(x) < 2:
        raise DataError(
            f"the mapping has {_count_rows(len(x))} to learn {name} from, and needs at least 2",
            tip="mapping=linear needs no rows to start with",
        )
    if bool((x == x[0]).all()):
        raise DataError(
            f"the {name} features of all {_count_rows(len(x))} are equal: there is nothing to map",
            tip="mapping=linear needs no rows to start with",
        )
    return x


def describe_shortfalls(
    what: str, found: Dict[str, int], widths: Dict[str, int]
) -> tuple[str, ...]:
    """Return a note for each modality that fills fewer dimensions than it has.

    Args:
        what: What fills them, such as ``principal components``.
        found: Modality to the number of dimensions that are filled.
        widths: Modality to the number of its dimensions.
    """
    return tuple(
        f"{name}: {found[name]} of {width} dimensions are {what}, the others zero"
        for name, width in sorted(widths.items())
        if found[name] < width
    )


def _count_rows(rows: int) -> str:
    return f"{rows} training row{'' if rows == 1 else 's'}"
