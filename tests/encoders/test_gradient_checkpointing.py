"""Gradient checkpointing computes layers twice, and gives the same gradients and statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_text_model, save_timm, save_vit, save_wav2vec2, save_whisper
from torch import Tensor, nn

from mmx.encoders.audio.transformers import Transformers as AudioTransformers
from mmx.encoders.image.timm import Timm
from mmx.encoders.image.transformers import Transformers as ImageTransformers
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.errors import DataError
from mmx.modalities.audio import Audio

pytest.importorskip("transformers")
pytest.importorskip("timm")
pytestmark = pytest.mark.filterwarnings("ignore")

LENGTHS = torch.tensor([8, 3, 5, 8])
CLIPS = torch.tensor([800, 300, 800, 500])
KINDS: dict[str, tuple[type, Callable[[Path], Path], tuple[Tensor, Tensor | None], str]] = {
    "bert": (
        TextTransformers,
        save_text_model,
        (torch.arange(32).reshape(4, 8) % 30, LENGTHS),
        "net.encoder.layer.1.output",
    ),
    "vit": (ImageTransformers, save_vit, (torch.rand(4, 3, 32, 32), None), "layernorm_after"),
    "whisper": (AudioTransformers, save_whisper, (torch.rand(4, 800), CLIPS), "fc1"),
    "wav2vec2": (
        AudioTransformers,
        lambda folder: save_wav2vec2(folder, masks=True),
        (torch.rand(4, 800), CLIPS),
        "final_layer_norm",
    ),
    "resnet": (
        Timm,
        lambda folder: save_timm(folder, "test_resnet"),
        (torch.rand(4, 3, 96, 96), None),
        "conv2",
    ),
    "vit of timm": (
        Timm,
        lambda folder: save_timm(folder, "test_vit"),
        (torch.rand(4, 3, 96, 96), None),
        "mlp.fc1",
    ),
}


def make(kind: str, folder: Path, *, checkpointing: bool) -> nn.Module:
    make_encoder: Any = KINDS[kind][0]
    options: dict[str, Any] = {"model": str(folder), "gradient_checkpointing": checkpointing}
    task = Audio(sample_rate=16000, max_seconds=0.05) if make_encoder is AudioTransformers else None
    options_read = {"max_tokens": 8} if make_encoder is TextTransformers else {}
    spec = make_encoder.read_with(task, **options, **options_read).example()
    torch.manual_seed(0)
    encoder: nn.Module = make_encoder(spec, **options)
    return encoder


def step(encoder: nn.Module, given: tuple[Tensor, Tensor | None], layer: str) -> int:
    """Compute gradients of some loss, and return how often one layer was computed."""
    calls = 0

    def count(*rest: object) -> None:
        nonlocal calls
        calls += 1

    found = [part for name, part in encoder.named_modules() if name.endswith(layer)]
    hook = found[0].register_forward_pre_hook(count)
    torch.manual_seed(1)  # dropout
    features = encoder.train()(*given)
    loss = features.tokens.square().mean() + features.pooled.square().sum()
    sum((level.square().mean() for level in features.levels), loss).backward()
    hook.remove()
    return calls


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradients_are_the_same(kind: str, tmp_path: Path) -> None:
    _, save, given, layer = KINDS[kind]
    folder = save(tmp_path / "model")
    plain, lean = (make(kind, folder, checkpointing=each) for each in (False, True))
    lean.load_state_dict(plain.state_dict())
    for _ in range(2):
        assert step(plain, given, layer) == 1
        assert step(lean, given, layer) == 2
    own = dict(plain.named_parameters())
    assert own
    for name, parameter in lean.named_parameters():
        expected = own[name].grad
        assert (parameter.grad is None) == (expected is None), name
        if expected is not None and parameter.grad is not None:
            assert torch.allclose(parameter.grad, expected, rtol=1e-5, atol=1e-7), name
    buffers = dict(plain.named_buffers())
    for name, buffer in lean.named_buffers():  # running statistics, counted once a step
        assert torch.equal(buffer, buffers[name]), name


def test_frozen_layers_before_trained_ones_get_no_gradient(tmp_path: Path) -> None:
    folder = save_text_model(tmp_path / "model")
    encoder = make("bert", folder, checkpointing=True)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("layer.2" in name)
    features = encoder.train()(*KINDS["bert"][2])
    features.pooled.sum().backward()
    grads = {name: each.grad is not None for name, each in encoder.named_parameters()}
    assert {name for name, has in grads.items() if has} == {n for n in grads if "layer.2" in n}


def test_a_network_that_cannot_is_refused() -> None:
    from mmx.encoders.gradient_checkpointing import checkpoint_timm

    with pytest.raises(DataError, match="gradient_checkpointing=true"):
        checkpoint_timm(nn.Linear(2, 2))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert", "resnet", "whisper", "vit of timm"])
def test_a_compiled_encoder_keeps_less_and_has_the_same_gradients(
    kind: str, tmp_path: Path
) -> None:
    folder = KINDS[kind][1](tmp_path / "model")
    plain, lean = (make(kind, folder, checkpointing=each) for each in (False, True))
    whole = make(kind, folder, checkpointing=False)
    torch._dynamo.reset()
    for encoder in (lean, whole):
        encoder.load_state_dict(plain.state_dict())
        # As compile=true does it, but without a compiler of C++ behind it.
        encoder.compile(dynamic=True, backend="aot_eager")
    kept = [count_kept(each, KINDS[kind][2]) for each in (plain, whole, lean)]
    assert kept[2] < 0.9 * min(kept[:2])
    own, buffers = dict(plain.named_parameters()), dict(plain.named_buffers())
    for name, parameter in lean.named_parameters():
        expected = own[name].grad
        assert (parameter.grad is None) == (expected is None), name
        if expected is not None and parameter.grad is not None:
            assert torch.allclose(parameter.grad, expected, rtol=1e-5, atol=1e-5), name
    for name, buffer in lean.named_buffers():
        assert torch.allclose(buffer, buffers[name], rtol=1e-6, atol=1e-6), name


def count_kept(encoder: nn.Module, given: tuple[Tensor, Tensor | None]) -> int:
    """Return the bytes that a step keeps for its backward pass, which it computes."""
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()  # torch cannot trace nbytes
        return tensor

    torch.manual_seed(1)  # dropout
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        features = encoder.train()(*given)
        loss = features.tokens.square().mean() + features.pooled.square().sum()
    loss.backward()
    return kept
