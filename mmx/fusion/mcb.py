"""Multimodal compact bilinear pooling."""

from __future__ import annotations

from functools import reduce
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths
from mmx.fusion.normalisation import normalise_power
from mmx.modalities import Features


class Mcb(Fusion):
    """Sketches the outer product of all modalities without building it.

        Ψ_m(x)_j = Σ_{i: h_m(i) = j} s_m(i) x_i
        F = W normalised(Ψ_1(x_1) ∗ … ∗ Ψ_M(x_M)) + b

    Use it for bilinear interactions with few trainable parameters: only W is learned.

    h maps each input unit to one of ``sketch`` buckets and s = ±1 is its sign. Both are drawn
    once, at construction, and are stored in checkpoints. The circular convolution ∗ of the
    sketches is the sketch of the outer product, under h = Σ_m h_m mod ``sketch`` and
    s = Π_m s_m. It is computed as a product of Fourier transforms, in float32 or float64.
    normalised takes signed square roots, then scales to unit length
    (:func:`~mmx.fusion.normalisation.normalise_power`). The paper has M = 2. An absent
    modality is left out of the convolution. A single modality is only sketched.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width of the fused vector, D_out.
        sketch: Number of buckets; the more, the closer the sketch is to the outer product.

    Reference: Fukui et al. 2016, arXiv 1606.01847.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        sketch: Annotated[int, Field(ge=1, le=65_536)] = 2048,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.sketches = nn.ModuleDict(
            {name: CountSketch(widths[name].pooled, sketch) for name in self.modalities}
        )
        self.linear = nn.Linear(sketch, width)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.list_pooled(features, present)
        sketches = [self.sketches[name](x) for name, x in zip(self.modalities, pooled, strict=True)]
        here = [present[name] for name in self.modalities]
        joint = convolve(sketches, here) if len(sketches) > 1 else sketches[0]  # (B, sketch)
        fused: Tensor = self.linear(normalise_power(joint))
        return fused


class CountSketch(nn.Module):
    """A count sketch: adds each input unit, with a random sign, to one random bucket.

    Args:
        inputs: D.
        buckets: Number of buckets, S.
    """

    def __init__(self, inputs: int, buckets: int) -> None:
        super().__init__()
        self.size = buckets
        # Saved with the weights, which mean nothing for other buckets and signs.
        # Drawn from the global generator, which the run has seeded: same seed, same sketch.
        self.register_buffer("buckets", torch.randint(buckets, (inputs,)))
        self.register_buffer("signs", 2 * torch.randint(2, (inputs,)) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, S)``, in single precision or double, of ``x`` ``(B, D)``."""
        # There is no Fourier transform in half precision, so autocast's dtype is left here.
        # Signs are int64; the product has the type of x. (B, D)
        signed = x.to(torch.promote_types(x.dtype, torch.float32)) * self.get_buffer("signs")
        # Units with one bucket add up: out[:, h(i)] += s(i) x_i, (B, S).
        return signed.new_zeros(x.shape[0], self.size).index_add(
            1, self.get_buffer("buckets"), signed
        )


def convolve(sketches: list[Tensor], present: list[Tensor]) -> Tensor:
    """Return the circular convolution, ``(B, S)``, of the sketches that each row has.

    The transform of an absent sketch is replaced by ones, the transform of [1; 0; …; 0],
    which is the identity of convolution.
    """
    if torch.compiler.is_exporting():
        # ONNX cannot replace complex numbers, and so their origin is; runtimes differ in how they
        # transform, and the root that follows enlarges what is lost, and so in float64.
        identity = (torch.arange(sketches[0].shape[1]) == 0).double()  # [1; 0; …; 0]
        spectra = [
            # rfft of S real numbers is S // 2 + 1 complex ones.
            torch.fft.rfft(torch.where(here[:, None], sketch.double(), identity))
            for sketch, here in zip(sketches, present, strict=True)
        ]
    else:
        spectra = [
            # 1 in every frequency is the neutral factor, as δ is of convolution.
            torch.fft.rfft(sketch).masked_fill(~here[:, None], 1.0)
            for sketch, here in zip(sketches, present, strict=True)
        ]
    # n is needed: the number of frequencies alone does not say whether S is even or odd.
    convolved: Tensor = torch.fft.irfft(reduce(torch.mul, spectra), n=sketches[0].shape[1])
    return convolved.to(sketches[0].dtype)
