"""Optimisers and the learning rate schedule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from inspect import unwrap
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

Rate = Annotated[float, Field(gt=0, le=1000)]
Decay = Annotated[float, Field(ge=0, le=1e9)]
Momentum = Annotated[float, Field(ge=0, lt=1)]

Group = dict[str, Any]
"""A parameter group of torch.optim: parameters and their options."""


class Optimizer(ABC):
    """Base of all recipes for an optimiser; keyword-only, plain, annotated arguments.

    Example:
        >>> class RmsProp(Optimizer):
        ...     elementwise = True
        ...
        ...     def __init__(self, *, lr: Rate = 1e-3, weight_decay: Decay = 0.0) -> None:
        ...         self.lr, self.weight_decay = lr, weight_decay
        ...
        ...     def make(self, groups: list[Group], device: torch.device) -> torch.optim.Optimizer:
        ...         return torch.optim.RMSprop(groups, lr=self.lr)
        ...
        >>> made = RmsProp().make([{"params": [torch.zeros(2, 2)]}], torch.device("cpu"))
        >>> made.param_groups[0]["lr"]
        0.001

    Attributes:
        elementwise: Whether each element of a parameter is updated from its own gradients alone,
            as in AdamW and SGD, and not by a matrix's norm (LARS) or directions (Muon). Many
            heads can then be trained as one tensor, which ``transfer.decays`` needs.
        is_adaptive: Whether steps are divided by the usual size of their gradients, as in AdamW,
            so that the learning rate is about the size of a step, whatever the loss.
        lr: Peak learning rate.
        weight_decay: Decay of matrices and kernels; vectors (biases, norms) have none.
    """

    elementwise: ClassVar[bool] = False
    is_adaptive: ClassVar[bool] = False
    lr: float
    weight_decay: float

    @abstractmethod
    def make(self, groups: list[Group], device: torch.device) -> torch.optim.Optimizer:
        """Return the optimiser of these parameter groups."""


class _Untraced(torch.optim.Optimizer):
    """The methods of torch's optimisers as they are written.

    torch wraps them, so that its compiler does not trace them, and the first call of any imports
    the compiler: more than all else that a short run does. What mmx compiles calls none of them.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)


class _TorchAdamW(_Untraced, torch.optim.AdamW):
    """torch's AdamW."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


class _TorchSgd(_Untraced, torch.optim.SGD):
    """torch's SGD."""

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))


class AdamW(Optimizer):
    """Adam with decoupled weight decay; works for most models without tuning.

    Reference: Loshchilov and Hutter 2019, arXiv 1711.05101.

    Args:
        lr: Peak learning rate, after warm-up and before it falls along a cosine.
        weight_decay: Decay of matrices and kernels; vectors (biases, norms) have none.
        betas: How slowly the running means of the gradients and of their squares forget.
    """

    elementwise = True
    is_adaptive = True

    def __init__(
        self,
        *,
        lr: Rate = 3e-3,
        weight_decay: Decay = 0.05,
        betas: tuple[Momentum, Momentum] = (0.9, 0.999),
    ) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = betas

    def make(self, groups: list[Group], device: torch.device) -> torch.optim.Optimizer:
        """Return torch's fused AdamW."""
        return _TorchAdamW(groups, lr=self.lr, betas=self.betas, fused=True)


class Sgd(Optimizer):
    """Stochastic gradient descent with Nesterov momentum; the usual choice for convnets.

    Its learning rate has to be tuned more carefully than that of AdamW.

    Args:
        lr: Peak learning rate, after warm-up and before it falls along a cosine.
        weight_decay: Decay of matrices and kernels; vectors (biases, norms) have none.
        momentum: Share of the last step that the next one goes on with.
    """

    elementwise = True

    def __init__(
        self,
        *,
        lr: Rate = 0.05,
        weight_decay: Decay = 5e-4,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    ) -> None:
        self.lr = lr
        self.weight_decay = weight_decay
        self.momentum = momentum

    def make(self, groups: list[Group], device: torch.device) -> torch.optim.Optimizer:
        """Return torch's fused SGD."""
        made = _TorchSgd(
            groups, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0, fused=True
        )
        if self.momentum:
            made.register_step_pre_hook(_start_momentum)
        return made


def _start_momentum(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Start the momentum of parameters at zero when they get their first gradient.

    Without this, the fused kernel refuses a group in which only some parameters have momentum,
    as after unfreezing, or when the first batches lacked a modality.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter] if parameter.grad is not None else None
            if state is not None and state.get("momentum_buffer") is None:
                # The same as torch's own first step: momentum · 0 + gradient.
                state["momentum_buffer"] = torch.zeros_like(parameter)


def make_parameter_groups(
    model: nn.Module, recipe: Optimizer, rates: Mapping[str, float], *, decay: bool
) -> list[Group]:
    """Return the trainable parameters, grouped by rate and by whether they decay.

    Args:
        model: The model; frozen parameters (``requires_grad`` False) are left out.
        recipe: Where learning rate and weight decay come from.
        rates: Parameter name to a multiple of the learning rate, 1 if absent.
        decay: False turns weight decay off for all.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # Matrices and kernels decay; biases and the scales of norms do not.
            strength = recipe.weight_decay if decay and parameter.ndim > 1 else 0.0
            groups.setdefault((rates.get(name, 1.0), strength), []).append(parameter)
    return [
        {"params": members, "peak_lr": recipe.lr * rate, "weight_decay": strength}
        for (rate, strength), members in groups.items()
    ]


def warmup_cosine(step: int, total: int, warmup: float) -> float:
    """Return the learning rate at a step as a fraction of its peak.

    It rises linearly over the first ``warmup · total`` steps, then falls to zero along half a
    cosine (Loshchilov and Hutter 2017, arXiv 1608.03983).
    """
    rising = max(1, round(total * warmup))
    if warmup > 0 and step < rising:
        # From 1, not from 0: the first step would learn nothing.
        return (step + 1) / rising
    done = (step - (rising if warmup > 0 else 0)) / max(1, total - (rising if warmup > 0 else 0))
    # min: the rate stays 0 where steps go beyond `total`, and does not rise again.
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def set_rates(optimizer: torch.optim.Optimizer, part: float) -> None:
    """Set each group's learning rate to a fraction of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * part
