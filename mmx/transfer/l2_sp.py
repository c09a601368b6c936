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

    def regularizer(model: nn.Module) -> Tensor:
        terms = [
            alpha / 2 * (parameter - start[name].to(parameter.device)).float().square().sum()
            if name in start
            else beta / 2 * parameter.float().square().sum()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        ]
        return torch.stack(terms).sum()

    return regularizer
