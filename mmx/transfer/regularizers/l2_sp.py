"""L2-SP: weights stay close to their starting point."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.errors import TransferError
from mmx.transfer.regularizers.base import Penalty, Regularizer, RegularizerContext, Step
from mmx.transfer.regularizers.features import Strength, upcast


class L2Sp(Regularizer):
    """Pulls weights from the source towards their starting values, and all others towards zero.

        R(w) = α/2 ‖w_shared − w0‖² + β/2 ‖w_head‖²

    R is a sum over the weights that train, not a mean: it does not depend on the batch size, but
    grows with the number of weights. It takes the place of weight decay, which is the same
    penalty with w0 = 0. It is cheap and needs neither the source model nor its data: the first
    regulariser to try when fine-tuning on few rows overfits.

    Args:
        alpha: α, the pull of shared weights towards w0.
        beta: β, the pull of all other weights towards zero.

    Reference: Li et al. 2018, arXiv 1802.01483.
    """

    acts_on = "weights"
    needs = frozenset({"weights"})
    weight_decay = False

    def __init__(self, *, alpha: Strength = 0.01, beta: Strength = 0.01) -> None:
        self.alpha = alpha
        self.beta = beta

    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: No trained parameter came from the source.
        """
        # Clones: the parameters themselves move with every step, w0 must not.
        start = {
            name: parameter.detach().clone()
            for name, parameter in context.model.named_parameters()
            if name in context.shared
        }
        if not start:
            raise TransferError("regularizer=l2_sp: no trained parameter came from the source")
        return L2SpPenalty(start, self.alpha, self.beta)


class L2SpPenalty(Penalty):
    """The penalty of :class:`L2Sp`.

    Args:
        start: Name of each shared parameter to its w0. A resumed run computes w0 again, so no
            checkpoint holds it.
        alpha: α.
        beta: β.
    """

    of_weights = True

    def __init__(self, start: dict[str, Tensor], alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta
        # A buffer's name may hold no dot, as parameters' names do: buffers are numbered instead.
        self.places = {name: f"start{index}" for index, name in enumerate(sorted(start))}
        for name, place in self.places.items():
            self.register_buffer(place, start[name], persistent=False)

    def forward(self, step: Step) -> Tensor:
        """Return the penalty of the weights that train; of the step, only the model is read."""
        pulls = []
        for name, parameter in step.model.named_parameters():
            # Parameters that wait to thaw do not train yet, and are not penalised until they do.
            if parameter.requires_grad and name in self.places:
                start = self.get_buffer(self.places[name])
                # Subtracted before the cast: parameters and starting values have one type.
                pulls.append(self.alpha / 2 * upcast(parameter - start).square().sum())
            elif parameter.requires_grad:
                pulls.append(self.beta / 2 * upcast(parameter).square().sum())
        return torch.stack(pulls).sum()
