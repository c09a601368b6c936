"""Every fusion, traced for batches of any size and tokens of any number, equals itself to 1e-5.

The list of fusions is that of the package. What is compared is the exported program, read again,
on rows that lack inputs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mmx.contract.discovery import find_classes
from mmx.contract.example_features import FeatureRows, make_features, make_widths
from mmx.export.check import TOLERANCE
from mmx.export.quiet import keep_exporters_quiet
from mmx.export.recurrent import whole_recurrent_layers
from mmx.fusion import Fusion
from mmx.modalities import Encoded, Features
from mmx.variants import variant

pytestmark = pytest.mark.slow
COUNT, ROWS = 3, 100
METHODS = find_classes("fusion")
CLASSES = 3


class FusionAlone(nn.Module):
    """A fusion and its head, which take tokens, their masks and presence as tensors."""

    def __init__(self, fusion: Fusion, names: list[str]) -> None:
        super().__init__()
        self.fusion, self.names = fusion, names
        self.head = nn.Identity() if fusion.decides else nn.Linear(fusion.width, CLASSES)

    def forward(self, *tensors: Tensor) -> Tensor:
        present = tensors[-1]
        features = {}
        for place, name in enumerate(self.names):
            tokens, mask, pooled, *levels = tensors[4 * place : 4 * place + 4]
            features[name] = Features(tokens, mask, pooled, tuple(levels[0].split((2, 4), 1)))
        here = {name: present[:, place] for place, name in enumerate(self.names)}
        found: Tensor = self.head(self.fusion(features, here))
        return found


def make_rows(count: int, tokens: int, seed: int) -> FeatureRows:
    """Return features of some rows, at least one input present in each."""
    generator = torch.Generator().manual_seed(seed)
    features, present = {}, {}
    there = torch.rand(count, COUNT, generator=generator) > 0.4
    there[:, 0] |= ~there.any(1)
    for place, (name, width) in enumerate(sorted(make_widths(COUNT).items())):
        lengths = torch.randint(1, tokens + 1, (count, 1), generator=generator)
        features[name] = Features(
            torch.randn(count, tokens, width.pooled, generator=generator),
            torch.arange(tokens) < lengths,
            torch.randn(count, width.pooled, generator=generator),
            tuple(torch.randn(count, each, generator=generator) for each in (2, 4)),
        )
        present[name] = there[:, place]
    return FeatureRows(features, present)


def flatten(rows: FeatureRows) -> tuple[Tensor, ...]:
    tensors: list[Tensor] = []
    for each in rows.features.values():
        tensors += [each.tokens, each.mask, each.pooled, torch.cat(each.levels, 1)]
    return (*tensors, torch.stack(list(rows.present.values()), 1))


def build(method: type[Fusion]) -> FusionAlone:
    """Return a fusion in evaluation mode, its fitted part settled on random rows."""
    torch.manual_seed(0)
    fusion = method(make_widths(COUNT), outputs=CLASSES).eval()
    if fusion.settles:
        rows = [make_rows(count, 5, seed) for count, seed in ((60, 1), (30, 2))]
        encoded = [
            Encoded(each.features, each.present, torch.arange(len(each)) % CLASSES) for each in rows
        ]
        fusion.settle(*encoded, seed=0)
    return FusionAlone(fusion, sorted(make_widths(COUNT))).eval()


def trace(module: FusionAlone) -> Any:
    any_size = Dim.DYNAMIC
    axes = ({0: any_size, 1: any_size}, {0: any_size, 1: any_size}, {0: any_size}, {0: any_size})
    dynamic = (*(axes * COUNT), {0: any_size})
    with torch.no_grad(), whole_recurrent_layers(), keep_exporters_quiet():
        return torch.export.export(
            module.requires_grad_(False),
            flatten(make_rows(3, 6, 0)),
            dynamic_shapes={"tensors": dynamic},
            strict=False,
        )


def open_pt2(program: Any, folder: Path) -> Callable[..., Tensor]:
    with keep_exporters_quiet():
        torch.export.save(program, folder / "fusion.pt2")
        module: Callable[..., Tensor] = torch.export.load(folder / "fusion.pt2").module()
    return module


def open_onnx(program: Any, folder: Path) -> Callable[..., Tensor]:
    runtime = pytest.importorskip("onnxruntime")
    with torch.no_grad(), whole_recurrent_layers(), keep_exporters_quiet():
        names = [f"x{place}" for place in range(4 * COUNT + 1)]
        written = torch.onnx.export(program, (), dynamo=True, verbose=False, input_names=names)
    written.save(str(folder / "fusion.onnx"))
    session = runtime.InferenceSession(str(folder / "fusion.onnx"))

    def run(*tensors: Tensor) -> Tensor:
        feed = {f"x{place}": each.numpy() for place, each in enumerate(tensors)}
        return torch.from_numpy(session.run(None, feed)[0])

    return run


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep torch's trace, of thousands of lines, out of what pytest captures."""
    logger = logging.getLogger("torch.__trace")
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("method", METHODS, ids=variant)
def test_answers_as_before_on_rows_that_lack_inputs(method: type[Fusion], tmp_path: Path) -> None:
    module = build(method)
    program = trace(module)
    for open_format in (open_pt2, open_onnx):
        run = open_format(program, tmp_path)
        for count, tokens in ((ROWS, 9), (1, 1), (2, 4)):
            tensors = flatten(make_rows(count, tokens, 7))
            with torch.no_grad():
                wanted, found = module(*tensors), run(*tensors)
            difference = ((wanted - found).abs() / wanted.abs().clamp(min=1)).max()
            assert difference <= TOLERANCE, open_format.__name__


def test_documents_name_every_fusion() -> None:
    """The table of docs/guides/export.md is of all fusions."""
    text = (Path(__file__).parents[2] / "docs/guides/export.md").read_text(encoding="utf-8")
    assert [name for name in map(variant, METHODS) if f"`{name}`" not in text] == []


def test_features_are_those_of_the_contract() -> None:
    """The made-up widths have the levels that FusionAlone splits."""
    assert {each.levels for each in make_widths(COUNT).values()} == {(2, 4)}
    assert set(make_features(make_widths(COUNT)).features) == set(make_widths(COUNT))
