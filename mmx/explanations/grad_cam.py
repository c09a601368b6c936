"""Grad-CAM, computed by captum."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmx.explanations.attention import record_attention
from mmx.explanations.base import Attribution, Method, Question, as_values, full_precision
from mmx.explanations.inputs import find_surface
from mmx.explanations.surface import trace_calls
from mmx.extras import import_extra


class GradCam(Method):
    """Where in the last map of a convolutional network the output comes from.

        map = relu(Σ_k α_k A_k),   α_k = mean over positions of ∂f / ∂A_k

    A is the last map ``(D, h, w)`` that a layer of the encoder returns. The result is enlarged to
    the size of the input, bilinearly.

    Reference: Selvaraju et al. 2017, arXiv 1610.02391.
    """

    title = "Grad-CAM"
    about = (
        "Where the last map of the convolutional network speaks for the output. It is coarse: a "
        "place of that map is drawn as large as the part of the input that it stands for."
    )

    def explain_misfit(self, question: Question) -> str:
        """Return that the encoder has no map to look at; see :class:`Method`."""
        if question.view.modality.name not in ("image", "audio"):
            return "it is neither a picture nor a sound"
        if question.x.dim() == 2 and find_surface(question).module is None:
            return "its encoder computes no spectrogram"
        if record_attention(question):
            return "its encoder is a transformer (attention shows where it looks)"
        if find_last_map(question) is None:
            return "its encoder has no layer that returns a map"
        return ""

    def attribute(self, question: Question) -> Attribution:
        """Return how much each place speaks for the output; see :class:`Method`."""
        captum = import_extra("captum.attr", "explain")
        layer = find_last_map(question)
        x = question.x.detach().clone().requires_grad_()
        with torch.enable_grad(), full_precision(question.model, x.device):
            method = captum.LayerGradCam(question.answer, layer)
            found: Tensor = method.attribute(x, relu_attributions=True)  # (1, 1, h, w)
        size = _find_size(question)
        return Attribution(as_values(enlarge(found.detach().float(), size)[0, 0]), signed=False)


def find_last_map(question: Question) -> nn.Module | None:
    """Return the last layer of the encoder that returns a map ``(1, D, h, w)``.

    A map of a single place shows nothing; None where there is no other.
    """
    found = None
    for module, _, output in trace_calls(question):
        if isinstance(output, Tensor) and output.dim() == 4 and len(output) == 1:
            found = module if math.prod(output.shape[2:]) > 1 else found
    return found


def enlarge(small: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a map ``(1, 1, h, w)`` as ``(1, 1, H, W)``.

    A sound is continued to whole places of the map before it is encoded, so that h · ⌈H / h⌉ rows
    of it are enlarged and those behind its end are cut off.
    """
    height, width = (
        small.shape[axis + 2] * math.ceil(side / small.shape[axis + 2])
        for axis, side in enumerate(size)
    )
    found = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    return found[..., : size[0], : size[1]]


def _find_size(question: Question) -> tuple[int, int]:
    """Return the two sides of what is explained: a picture, or the frames and bands of a sound."""
    if question.x.dim() == 4:
        return question.x.shape[2], question.x.shape[3]
    surface = find_surface(question)
    first, second = surface.read(question.x).shape[1:]
    return (first, second) if getattr(surface.module, "time_axis", 1) == 1 else (second, first)
