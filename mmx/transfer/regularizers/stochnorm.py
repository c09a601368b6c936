"""Stochastic normalisation: batch norm that uses its moving statistics at random."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmx.errors import TransferError
from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext, Step
from mmx.transfer.regularizers.features import make_zero


class Stochnorm(Regularizer):
    """Normalises each channel by the batch's or by the moving statistics, at random.

        y_c = s_c · norm(x_c; μ_c, σ²_c) + (1 − s_c) · norm(x_c; μ̂_c, σ̂²_c),  s_c ~ Bernoulli(p)

    in training, for every batch norm of the encoders that came from the source and trains.
    μ, σ² are the statistics of the batch; μ̂, σ̂² are the moving ones before this batch, which
    start as the source's and are updated as usual. s_c is drawn for each channel of each layer and
    forward pass, from torch's global generator. At p = ½ about half of the channels therefore stay
    close to the source. Evaluation is plain batch norm, and the tensors keep their names. It
    changes the network, not the loss: there is no λ, and the penalty is 0. Use it when batches
    are small or the target has few rows, so that statistics of a batch are noisy.

    Args:
        probability: p, the chance of the batch's statistics, as in the paper: 1 is plain batch
            norm, 0 the moving statistics alone.

    Reference: Kou et al. 2020, Stochastic normalization.
    """

    acts_on = "statistics"
    needs = frozenset({"weights"})

    def __init__(self, *, probability: Annotated[float, Field(ge=0, le=1)] = 0.5) -> None:
        self.probability = probability

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return a penalty that is 0; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: No encoder that came from the source has a batch norm that trains.
        """
        self.check(context.model, context.shared)
        return StochnormPenalty()

    def check(self, model: nn.Module, shared: frozenset[str]) -> None:
        """Refuse a model without a batch norm that came from the source and trains."""
        if next(find_shared_norms(model, shared), None) is None:
            raise TransferError(
                "regularizer=stochnorm: no batch norm that trains came from the source",
                tip="regularizer=l2_sp, or encoder/image=resnet18, which has them",
            )

    def equip(self, model: nn.Module, shared: frozenset[str]) -> None:
        """Change the batch norms in place; see Regularizer."""
        for norm in find_shared_norms(model, shared):
            if not isinstance(norm, Stochastic):
                # The class alone changes: parameters, buffers, hooks and their names stay.
                norm.__class__ = make_stochastic(type(norm))  # type: ignore[arg-type]
            # Past nn.Module.__setattr__; also for a norm that is stochastic already.
            vars(norm)["probability"] = self.probability


class StochnormPenalty(Penalty):
    """The penalty of :class:`Stochnorm`: 0, since the change is in the network."""

    def forward(self, step: Step) -> Tensor:
        """Return 0."""
        return make_zero(step)


class Stochastic(_BatchNorm):
    """What stochastic normalisation adds to a batch norm; a mixin for its class.

    Attributes:
        probability: p, the chance of the batch's statistics.
    """

    probability: float

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Normalise.

        Args:
            x: ``(B, C, …)``.
            others: Further arguments of the batch norm, such as a mask.
        """
        if not self.training or self.running_mean is None or self.running_var is None:
            return super().forward(x, *others)
        mean, variance = self.running_mean.clone(), self.running_var.clone()
        by_batch = super().forward(x, *others)  # updates the statistics, hence the clones
        by_moving = F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        moving = torch.rand(self.num_features, device=x.device) < 1 - self.probability
        # (C,) → (C, 1, …), which broadcasts over (B, C, …)
        return torch.where(moving.view(-1, *[1] * (x.ndim - 2)), by_moving, by_batch)


@cache
def make_stochastic(kind: type[_BatchNorm]) -> type[_BatchNorm]:
    """Return the stochastic form of a batch norm class, such as one that leaves out padding."""
    return type(f"Stochastic{kind.__name__}", (Stochastic, kind), {})


def find_shared_norms(model: nn.Module, shared: frozenset[str]) -> Iterator[_BatchNorm]:
    """Yield the batch norms with moving statistics of encoders that came from the source.

    A batch norm with parameters counts if all of them came from the source and train; one without
    parameters counts if any parameter of its encoder did.
    """
    encoders = {name.split(".")[1] for name in shared if name.startswith("encoders.")}
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm) or module.running_mean is None:
            continue
        own = [f"{name}.{each}" for each, _ in module.named_parameters(recurse=False)]
        parts = name.split(".")
        # all(()) would be True: a norm without parameters is judged by its encoder.
        if parts[0] == "encoders" and (
            all(each in shared for each in own) if own else parts[1] in encoders
        ):
            yield module
