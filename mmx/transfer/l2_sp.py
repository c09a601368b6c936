"""L2-SP: stay near the starting point (Li 2018, arXiv 1802.01483)."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn


def l2_sp(
    model: nn.Module, shared: Collection[str], *, alpha: float, beta: float
) -> Callable[[nn.Module], Tensor]:
    """Return R(w) = α/2 ‖w_shared − w0‖² + β/2 ‖w_head‖², a sum over weights.

    Args:
        model: The model at its starting point w0.
        shared: Names of the parameters that came from the source; all other trainable
            ones count as head.
        alpha: Pull of the shared parameters towards w0.
        beta: Pull of the others towards zero.
    """
    start = {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if name in shared
    }

    def pull(name: str, parameter: Tensor) -> Tensor:
        if name not in start:
            return beta / 2 * parameter.float().square().sum()
        start[name] = start[name].to(parameter.device)  # copies once, at the first step
        return alpha / 2 * (parameter - start[name]).float().square().sum()

    def regularizer(model: nn.Module) -> Tensor:
        trained = [item for item in model.named_parameters() if item[1].requires_grad]
        return torch.stack([pull(name, parameter) for name, parameter in trained]).sum()

    return regularizer
