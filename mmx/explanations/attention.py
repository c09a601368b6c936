"""Where a transformer looks: rollout of its attention."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.explanations.base import Attribution, Method, Question, as_values, full_precision
from mmx.explanations.surface import Surface, trace_calls


class AttentionRollout(Method):
    """Rollout of attention: how far each part of the input reaches what is read at the end.

        R = Π_l (½ mean over heads of A_l + ½ I)
        part_i = Σ_t w_t R_ti,   w_t = |∂f / ∂z_t| / Σ_s |∂f / ∂z_s|

    z are the tokens behind the last layer. Where a class token is read, or the last word, w is 1
    for it; where the mean over tokens is read, all count alike. So the result depends on the
    input, and hardly on which output is explained.

    Reference: Abnar and Zuidema 2020, arXiv 2005.00928.
    """

    title = "Attention"
    about = (
        "Where the transformer looks, over all of its layers (rollout). It is nearly the same for "
        "every output: it says what was looked at, not what speaks for the answer."
    )

    def explain_misfit(self, question: Question) -> str:
        """Return that the encoder has no attention over its whole input; see :class:`Method`."""
        layers = record_attention(question)
        if not layers:
            return "its encoder is no transformer"
        if len({each.shape for each in layers}) > 1 or len(layers[0]) != 1:
            return "its encoder attends within windows, or to several inputs"
        if weigh_tokens(question, layers[0].shape[-1]) is None:
            return "the output does not depend on the tokens that attend"
        return ""

    def attribute(self, question: Question) -> Attribution:
        """Return how far each part reaches what is read; see :class:`Method`."""
        layers = record_attention(question)
        weights = weigh_tokens(question, layers[0].shape[-1])
        if weights is None:
            raise ValueError("the output does not depend on the tokens that attend")
        read = weights @ roll_out(layers)[0]  # (T,)
        with torch.no_grad():
            mask = question.encode(question.x).mask[0]
        # A class token and registers come before patches; padding comes behind words.
        before = len(read) - len(mask) if question.view.modality.name == "image" else 0
        parts = read[before:][: len(mask)][mask[: len(read) - before]]
        return Attribution(as_values(_shape(parts, question)), signed=False)


def weigh_tokens(question: Question, count: int) -> Tensor | None:
    """Return ``(T,)``: how much the output depends on each token behind the last layer; sum 1.

    That layer is the last that returns ``(1, T, D)`` and on which the output depends.

    Args:
        question: What is asked about the input.
        count: T.

    Returns:
        None where there is no such layer.
    """
    for module, _, output in reversed(trace_calls(question)):
        first = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(first, Tensor) or first.dim() != 3 or first.shape[:2] != (1, count):
            continue
        surface = Surface(question, module)
        tokens = surface.read(question.x).requires_grad_()
        with torch.enable_grad(), full_precision(question.model, tokens.device):
            # Plus zero: where the output does not depend on the tokens, it has a gradient still.
            answer = surface.answer(tokens).sum() + 0.0 * tokens.sum()
            (slope,) = torch.autograd.grad(answer, tokens)
        if bool(slope.any()):
            size: Tensor = slope[0].norm(dim=-1)
            return size / size.sum()
    return None


def roll_out(layers: list[Tensor]) -> Tensor:
    """Return ``(1, T, T)``: how far each token reaches each other one through all layers.

    Args:
        layers: Attention ``(1, T, T)`` of each layer, the mean over its heads, first layer first.
    """
    found: Tensor | None = None
    for attention in layers:
        one = torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)
        mixed = attention / 2 + one / 2
        mixed = mixed / mixed.sum(-1, keepdim=True)
        found = mixed if found is None else mixed @ found
    if found is None:
        raise ValueError("there is no layer")
    return found


def record_attention(question: Question) -> list[Tensor]:
    """Return the attention ``(B, T, T)`` of each layer of the encoder, the mean over its heads.

    Known are torch's ``MultiheadAttention`` and the attention of the libraries transformers and
    timm; anything else has none.
    """
    seen: list[Tensor] = []
    with torch.no_grad(), _recording(question.encoder, seen):
        question.encode(question.x)
    return seen


@contextmanager
def _recording(encoder: nn.Module, seen: list[Tensor]) -> Iterator[None]:
    """Let every layer of attention compute its weights, and keep them, in the ``with`` block."""

    def keep(weights: Any) -> None:
        if not isinstance(weights, Tensor) or weights.dim() not in (3, 4):
            return
        mean = weights.mean(1) if weights.dim() == 4 else weights  # over heads
        if mean.shape[-1] == mean.shape[-2] > 1:
            seen.append(mean)

    with ExitStack() as stack:
        known: list[Any] = []  # weights that an outer module returns again

        def ask(module: nn.Module, given: Any, options: dict[str, Any]) -> Any:
            return given, {**options, "need_weights": True, "average_attn_weights": True}

        def take_second(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, tuple) and len(output) > 1:
                weights = output[1]
                if not any(weights is each for each in known):
                    known.append(weights)
                    keep(weights)

        def take(module: nn.Module, given: Any, output: Any) -> None:
            keep(output)

        for module in encoder.modules():
            if isinstance(module, nn.MultiheadAttention):
                handle = module.register_forward_pre_hook(ask, with_kwargs=True)
                stack.callback(handle.remove)
                stack.callback(module.register_forward_hook(take_second).remove)
            elif hasattr(module, "set_attn_implementation"):  # a model of transformers
                stack.enter_context(_eager(module))
            elif hasattr(module, "fused_attn") and hasattr(module, "attn_drop"):  # timm
                stack.enter_context(_unfuse(module))
                weights = module.get_submodule("attn_drop")
                stack.callback(weights.register_forward_hook(take).remove)
            elif type(module).__name__.endswith("Attention"):
                stack.callback(module.register_forward_hook(take_second).remove)
        yield


@contextmanager
def _eager(net: Any) -> Iterator[None]:
    """Let a model of transformers compute its attention step by step in the ``with`` block."""
    before = net.config._attn_implementation
    if before == "eager":
        yield
        return
    net.set_attn_implementation("eager")
    try:
        yield
    finally:
        net.set_attn_implementation(before)


@contextmanager
def _unfuse(module: Any) -> Iterator[None]:
    """Let a layer of timm compute its attention step by step in the ``with`` block."""
    before = module.fused_attn
    module.fused_attn = False
    try:
        yield
    finally:
        module.fused_attn = before


def _shape(row: Tensor, question: Question) -> Tensor:
    """Return the weights of patches as a picture of the input's size; others as they are."""
    if question.view.modality.name != "image":
        return row
    height, width = question.x.shape[2:]
    count = len(row)
    rows = min(
        (each for each in range(1, count + 1) if count % each == 0),
        key=lambda each: abs(math.log(each * each / count * width / height)),
    )
    grid = row.reshape(1, 1, rows, -1).float()
    return F.interpolate(grid, (height, width), mode="nearest")[0, 0]
