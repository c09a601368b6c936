"""What torch computes and onnxruntime has no operator for goes to ONNX by other operators."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from mmx.export.formats.onnx import WITHOUT_OPERATOR, choose_truths
from mmx.export.quiet import keep_exporters_quiet

pytestmark = pytest.mark.slow
TRUTHS = torch.tensor([[True, True], [True, False], [False, True], [False, False]])


class Chosen(nn.Module):
    """Chooses among truths, as attention masks are joined, and among numbers."""

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.where(x > 0, x > 2, x < -1)
        return torch.where(mask, x, torch.zeros_like(x))


def test_a_choice_among_truths_is_that_of_torch() -> None:
    x, y = TRUTHS.unbind(1)
    for condition in (True, False):
        here = torch.full((4,), condition)
        assert torch.equal(choose_truths(here, x, y), torch.where(here, x, y))
    assert choose_truths(x, x.float(), y.float()) is NotImplemented


def test_a_choice_among_truths_goes_to_onnx(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module = Chosen().eval()
    with torch.no_grad(), keep_exporters_quiet():
        program = torch.export.export(
            module, (torch.zeros(3),), dynamic_shapes={"x": {0: Dim.DYNAMIC}}, strict=False
        )
        written = torch.onnx.export(
            program.run_decompositions(WITHOUT_OPERATOR),
            (),
            dynamo=True,
            verbose=False,
            input_names=["x"],
        )
    assert written is not None
    written.save(str(tmp_path / "chosen.onnx"))
    session = runtime.InferenceSession(str(tmp_path / "chosen.onnx"))
    x = torch.tensor([-2.0, -1.0, 0.5, 2.0, 3.0])
    (found,) = session.run(None, {"x": x.numpy()})
    assert found.tolist() == module(x).tolist() == [-2.0, 0.0, 0.0, 0.0, 3.0]
