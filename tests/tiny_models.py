"""Tiny published models with random weights, made on the spot by the libraries themselves."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import catalogue
import pytest
import torch
import torchvision

from mmx.encoders import Encoder
from mmx.encoders.image.torchvision_weights import TorchvisionEncoder
from mmx.modalities import Modality, Spec
from mmx.modalities.audio import Audio
from mmx.modalities.image import Image
from mmx.modalities.video import Video

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "##s", "cat", "dog"]


def save_text_model(folder: Path, kind: str = "bert", seed: int = 0) -> Path:
    """Write a tiny BERT or RoBERTa, with a tokenizer of a few words, and return its folder."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(WORDS),
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 160,
    }
    if kind == "roberta":
        config = transformers.RobertaConfig(**sizes, pad_token_id=0)
        transformers.RobertaModel(config).save_pretrained(folder)
    else:
        transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(folder)
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )
    fast.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# tiny\n")
    return folder


def save_whisper(folder: Path, positions: int = 1500, seed: int = 0) -> Path:
    """Write a tiny Whisper with its feature extractor, and return its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.WhisperConfig(
        vocab_size=20,
        num_mel_bins=80,
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        max_source_positions=positions,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    transformers.WhisperModel(config).save_pretrained(folder)
    extractor = transformers.WhisperFeatureExtractor(chunk_length=positions // 50)
    extractor.save_pretrained(folder)
    return folder


def save_ast(folder: Path, seed: int = 0) -> Path:
    """Write a tiny audio spectrogram transformer with its feature extractor, return its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        num_mel_bins=32,
        max_length=64,
        patch_size=8,
    )
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(num_mel_bins=32, max_length=64).save_pretrained(folder)
    return folder


def save_wav2vec2(folder: Path, *, masks: bool, seed: int = 0) -> Path:
    """Write a tiny wav2vec2 with its feature extractor, and return its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        attention_dropout=0.0,  # drawn for each shape anew, where a test compares two
        feat_extract_norm="layer" if masks else "group",
        do_stable_layer_norm=masks,
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=masks)
    extractor.save_pretrained(folder)
    return folder


def save_vit(folder: Path, seed: int = 0) -> Path:
    """Write a tiny ViT with its preprocessing, and return its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=32,
        patch_size=8,
    )
    transformers.ViTModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ViTImageProcessor",
                "do_resize": True,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "size": {"height": 32, "width": 32},
                "resample": 2,
                "image_mean": [0.5, 0.4, 0.3],
                "image_std": [0.2, 0.3, 0.4],
            }
        )
    )
    return folder


def save_videomae(folder: Path, seed: int = 0) -> Path:
    """Write a tiny VideoMAE with its preprocessing, and return its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.VideoMAEConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=32,
        patch_size=8,
        num_frames=4,
        tubelet_size=2,
        use_mean_pooling=False,
    )
    transformers.VideoMAEModel(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "VideoMAEImageProcessor",
                "do_resize": True,
                "do_center_crop": True,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "size": {"shortest_edge": 32},
                "crop_size": {"height": 32, "width": 32},
                "resample": 2,
                "image_mean": [0.5, 0.4, 0.3],
                "image_std": [0.2, 0.3, 0.4],
            }
        )
    )
    return folder


def save_timm(folder: Path, model: str = "test_resnet", seed: int = 0) -> Path:
    """Write a tiny network of timm with its config, and return its folder."""
    timm = pytest.importorskip("timm")
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    sized = {"img_size": 96} if "vit" in model else {}
    net = timm.create_model(model, num_classes=3, **sized)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(net.state_dict(), folder / "model.safetensors")
    config = {
        "architecture": model,
        "num_classes": 3,
        "model_args": sized,
        "pretrained_cfg": {
            "input_size": [3, 96, 96],
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.4],
            "num_classes": 3,
            "first_conv": net.pretrained_cfg["first_conv"],
            "classifier": net.pretrained_cfg["classifier"],
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


PREPROCESSING = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


def save_open_clip(
    folder: Path,
    vision: dict[str, object] | None = None,
    text: dict[str, object] | None = None,
    preprocessing: dict[str, object] | None = None,
    seed: int = 0,
    **more: object,
) -> Path:
    """Write a tiny pair of open_clip with its config, and return its folder.

    Args:
        folder: To write.
        vision: Fields of the image tower's config, in addition to those of a tiny ViT.
        text: Fields of the text tower's config.
        preprocessing: Fields of the preprocessing.
        seed: Of the weights.
        more: Fields of the pair's config.
    """
    open_clip = pytest.importorskip("open_clip")
    from safetensors.torch import save_file

    words = {"context_length": 12, "width": 16, "heads": 2, "layers": 2, **(text or {})}
    if words.get("hf_tokenizer_name"):
        save_text_model(folder)
        (folder / "model.safetensors").unlink()
        words["vocab_size"] = len(WORDS)
    small = {"layers": 3, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 32}
    config = {
        "model_cfg": {
            "embed_dim": 12,
            "vision_cfg": vision
            if vision and "timm_model_name" in vision
            else small | (vision or {}),
            "text_cfg": words,
            **more,
        },
        "preprocess_cfg": PREPROCESSING | (preprocessing or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    net = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    with torch.no_grad():
        for parameter in net.parameters():  # some are drawn as zeros, where no fault would show
            if parameter.ndim:
                parameter.add_(0.1 * torch.randn_like(parameter))
    save_file(net.state_dict(), folder / "open_clip_model.safetensors")
    return folder


TOWER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


def save_pair(folder: Path, family: str = "clip", seed: int = 0) -> Path:
    """Write a tiny CLIP or SigLIP of transformers with its preprocessing, and return its folder."""
    transformers = pytest.importorskip("transformers")
    save_text_model(folder)  # for its tokenizer
    (folder / "model.safetensors").unlink()
    torch.manual_seed(seed)
    names = {"clip": "CLIP", "siglip": "Siglip"}
    words = {"vocab_size": len(WORDS), "max_position_embeddings": 20, "pad_token_id": 0}
    ends = {"bos_token_id": 2, "eos_token_id": 3}
    square = {"image_size": 32, "patch_size": 8}
    inner = {"projection_dim": 12} if family == "clip" else {}
    texts = {"projection_size": 24} if family == "siglip" else {}
    wide = {"hidden_size": 24, "num_attention_heads": 3} if family == "siglip" else {}
    config = getattr(transformers, f"{names[family]}Config")(
        text_config={**TOWER, **words, **ends, **texts},
        vision_config={**TOWER, **square, **wide},
        **inner,
    )
    net = getattr(transformers, f"{names[family]}Model")(config)
    with torch.no_grad():
        for parameter in net.parameters():  # some are drawn as zeros, where no fault would show
            parameter.add_(0.1 * torch.randn_like(parameter))
    net.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    named = {"tokenizer_class": f"{names[family]}Tokenizer"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **named}))
    size = {"clip": {"shortest_edge": 36}, "siglip": {"height": 32, "width": 32}}[family]
    crop = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": f"{names[family]}ImageProcessor",
                "do_resize": True,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "do_convert_rgb": True,
                "size": size,
                "resample": 3,
                "image_mean": [0.5, 0.4, 0.3],
                "image_std": [0.2, 0.3, 0.4],
                **(crop if family == "clip" else {}),
            }
        )
    )
    return folder


MAKERS: dict[str, dict[str, Callable[[Path], Path]]] = {
    "mmx.encoders.text.transformers": {
        "bert": save_text_model,
        "roberta": partial(save_text_model, kind="roberta"),
        "clip": save_pair,
        "siglip": partial(save_pair, family="siglip"),
    },
    "mmx.encoders.audio.transformers": {
        "whisper": save_whisper,
        "wav2vec2": partial(save_wav2vec2, masks=True),
    },
    "mmx.encoders.image.transformers": {
        "vit": save_vit,
        "clip": save_pair,
        "siglip": partial(save_pair, family="siglip"),
    },
    "mmx.encoders.video.transformers": {"videomae": save_videomae},
    "mmx.encoders.image.timm": {
        # The last norm of a residual block is 0 at first in timm's ResNets: no gradient passes it.
        "vit": partial(save_timm, model="test_vit"),
        "efficientnet": partial(save_timm, model="test_efficientnet"),
    },
    "mmx.encoders.image.open_clip": {"vit": save_open_clip},
    "mmx.encoders.text.open_clip": {"causal": save_open_clip},
}
"""Module of an encoder that names a published model to what makes tiny ones for it."""


def list_tiny_models(encoder: type) -> list[str]:
    """Return the names of the tiny models for an encoder; one empty name where it needs none."""
    return list(MAKERS.get(encoder.__module__, {"": save_vit}))


@cache
def find_tiny_model(encoder: type, name: str | None = None) -> Path:
    """Return the folder of a tiny model for an encoder; one for all tests of a process."""
    folder = tempfile.mkdtemp(prefix="tests-")
    makers = MAKERS[encoder.__module__]
    return makers[name or next(iter(makers))](Path(folder) / "tiny")


def find_example(
    encoder: type[Encoder], name: str | None = None
) -> tuple[dict[str, Any], Spec | None]:
    """Return options of an encoder and a spec that fits them; none where any will do."""
    if encoder.__module__ not in MAKERS:
        return {}, None
    options = {"model": str(find_tiny_model(encoder, name or None))}
    readers: dict[str, Modality | None] = {
        "image": Image(size=32),
        "audio": Audio(sample_rate=16_000, max_seconds=0.5),
        "video": Video(size=32),
        "text": None,
    }
    reader = encoder.read_with(readers[encoder.__module__.split(".")[2]], **options)
    assert reader is not None
    return options, reader.example()


def save_torchvision(encoder: type[TorchvisionEncoder], folder: Path) -> Path:
    """Write random weights of a network of torchvision's, and return the file."""
    name = encoder.published_weights.__class__.__name__.removesuffix("_Weights").lower()
    file = folder / f"{name}.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.get_model(name).state_dict(), file)
    return file


@cache
def find_stand_ins(experiment: Path) -> tuple[str, ...]:
    """Return options that start a ready-made experiment from random weights made here.

    Args:
        experiment: Its file in ``configs/experiment``.
    """
    found = []
    stated = catalogue.read(experiment)
    for item in stated["defaults"]:
        [(group, option)] = item.items()
        kind = group.removeprefix("override /")
        if not kind.startswith("encoder/"):
            continue
        encoder = catalogue.classes(kind)[option]
        key = kind.replace("/", ".")
        if encoder.__module__ in MAKERS:
            found.append(f"{key}.model={find_tiny_model(encoder)}")
        elif issubclass(encoder, TorchvisionEncoder) and publishes(stated):
            folder = Path(tempfile.mkdtemp(prefix="tests-"))
            found.append(f"{key}.weights={save_torchvision(encoder, folder)}")
    return tuple(found)


def publishes(stated: dict[str, Any]) -> bool:
    """Return whether a ready-made experiment starts from published weights."""
    return {"override /source": "published"} in stated["defaults"]
