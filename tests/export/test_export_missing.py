"""Every treatment of missing inputs, traced for any number of rows, equals itself to 1e-5.

Rows are alike in one input, so that several are equally near.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mmx.contract.discovery import find_classes
from mmx.export.check import TOLERANCE
from mmx.export.formats.onnx import WITHOUT_OPERATOR
from mmx.export.quiet import keep_exporters_quiet
from mmx.missing import Missing
from mmx.missing.base import Shape
from mmx.missing.knn import KnnImputation
from mmx.modalities import Encoded, Features
from mmx.variants import variant

pytestmark = pytest.mark.slow
METHODS = find_classes("missing")
SHAPES = {"a": Shape(3), "b": Shape(5), "c": Shape(2)}


class MissingAlone(nn.Module):
    """A treatment of missing inputs, which takes pooled features and presence as tensors."""

    def __init__(self, treatment: Missing) -> None:
        super().__init__()
        self.treatment = treatment

    def forward(self, *tensors: Tensor) -> Tensor:
        features = {
            name: Features(x[:, None], torch.ones_like(x[:, :1], dtype=torch.bool), x)
            for name, x in zip(SHAPES, tensors[:-1], strict=True)
        }
        present = {name: tensors[-1][:, place] for place, name in enumerate(SHAPES)}
        filled, here = self.treatment(features, present)
        return torch.cat([filled[name].pooled * here[name][:, None] for name in SHAPES], 1)


def make_rows(count: int, seed: int) -> tuple[Tensor, ...]:
    """Return features of rows that lack inputs; ``a`` is one of four vectors."""
    random = torch.Generator().manual_seed(seed)
    texts = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    a = texts[torch.randint(0, 4, (count,), generator=random)]
    b, c = (torch.randn(count, width, generator=random) for width in (5, 2))
    present = torch.rand(count, 3, generator=random) > 0.5
    present[:, 0] |= ~present.any(1)
    return (*(x * present[:, [place]] for place, x in enumerate((a, b, c))), present)


def build(method: type[Missing]) -> MissingAlone:
    treatment = method(SHAPES)
    *values, present = make_rows(80, 1)
    train = Encoded(
        {
            name: Features(x[:, None], torch.ones(80, 1) > 0, x)
            for name, x in zip(SHAPES, values, strict=True)
        },
        {name: present[:, place] for place, name in enumerate(SHAPES)},
        torch.zeros(80),
    )
    if treatment.fitted:
        treatment.fit(train, 0)
    return MissingAlone(treatment).eval().requires_grad_(False)


def open_pt2(program: Any, folder: Path) -> Callable[..., Tensor]:
    torch.export.save(program, folder / "missing.pt2")
    module: Callable[..., Tensor] = torch.export.load(folder / "missing.pt2").module()
    return module


def open_onnx(program: Any, folder: Path) -> Callable[..., Tensor]:
    runtime = pytest.importorskip("onnxruntime")
    names = [*SHAPES, "present"]
    written = torch.onnx.export(
        program.run_decompositions(WITHOUT_OPERATOR),
        (),
        dynamo=True,
        verbose=False,
        input_names=names,
    )
    written.save(str(folder / "missing.onnx"))
    session = runtime.InferenceSession(str(folder / "missing.onnx"))

    def run(*tensors: Tensor) -> Tensor:
        feed = {name: each.numpy() for name, each in zip(names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


@pytest.mark.parametrize("method", METHODS, ids=variant)
def test_fills_in_as_before_where_rows_are_alike(method: type[Missing], tmp_path: Path) -> None:
    module = build(method)
    rows = ({0: Dim.DYNAMIC},) * (len(SHAPES) + 1)
    with torch.no_grad(), keep_exporters_quiet():
        program = torch.export.export(
            module, make_rows(3, 0), dynamic_shapes={"tensors": rows}, strict=False
        )
        for open_format in (open_pt2, open_onnx):
            run = open_format(program, tmp_path)
            for count in (100, 1):
                tensors = make_rows(count, 7)
                difference = (module(*tensors) - run(*tensors)).abs().max()
                assert difference <= TOLERANCE, open_format.__name__


def test_rows_are_alike() -> None:
    """More donors are as near as the last that counts than enter the mean."""
    knn = build(KnnImputation).treatment
    assert isinstance(knn, KnnImputation)
    *values, present = make_rows(100, 7)
    distances = torch.cdist(values[0], knn.donors[:80, :3])
    able = knn.has[:80, 0] & knn.has[:80, 1]
    alone = present[:, 0] & ~present[:, 1] & ~present[:, 2]
    last = distances[alone][:, able].topk(knn.n_neighbors, largest=False).values[:, -1:]
    assert ((distances[alone][:, able] <= last).sum(1) > knn.n_neighbors).any()
