"""Random batches as a model would say them, in which absent features are NaN."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mmx.objectives import ModelOutput

NAMES = ("text", "image", "audio", "tabular")  # unsorted on purpose


@dataclass(frozen=True)
class Sample:
    """A batch: what the model says, the target, and the widths of the features."""

    said: ModelOutput
    target: Tensor
    widths: dict[str, int]

    @property
    def leaves(self) -> list[Tensor]:
        """Return what a loss may have a gradient with respect to, besides parameters."""
        return [self.said.outputs, *self.said.pooled.values()]

    def changed(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """Return a sample with ``change`` applied to outputs, features, presence and target."""
        said = ModelOutput(
            change(self.said.outputs),
            {name: change(x) for name, x in self.said.pooled.items()},
            {name: change(x) for name, x in self.said.present.items()},
        )
        return replace(self, said=said, target=change(self.target))

    def reordered(self) -> Sample:
        """Return the same with all dicts in another order."""
        said = self.said
        return Sample(
            ModelOutput(
                said.outputs,
                dict(reversed(said.pooled.items())),
                dict(sorted(said.present.items())),
            ),
            self.target,
            dict(sorted(self.widths.items())),
        )


def make(
    seed: int = 0,
    modalities: int = 3,
    rows: int = 12,
    classes: int = 3,
    kind: str = "classes",
    presence: float = 0.7,
) -> Sample:
    random = torch.Generator().manual_seed(seed)
    names = NAMES[:modalities]
    widths = {name: 3 + index for index, name in enumerate(names)}
    here = torch.rand(rows, modalities, generator=random) < presence
    here[torch.arange(rows), torch.randint(modalities, (rows,), generator=random)] = True
    dtype = torch.get_default_dtype()
    pooled, present = {}, {}
    for index, (name, width) in enumerate(widths.items()):
        present[name] = here[:, index]
        x = torch.randn(rows, width, generator=random, dtype=dtype)
        pooled[name] = x.masked_fill(~here[:, index, None], torch.nan).requires_grad_()
    columns = 1 if kind == "regression" else classes
    outputs = torch.randn(rows, columns, generator=random, dtype=dtype).requires_grad_()
    target = {
        "classes": torch.arange(rows) % classes,
        "multilabel": (torch.rand(rows, classes, generator=random) < 0.5).to(dtype),
        "regression": torch.randn(rows, generator=random, dtype=dtype),
    }[kind]
    return Sample(ModelOutput(outputs, pooled, present), target, widths)


@pytest.fixture(scope="session")
def sample() -> Callable[..., Sample]:
    """Return ``make(seed, modalities, rows, classes, kind, presence) -> Sample``."""
    return make
