"""Adapters of peft: the library is the second implementation of what is merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import save_text_model, save_timm, save_whisper
from torch import Tensor

from mmx.encoders import Encoder
from mmx.encoders.audio.transformers import Transformers as AudioTransformers
from mmx.encoders.image.timm import Timm
from mmx.encoders.peft_adapter import merge_adapter
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.errors import DataError
from mmx.modalities.audio import Audio
from mmx.modalities.image import Image

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

EVERY = ["query", "dense", "word_embeddings"]


def save_adapter(model: Any, folder: Path, **options: Any) -> dict[str, Tensor]:
    """Write a random LoRA by peft; return the tensors of the model that it has merged."""
    torch.manual_seed(5)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(**options))
    with torch.no_grad():
        for name, value in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                value.normal_(std=0.3)
    wrapped.save_pretrained(folder)
    merged = wrapped.merge_and_unload().state_dict()
    return {name.replace("modules_to_save.default.", ""): each for name, each in merged.items()}


def text_encoder(model: Path) -> Encoder:
    options = {"model": str(model), "max_tokens": 16}
    return TextTransformers(TextTransformers.read_with(None, **options).example(), **options)


def merge(encoder: Encoder, **options: Any) -> tuple[dict[str, Tensor], str]:
    published = type(encoder).find_published(**{key: str(each) for key, each in options.items()})
    assert published is not None
    assert published.adapter
    return merge_adapter(encoder, encoder.read_published(published), published)


def assert_merged(
    encoder: Encoder, ours: dict[str, Tensor], theirs: dict[str, Tensor], folder: Path
) -> None:
    own, library = encoder.library_prefixes or ("", "")
    plain = encoder.read_published(type(encoder).find_published(model=str(folder)))
    moved = 0
    for name, value in ours.items():
        expected = theirs[library + name.removeprefix(own)]
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=0)
        moved += not torch.equal(value, plain[name])
    assert moved > 2


@pytest.mark.parametrize(
    "options",
    [
        {"target_modules": EVERY, "r": 4, "lora_alpha": 12},
        {"target_modules": EVERY, "use_rslora": True, "lora_alpha": 3, "lora_dropout": 0.1},
        {
            "target_modules": EVERY,
            "rank_pattern": {"attention.self.query": 3, "layer.1.output.dense": 2},
            "alpha_pattern": {"word_embeddings": 5, "layer.1.output.dense": 7},
        },
        {"target_modules": ["key"], "modules_to_save": ["LayerNorm"]},
        {"target_modules": "all-linear", "init_lora_weights": "gaussian"},
    ],
)
def test_texts_are_merged_as_peft_merges_them(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = save_text_model(tmp_path / "tiny")
    model = transformers.AutoModel.from_pretrained(folder)
    theirs = save_adapter(model, tmp_path / "lora", **options)
    encoder = text_encoder(folder)
    ours, note = merge(encoder, model=folder, adapter=tmp_path / "lora")
    assert_merged(encoder, ours, theirs, folder)
    assert note.startswith("the adapter lora is merged into")


def test_an_adapter_of_a_model_with_a_head_is_merged(tmp_path: Path) -> None:
    """Names begin with ``bert.`` there, and its head is not used here."""
    folder = save_text_model(tmp_path / "tiny")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    theirs = save_adapter(
        model,
        tmp_path / "lora",
        target_modules=["query", "value"],
        task_type="SEQ_CLS",
        alpha_pattern={"^bert.encoder.layer.1.attention.self.query": 40},
    )
    encoder = text_encoder(folder)
    ours, note = merge(encoder, model=folder, adapter=tmp_path / "lora")
    plain = {name.removeprefix("bert."): each for name, each in theirs.items()}
    assert_merged(encoder, ours, plain, folder)
    assert "merged into 6 of its weights; 2 tensors of what it does not have" in note


def test_sounds_and_images_are_merged_as_peft_merges_them(tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "whisper", positions=100)
    model = transformers.AutoModel.from_pretrained(folder)
    theirs = save_adapter(model, tmp_path / "a", target_modules=["q_proj", "fc1", "conv1"])
    sounds = Audio(sample_rate=16_000, max_seconds=0.5).example()
    encoder: Encoder = AudioTransformers(sounds, model=str(folder))
    ours, note = merge(encoder, model=folder, adapter=tmp_path / "a")
    assert_merged(encoder, ours, theirs, folder)
    assert "not used" in note  # the decoder's
    folder = save_timm(tmp_path / "net", "test_vit")
    net = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    theirs = save_adapter(net, tmp_path / "b", target_modules=["qkv", "proj", "fc2"])
    encoder = Timm(Image(size=96).example(), model=str(folder))
    ours, _ = merge(encoder, model=folder, adapter=tmp_path / "b")
    assert_merged(encoder, ours, theirs, folder)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("use_dora", True),
        ("bias", "all"),
        ("peft_type", "LOHA"),
        ("init_lora_weights", "pissa"),
        ("layer_replication", [[0, 2], [1, 3]]),
        ("trainable_token_indices", [1, 2]),
        ("something_new", {"a": 1}),
        ("alpha_pattern", {"(a+)+": 3}),
        ("r", 0),
        ("lora_alpha", "16"),
    ],
)
def test_what_would_be_merged_wrongly_is_refused(tmp_path: Path, entry: str, value: object) -> None:
    folder = save_text_model(tmp_path / "tiny")
    model = transformers.AutoModel.from_pretrained(folder)
    save_adapter(model, tmp_path / "lora", target_modules=["query"])
    path = tmp_path / "lora" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), entry: value}))
    with pytest.raises(DataError, match=f"{entry}=.* is not supported") as error:
        TextTransformers.find_published(model=str(folder), adapter=str(tmp_path / "lora"))
    assert "merge_and_unload" in (error.value.tip or "")


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder, lora = save_text_model(tmp_path / "tiny"), tmp_path / "lora"
    model = transformers.AutoModel.from_pretrained(folder)
    save_adapter(model, lora, target_modules=["query"], r=4)
    encoder, file = text_encoder(folder), lora / "adapter_model.safetensors"
    found = load_file(file)
    start = "base_model.model.encoder.layer.0.attention.self.query"
    down = found[f"{start}.lora_A.weight"]
    for changed, why in (
        ({f"{start}.lora_A.weight": down[:, :9].contiguous()}, "does not fit its weight"),
        ({f"{start}.lora_magnitude_vector": down[0]}, "is not in the model"),
        ({f"{start.replace('.0.', '.7.')}.lora_A.weight": down}, r"layer\.7.* is not in the model"),
        ({f"{start.replace('query', 'key')}.lora_A.weight": down}, "lacks lora_A, lora_B"),
    ):
        save_file({name: each.clone() for name, each in {**found, **changed}.items()}, file)
        with pytest.raises(DataError, match=why):
            merge(encoder, model=folder, adapter=lora)
    save_file(found, file)
    path = lora / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "r": 6}))
    with pytest.raises(DataError, match=r"has rank 4, and adapter_config\.json says 6"):
        merge(encoder, model=folder, adapter=lora)


def test_a_folder_without_an_adapter_is_named(tmp_path: Path) -> None:
    folder = save_text_model(tmp_path / "tiny")
    with pytest.raises(DataError, match=r"there is no adapter_config\.json") as error:
        TextTransformers.find_published(model=str(folder), adapter=str(folder))
    assert "save_pretrained" in (error.value.tip or "")
    with pytest.raises(DataError, match="adapter=/nowhere: there is no such folder"):
        TextTransformers.find_published(model=str(folder), adapter="/nowhere")
