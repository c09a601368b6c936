"""Architectures of transformers that differ from BERT and ViT in what the encoders ask of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import WORDS, save_text_model

from mmx.encoders.audio.transformers import Transformers as AudioTransformers
from mmx.encoders.image.transformers import Transformers as ImageTransformers
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.errors import DataError
from mmx.modalities.audio import Audio
from mmx.modalities.image import ImageColumn
from mmx.modalities.sub_words import SubWordSpec
from mmx.modalities.text import TextColumn

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = ["cat dog a b c d e f g", "dog", "cats a b"]
BERT = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
OF_TEXTS: dict[str, dict[str, Any]] = {
    "SqueezeBert": {
        **BERT,
        "embedding_size": 16,
        **{
            f"{name}_groups": 1
            for name in ("q", "k", "v", "post_attention", "intermediate", "output")
        },
    },
    "XLNet": {  # has no positions, and says -1
        "vocab_size": len(WORDS),
        "d_model": 16,
        "n_layer": 2,
        "n_head": 2,
        "d_inner": 24,
    },
    "ModernBert": {**BERT, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3},
    "DebertaV2": {**BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
}
SMALL = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
}
OF_IMAGES: dict[str, dict[str, Any]] = {
    "ResNet": {**SMALL, "layer_type": "basic"},
    "RegNet": {**SMALL, "groups_width": 8},
    "MobileNetV2": {"depth_multiplier": 0.35, "image_size": 32},
    "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "Beit": VIT,
}


def save(folder: Path, kind: str, options: dict[str, Any]) -> Any:
    """Write a tiny model of an architecture into a folder, and return it."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**options)
    net = transformers.AutoModel.from_config(config).eval()
    net.save_pretrained(folder)
    return net


def fill(encoder: Any, kind: Any, folder: Path) -> Any:
    """Give an encoder its published weights."""
    encoder.load_state_dict(encoder.read_published(kind.find_published(model=str(folder))))
    return encoder.eval()


@pytest.mark.parametrize(("kind", "options"), OF_TEXTS.items())
def test_texts_equal_the_library(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    folder, tokenizer = tmp_path / "net", save_text_model(tmp_path / "tokenizer")
    net = save(folder, kind, options)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer / name, folder)
    modality = TextTransformers.read_with(None, model=str(folder), max_tokens=16)
    column, spec = TextColumn(TEXTS), modality.example()
    stored = modality.encode(column, np.arange(3), spec)
    encoder = TextTransformers(spec, model=str(folder), max_tokens=16)
    encoder = fill(encoder, TextTransformers, folder)
    with torch.no_grad():
        ours = encoder(modality.prepare(stored, spec), stored.lengths)
        for row, length in enumerate(stored.lengths.tolist()):
            ids = stored.values[row : row + 1, :length].long()
            alone = net(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            torch.testing.assert_close(ours.pooled[row], alone[0].mean(0), atol=1e-6, rtol=0)


def read_images(folder: Path) -> tuple[Any, torch.Tensor]:
    """Return the encoder of a folder with its weights, and two images as it reads them."""
    shown = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**shown, "resample": 2}))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    modality = ImageTransformers.read_with(None, model=str(folder))
    column, rows = ImageColumn(pixels), np.arange(2)
    spec = modality.fit(column, rows)
    x = modality.prepare(modality.encode(column, rows, spec), spec)
    return fill(ImageTransformers(spec, model=str(folder)), ImageTransformers, folder), x


@pytest.mark.parametrize(("kind", "options"), OF_IMAGES.items())
def test_images_equal_the_library(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    net = save(tmp_path, kind, options)
    encoder, x = read_images(tmp_path)
    with torch.no_grad():
        ours, found = encoder(x), net(pixel_values=(x - 0.5) / 0.5).last_hidden_state
    if found.ndim == 4:
        torch.testing.assert_close(ours.pooled, found.mean((2, 3)), atol=1e-6, rtol=0)
        found = found.flatten(2).transpose(1, 2)
    tokens = found[:, found.shape[1] - ours.tokens.shape[1] :]
    torch.testing.assert_close(ours.tokens, tokens, atol=1e-6, rtol=0)


def test_a_masked_autoencoder_sees_all_patches_in_their_order(tmp_path: Path) -> None:
    net = save(tmp_path, "ViTMAE", {**VIT, "mask_ratio": 0.75})
    encoder, x = read_images(tmp_path)
    with torch.no_grad():
        one, again = encoder(x), encoder(x)
        net.config.mask_ratio = 0.0
        noise = torch.arange(16, dtype=torch.float32).expand(2, -1)
        whole = net(pixel_values=(x - 0.5) / 0.5, noise=noise).last_hidden_state
    assert torch.equal(one.tokens, again.tokens)
    assert torch.equal(one.pooled, again.pooled)
    torch.testing.assert_close(one.tokens, whole[:, 1:], atol=1e-6, rtol=0)
    torch.testing.assert_close(one.pooled, whole[:, 0], atol=1e-6, rtol=0)


CONVOLUTIONS = {"conv_dim": (8,), "conv_stride": (5,), "conv_kernel": (10,)}
WAVES = {
    **{name: VIT[name] for name in VIT if name not in ("image_size", "patch_size")},
    **CONVOLUTIONS,
    "num_feat_extract_layers": 1,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.mark.parametrize(
    ("kind", "options", "extractor"),
    [
        ("SEW", {**WAVES, "squeeze_factor": 2}, "Wav2Vec2FeatureExtractor"),
        ("Wav2Vec2Bert", {**VIT, "num_hidden_layers": 1}, "SeamlessM4TFeatureExtractor"),
    ],
)
def test_sounds_that_are_read_otherwise_are_refused(
    tmp_path: Path, kind: str, options: dict[str, Any], extractor: str
) -> None:
    net = save(tmp_path, kind, options)
    getattr(transformers, extractor)().save_pretrained(tmp_path)
    with pytest.raises(DataError) as error:
        AudioTransformers(Audio(sample_rate=16_000).example(), model=str(tmp_path))
    assert error.value.message == (
        f"model={tmp_path.name}: {net.config.model_type} is no encoder of sounds that mmx can read"
    )
    assert error.value.tip == "Whisper, wav2vec2, HuBERT, WavLM or AST"


READING_PADDING: dict[str, dict[str, Any]] = {
    "ConvBert": {**BERT, "embedding_size": 16, "head_ratio": 1},
    "FNet": {name: BERT[name] for name in BERT if name not in ("num_attention_heads", "vocab_size")}
    | {"vocab_size": len(WORDS)},
}


@pytest.mark.parametrize(("kind", "options"), READING_PADDING.items())
def test_models_that_read_padding_equal_the_library_and_are_noted(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    net = save(tmp_path, kind, options)
    spec = SubWordSpec("", max_tokens=16, vocabulary=len(WORDS))
    encoder = TextTransformers(spec, model=str(tmp_path), max_tokens=16)
    encoder = fill(encoder, TextTransformers, tmp_path)
    ids, lengths = torch.tensor([[2, 30, 31, 5, 3], [2, 30, 3, 0, 0]]), torch.tensor([5, 3])
    mask = torch.arange(5) < lengths[:, None]
    with torch.no_grad():
        ours = encoder(ids, lengths)
        more = {} if kind == "FNet" else {"attention_mask": mask.long()}
        hidden = net(input_ids=ids, **more).last_hidden_state
    expected = (hidden * mask[..., None]).sum(1) / lengths[:, None]
    torch.testing.assert_close(ours.pooled, expected, atol=1e-6, rtol=0)
    assert TextTransformers.describe_deviations(spec, model=str(tmp_path)) == (
        f"{kind.lower()} reads the padding behind a row, as the library has it: features of a row "
        "depend a little on the longest row of its batch",
    )


def test_models_that_mask_padding_are_not_noted(tmp_path: Path) -> None:
    folder = save_text_model(tmp_path / "tiny")
    spec = TextTransformers.read_with(None, model=str(folder)).example()
    assert TextTransformers.describe_deviations(spec, model=str(folder)) == ()


@pytest.mark.parametrize("special", [True, False])
def test_a_tokenizer_with_more_words_than_the_model_is_refused(
    tmp_path: Path, special: bool
) -> None:
    folder = save_text_model(tmp_path / "tiny")
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    extra = {**tokenizer["added_tokens"][0], "content": "<extra>", "special": special}
    tokenizer["added_tokens"].append({**extra, "id": len(WORDS)})
    path.write_text(json.dumps(tokenizer))
    spec = TextTransformers.read_with(None, model=str(folder), max_tokens=8).example()
    assert spec.vocabulary == len(WORDS) + 1
    if special:  # as many models have them, never in a text
        assert TextTransformers(spec, model=str(folder), max_tokens=8).width == 16
        spec = replace(spec, padding=len(WORDS))
    with pytest.raises(DataError) as error:
        TextTransformers(spec, model=str(folder), max_tokens=8)
    count = len(WORDS)
    said = f"tiny: its tokenizer has {count + 1} ids, and its model embeddings for {count}"
    assert error.value.message == said


@pytest.mark.parametrize(
    ("said", "pooling", "noted"),
    [
        ("pooling_mode_mean_tokens", "auto", None),
        ("pooling_mode_cls_token", "cls", None),
        ("pooling_mode_cls_token", "auto", ("mean", "cls: encoder.text.pooling=cls")),
        ("pooling_mode_mean_tokens", "last", ("last", "mean: encoder.text.pooling=mean")),
        ("pooling_mode_max_tokens", "auto", ("mean", "the maximum")),
        ("pooling_mode_lasttoken", "last", None),
    ],
)
def test_other_pooling_than_in_training_is_noted(
    tmp_path: Path, said: str, pooling: str, noted: tuple[str, str] | None
) -> None:
    folder = save_text_model(tmp_path / "tiny")
    (folder / "1_Pooling").mkdir()
    keys = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, said: True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(keys))
    options = {"model": str(folder), "pooling": pooling}
    spec = TextTransformers.read_with(None, **options).example()
    expected = noted and (
        f"tokens are pooled by {noted[0]}, where sentence-transformers pooled these weights by "
        f"{noted[1]}",
    )
    assert TextTransformers.describe_deviations(spec, **options) == (expected or ())
