"""Bidirectional recurrent networks over sequences of unequal length."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

import torch
from torch import Tensor, nn


class BiLstm(nn.Module):
    """One LSTM reads each row from its first step, another from its last valid step.

    The second LSTM gets every row reversed, so both read the padding only after the valid
    steps. The result is that of packed sequences, but 7 times faster on a CPU, and on a GPU
    without a synchronisation for the lengths.

    Args:
        inputs: Width of a step.
        width: D of the output, even: half for each direction.
        layers: Number of stacked layers.
        dropout: Fraction of each layer's output dropped in training.

    Raises:
        ValueError: ``width`` is odd.

    Reference: Graves and Schmidhuber 2005, doi 10.1016/j.neunet.2005.06.042.
    """

    cell: ClassVar[type[nn.LSTM] | type[nn.GRU]] = nn.LSTM

    def __init__(self, inputs: int, *, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"`width` (={width}) must be even: half for each direction")
        # The first layer reads the input, each further one both directions of the last: D / 2 each.
        widths = [inputs] + [width] * (layers - 1)
        self.forwards = nn.ModuleList(self.cell(w, width // 2, batch_first=True) for w in widths)
        self.backwards = nn.ModuleList(self.cell(w, width // 2, batch_first=True) for w in widths)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the concatenated states of both directions.

        Args:
            x: ``(B, T, inputs)``.
            mask: ``(B, T)`` bool, True at the valid steps, which come first.

        Returns:
            ``(B, T, D)``; values in the padding have no meaning.
        """
        order = _reverse_steps(mask)  # applied twice, it restores the order
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            ahead = _compute_states(forwards, x)  # (B, T, D / 2)
            # Reversed, read forwards, and turned back: state t is that of the steps from t to the
            # last.
            back = _reorder(_compute_states(backwards, _reorder(x, order)), order)
            x = self.dropout(torch.cat([ahead, back], dim=2))  # (B, T, D)
        return x

    def depths(self, prefix: str) -> tuple[tuple[str, ...], ...]:
        """Return the prefixes of each layer, with both directions, after ``prefix``."""
        layers = range(len(self.forwards))
        return tuple((f"{prefix}forwards.{k}.", f"{prefix}backwards.{k}.") for k in layers)


class BiGru(BiLstm):
    """The same with gated recurrent units, which have three gates' weights in place of four.

    Reference: Cho et al. 2014, arXiv 1406.1078.
    """

    cell = nn.GRU


@cache
def computes_lstm_in(device: str, dtype: torch.dtype) -> bool:
    """Return whether a device can compute an LSTM in this dtype, which is below float32.

    cuDNN computes in float16 under autocast to bfloat16, and small gradients underflow in
    float16 without a scaled loss. oneDNN does not support float16, nor bfloat16 on a CPU
    without AVX-512.

    Args:
        device: ``cpu`` or ``cuda``.
        dtype: The dtype that autocast would use.
    """
    if device == "cuda":
        return dtype == torch.float16
    return (
        device == "cpu"
        and dtype == torch.bfloat16
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _compute_states(lstm: nn.Module, x: Tensor) -> Tensor:
    """Return the states over ``x`` ``(B, T, D)``, in float32 where autocast's dtype fails."""
    device = x.device.type
    states: Tensor
    half = None
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        half = torch.get_autocast_dtype(device)
    # Only of an LSTM it is known which devices compute it in half of float32.
    if half is None or (isinstance(lstm, nn.LSTM) and computes_lstm_in(device, half)):
        states = lstm(x)[0]
    else:
        with torch.autocast(device, enabled=False):
            states = lstm(x.float())[0]
    return states


def _reverse_steps(mask: Tensor) -> Tensor:
    """Return ``(B, T)`` indices that reverse the valid steps and leave the padding in place."""
    steps = torch.arange(mask.shape[1], device=mask.device).expand(mask.shape)
    # Valid step t goes to length - 1 - t; valid steps come first in a row.
    return torch.where(mask, mask.sum(1, keepdim=True) - 1 - steps, steps)


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    """Return ``x`` ``(B, T, D)`` with the steps of each row in its ``order`` ``(B, T)``."""
    # gather wants an index for each unit: (B, T) → (B, T, D), a view.
    return x.gather(1, order[:, :, None].expand(x.shape))
