"""The graph that is exported: raw values and presence in, outputs and answers out.

Shape legend: ``B`` batch, ``M`` inputs, ``C`` outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmx.export.inputs import GraphInput
from mmx.modalities import Batch
from mmx.model import MultimodalModel
from mmx.tasks import Target

PRESENT = "present"
"""The input ``(B, M)`` bool: which inputs each row has."""
OUTPUTS, ANSWERS = "outputs", "answers"
"""What a graph returns; see :class:`ExportGraph`."""


def name_lengths(name: str) -> str:
    """Return what the lengths of an input are called."""
    return f"{name}.lengths"


class ExportGraph(nn.Module):
    """A trained model from raw values to answers, in float32 on the CPU.

    It takes the tensors that :attr:`names` lists, in that order, and returns

    - ``outputs`` ``(B, C)``: logits after calibration, or standardised numbers;
    - ``answers``: ``(B, C)`` probabilities, or ``(B,)`` numbers in the target's own unit.

    A row that lacks an input holds anything there, finite; ``present`` says so.

    Args:
        model: Trained; it is copied.
        inputs: Input to how it enters, in any order.
        target: What the model predicts.
    """

    def __init__(
        self, model: MultimodalModel, inputs: Mapping[str, GraphInput[Any]], target: Target
    ) -> None:
        super().__init__()
        own = copy.deepcopy(model).to("cpu", torch.float32).eval()
        self.model = own.to(memory_format=torch.contiguous_format).requires_grad_(False)
        self.inputs = nn.ModuleDict({name: inputs[name] for name in sorted(inputs)})
        self.target = target

    @property
    def names(self) -> list[str]:
        """The tensors that the graph takes: of each input values and lengths, then presence."""
        found = []
        for name, each in self.list_inputs().items():
            found += [name, name_lengths(name)] if each.has_lengths else [name]
        return [*found, PRESENT]

    def list_inputs(self) -> dict[str, GraphInput[Any]]:
        """Return how each input enters, by name, sorted."""
        return dict(self.inputs.items())  # type: ignore[arg-type]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and answers of a batch."""
        given = dict(zip(self.names, tensors, strict=True))
        present = {name: given[PRESENT][:, place] for place, name in enumerate(self.inputs)}
        features = {}
        for name, enter in self.inputs.items():
            x, lengths = enter(given[name], given.get(name_lengths(name)))
            features[name] = self.model.encoders[name](x, lengths)
        batch = Batch({}, {}, present, given[PRESENT], features=features)  # the target is not read
        outputs: Tensor = self.model(batch)
        return outputs, self.answer(outputs)

    def answer(self, outputs: Tensor) -> Tensor:
        """Return probabilities, or numbers in the target's own unit."""
        if self.target.kind == "regression":
            return self.target.restore(outputs)
        return outputs.softmax(1) if self.target.kind == "classes" else outputs.sigmoid()
