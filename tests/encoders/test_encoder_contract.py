"""What every encoder promises; new encoders are found and covered by themselves.

The promises are those of ``mmx check``; what follows them is kept by mmx's own encoders besides.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from tiny_models import find_example, list_tiny_models

from mmx.contract import Part
from mmx.contract.base import run_checks
from mmx.contract.discovery import find_classes
from mmx.contract.encoder import CHECKS, EncoderSubject
from mmx.contract.example_inputs import SEQUENCES, SPECS, find_spec, make_inputs
from mmx.encoders import Encoder
from mmx.encoders.image.torchvision_weights import TorchvisionEncoder
from mmx.modalities import Spec
from mmx.modalities.audio import AudioSpec
from mmx.modalities.image import ImageSpec
from mmx.modalities.video import VideoSpec
from mmx.verbs.check import refuse

ENCODERS = pytest.mark.parametrize("encoder", find_classes("encoder"))
SMALL_SPECS: dict[type[Spec], Spec] = {
    **SPECS,
    ImageSpec: ImageSpec(height=8, width=6),
    AudioSpec: AudioSpec(sample_rate=8000, max_samples=2000),
    VideoSpec: VideoSpec(frames=2, height=16, width=16),
}
# Smaller than by default, for speed alone.
SMALLER: dict[str, dict[str, Any]] = {
    "SpectrogramResNet18": {"mels": 16},
    "VitB16": {"layers": 5, "heads": 2, "width": 16, "mlp_width": 24},
}


SPECS_OF: dict[str, Spec] = {"S3d": VideoSpec(frames=8, height=32, width=32)}
"""What an encoder needs at least, where the small specs are too small for it."""


def has_full_size(encoder: type[Encoder]) -> bool:
    """Return whether a network has millions of weights whatever its options."""
    return issubclass(encoder, TorchvisionEncoder) and encoder.__name__ not in SMALLER


MODELS = pytest.mark.parametrize(
    ("encoder", "model"),
    [
        pytest.param(kind, name, marks=[pytest.mark.slow] if has_full_size(kind) else [])
        for kind in find_classes("encoder")
        for name in list_tiny_models(kind)
    ],
)
"""Every encoder; one that reads a published model, with a tiny one of each kind."""


def of(encoder: type[Encoder], model: str) -> EncoderSubject:
    published, spec = find_example(encoder, model)
    options = {**SMALLER.get(encoder.__name__, {}), **published}
    part = Part(encoder, options, refuse)
    small = SPECS_OF.get(encoder.__name__, SMALL_SPECS[find_spec(encoder)])
    return EncoderSubject(part, part.make, spec or small)


@MODELS
def test_keeps_the_contract(encoder: type[Encoder], model: str) -> None:
    subject = of(encoder, model)
    results = list(run_checks(CHECKS, subject))
    assert [each for each in results if each.state == "failed"] == []
    skipped = [each.name for each in results if each.state == "skipped"]
    of_sequences = isinstance(subject.spec, SEQUENCES)
    assert skipped == ([] if of_sequences else ["padding not read", "empty rows"])


@ENCODERS
def test_options_have_defaults(encoder: type[Encoder]) -> None:
    """All but a published model, which only its user can name."""
    _, spec, *options = inspect.signature(encoder.__init__).parameters.values()
    assert spec.name == "spec"
    required = [option.name for option in options if option.default is option.empty]
    assert required == (["model"] if "model" in required else [])


@MODELS
def test_a_depth_sees_only_what_lies_before_it(encoder: type[Encoder], model: str) -> None:
    subject = of(encoder, model)
    net, inputs = subject.build().eval(), make_inputs(subject.spec)
    reach: list[set[int]] = []  # of each module that holds tensors: the depths run before it
    seen: set[int] = set()

    def hook(depth: int) -> Any:
        def run(*_: Any) -> None:
            reach.append({other for other in seen if other > depth})
            seen.add(depth)

        return run

    for name, module in net.named_modules():
        own = [f"{name}.{tensor}" for tensor, _ in module.named_parameters(recurse=False)]
        for depth, prefixes in enumerate(net.depths()):
            if own and own[0].startswith(prefixes):
                module.register_forward_pre_hook(hook(depth))
    net(*inputs)
    assert reach
    assert not any(reach)
