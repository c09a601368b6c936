"""Both towers of a pair of open_clip against the library: inputs, features, tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_open_clip

from mmx.encoders import Encoder
from mmx.encoders.image.open_clip import OpenClip as ImageOpenClip
from mmx.encoders.text.open_clip import OpenClip as TextOpenClip
from mmx.errors import DataError
from mmx.modalities import Modality, spec_from_json, spec_to_json
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.text import TextColumn

open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.filterwarnings("ignore")

VISION: dict[str, dict[str, Any]] = {
    "vit": {},
    "avg": {"pool_type": "avg", "final_ln_after_pool": True},
    "attention": {"attentional_pool": True, "attn_pooler_queries": 2, "attn_pooler_heads": 2},
    "resnet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": 64},
    "timm": {
        "timm_model_name": "test_vit",
        "timm_model_pretrained": True,
        "timm_pool": "token",
        "timm_proj": "linear",
        "image_size": 160,
    },
}
TEXT: dict[str, dict[str, Any]] = {
    "causal": {},
    "hub tokenizer": {"hf_tokenizer_name": "somebody/words"},
    "siglip": {
        "hf_tokenizer_name": "somebody/words",
        "tokenizer_kwargs": {"clean": "canonicalize", "strip_sep_token": True},
        "no_causal_mask": True,
        "pool_type": "last",
        "proj_bias": True,
    },
    "coca": {"embed_cls": True},
    "no projection": {"proj_type": "none", "width": 12},
}
TEXTS = [
    "A cat,  and dogs!",
    "a",
    "&amp; z q x cats Dog a b c d e f g h i j k l m n o p q r s t u v",
]


def load(kind: type[Encoder], spec: object, **options: object) -> Encoder:
    """Return an encoder with its published weights, as a source would give them."""
    encoder = kind(spec, **options)
    published = kind.find_published(**options)
    assert published is not None
    found = encoder.read_published(published)
    own = encoder.state_dict()
    assert found.keys() == own.keys()
    assert any(not torch.equal(found[name], own[name]) for name in own)  # it was drawn fresh
    encoder.load_state_dict(found)
    return encoder.eval()


def read(modality: Modality, column: object) -> tuple[torch.Tensor, torch.Tensor | None, object]:
    rows = np.arange(len(column))
    spec = modality.fit(column, rows)
    stored = modality.encode(column, rows, spec)
    return modality.prepare(stored, spec), stored.lengths, spec


def theirs(folder: Path) -> tuple[Any, Any]:
    """Return the library's own pair and the transform of its images."""
    found = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    return found[0].eval(), found[1]


@pytest.mark.parametrize("vision", VISION)
def test_image_features_equal_the_library(tmp_path: Path, vision: str) -> None:
    folder = save_open_clip(tmp_path / "pair", VISION[vision])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 80, 70, 3), dtype=np.uint8)
    modality = ImageOpenClip.read_with(Image(size=16, flip=True), model=str(folder))
    x, _, spec = read(modality, ImageColumn(pixels))
    encoder = load(ImageOpenClip, spec, model=str(folder))
    pair, transform = theirs(folder)
    import PIL.Image

    given = torch.stack([transform(PIL.Image.fromarray(each)) for each in pixels])
    torch.testing.assert_close(encoder.normalize(x), given, atol=1e-6, rtol=0)
    with torch.no_grad():
        ours, found = encoder(x), pair.encode_image(encoder.normalize(x))
    torch.testing.assert_close(ours.pooled, found, atol=1e-6, rtol=0)
    assert ours.tokens.shape[2] == encoder.width == 12
    assert tuple(level.shape[1] for level in ours.levels) == encoder.level_widths
    assert len(ours.levels) > 1
    if vision == "vit":
        with torch.no_grad():  # the class token goes the way of the patches
            net = encoder.net
            inner = net.ln_post(net.transformer(net._embeds(given))) @ net.proj
        torch.testing.assert_close(inner[:, 0], ours.pooled, atol=1e-6, rtol=0)
        torch.testing.assert_close(inner[:, 1:], ours.tokens, atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, [32, 48]])
def test_images_are_read_as_the_library_reads_them(
    tmp_path: Path, mode: str, interpolation: str, size: int | list[int]
) -> None:
    asked = {"resize_mode": mode, "interpolation": interpolation}
    folder = save_open_clip(tmp_path / "pair", {"image_size": size}, preprocessing=asked)
    encoder = ImageOpenClip.read_with(None, model=str(folder))
    _, transform = theirs(folder)
    import PIL.Image

    for shape in ((80, 70), (41, 90), (20, 21)):
        pixels = np.random.default_rng(0).integers(0, 256, (1, *shape, 3), dtype=np.uint8)
        x, _, spec = read(encoder, ImageColumn(pixels))
        normalize = ImageOpenClip(spec, model=str(folder)).normalize
        given = transform(PIL.Image.fromarray(pixels[0]))
        torch.testing.assert_close(normalize(x)[0], given, atol=1e-6, rtol=0)


@pytest.mark.parametrize("vision", ["vit", "timm"])
def test_another_size_equals_the_library(tmp_path: Path, vision: str) -> None:
    folder = save_open_clip(tmp_path / "pair", VISION[vision])
    options = {"model": str(folder), "size": 96}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    x, _, spec = read(ImageOpenClip.read_with(None, **options), ImageColumn(pixels))
    assert x.shape == (2, 3, 96, 96)
    encoder = load(ImageOpenClip, spec, **options)
    pair = open_clip.create_model(f"local-dir:{folder}", force_image_size=96).eval()
    with torch.no_grad():
        found = pair.encode_image(encoder.normalize(x))
        torch.testing.assert_close(encoder(x).pooled, found, atol=1e-6, rtol=0)


@pytest.mark.parametrize("text", TEXT)
def test_text_features_equal_the_library(tmp_path: Path, text: str) -> None:
    folder = save_open_clip(tmp_path / "pair", text=TEXT[text], custom_text=text != "causal")
    modality = TextOpenClip.read_with(None, model=str(folder))
    x, lengths, spec = read(modality, TextColumn([*TEXTS, None]))
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec
    given = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    for i, ids in enumerate(given.tolist()):
        assert [*x[i, : lengths[i]].tolist(), *[spec.padding] * (12 - lengths[i])] == ids
    encoder = load(TextOpenClip, spec, model=str(folder))
    pair, _ = theirs(folder)
    with torch.no_grad():
        ours, found = encoder(x[:3], lengths[:3]), pair.encode_text(given)
        short = encoder(x[1:2, :6], lengths[1:2])  # as a batch of short texts is cut
    torch.testing.assert_close(ours.pooled, found, atol=1e-6, rtol=0)
    torch.testing.assert_close(short.pooled, found[1:2], atol=1e-6, rtol=0)
    torch.testing.assert_close(short.tokens, ours.tokens[1:2, :6], atol=1e-6, rtol=0)
    assert ours.tokens.shape == (3, 12, encoder.width)
    assert ours.mask.sum(1).tolist() == lengths[:3].tolist()
    assert [level.shape for level in ours.levels] == [(3, each) for each in encoder.level_widths]
    if text == "causal":  # the end token, the last one, is what is pooled
        last = ours.tokens[torch.arange(3), lengths[:3] - 1]
        torch.testing.assert_close(last, found, atol=1e-6, rtol=0)


def test_the_spec_reads_texts_without_its_folder(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "pair", text=TEXT["siglip"], custom_text=True)
    modality = TextOpenClip.read_with(None, model=str(folder))
    column, rows = TextColumn(TEXTS), np.arange(3)
    spec = spec_from_json(spec_to_json(modality.fit(column, rows)))
    before = modality.encode(column, rows, spec).values
    folder.rename(tmp_path / "gone")
    assert torch.equal(modality.encode(column, rows, spec).values, before)


@pytest.mark.parametrize(
    ("kind", "vision", "first", "last"),
    [
        (ImageOpenClip, "vit", "net.positional_embedding", "net.proj"),
        (ImageOpenClip, "resnet", "net.conv1.weight", "net.attnpool.c_proj.weight"),
        (ImageOpenClip, "timm", "net.trunk.pos_embed", "net.head.proj.weight"),
        (TextOpenClip, "vit", "net.token_embedding.weight", "net.text_projection"),
    ],
)
def test_depths_name_every_tensor_once(
    tmp_path: Path, kind: type[Encoder], vision: str, first: str, last: str
) -> None:
    folder = save_open_clip(tmp_path / "pair", VISION[vision])
    modality = kind.read_with(None, model=str(folder))
    encoder = kind(modality.example(), model=str(folder))
    depths = encoder.depths()
    assert len(depths) > 3
    for tensor in encoder.state_dict():
        found = [prefix for depth in depths for prefix in depth if tensor.startswith(prefix)]
        assert len(found) == 1, (tensor, found)
    assert first.startswith(depths[0])
    assert last.startswith(depths[-1])


def test_the_image_tower_names_its_text_tower(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "pair", init_logit_scale=2.0, init_logit_bias=-3.0)
    options = {"model": str(folder), "size": 64, "revision": None, "download": False}
    tower = ImageOpenClip.text_tower(**options)
    assert tower is not None
    assert tower.make.func is TextOpenClip
    assert tower.make.keywords == {"model": str(folder), "revision": None, "download": False}
    pair, _ = theirs(folder)
    scale, bias = tower.read_scale(ImageOpenClip.find_published(**options))
    assert scale == pytest.approx(pair.logit_scale.exp().item())
    assert bias == pytest.approx(pair.logit_bias.item())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"multimodal_cfg": {}}, "captioning"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "roberta-base"),
        ({"vision_cfg": {"layers": 2, "fins": 3}}, "cannot make its visual tower"),
    ],
)
def test_what_is_not_read_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    folder = save_open_clip(tmp_path / "pair")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"] |= changes
    path.write_text(json.dumps(config))
    with pytest.raises(DataError, match=reason):
        ImageOpenClip(Image(size=32).example(), model=str(folder))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"open_clip_config\.json") as error:
        ImageOpenClip.read_with(None, model=str(tmp_path))
    assert "model_cfg" in (error.value.tip or "")


def test_tokenizers_of_other_options_are_refused(tmp_path: Path) -> None:
    folder = save_open_clip(
        tmp_path / "pair", text={"tokenizer_kwargs": {"reduction_mask": "random"}}
    )
    with pytest.raises(DataError, match="reduction_mask"):
        TextOpenClip.read_with(None, model=str(folder))


def test_weights_of_another_pair_are_refused(tmp_path: Path) -> None:
    folder = save_open_clip(tmp_path / "pair")
    other = save_open_clip(tmp_path / "other", text={"layers": 3})
    encoder = TextOpenClip(
        TextOpenClip.read_with(None, model=str(folder)).example(), model=str(folder)
    )
    (other / "open_clip_model.safetensors").replace(folder / "open_clip_model.safetensors")
    with pytest.raises(DataError, match="weights of this pair"):
        encoder.read_published(TextOpenClip.find_published(model=str(folder)))


def test_the_file_is_the_one_that_the_library_reads(tmp_path: Path) -> None:
    """A folder of the hub often holds the same weights in other layouts too."""
    folder = save_open_clip(tmp_path / "pair")
    (folder / "model.safetensors").write_bytes(b"other")
    found = ImageOpenClip.find_published(model=str(folder))
    assert found.weight_files == (folder / "open_clip_model.safetensors",)
    found.weight_files[0].unlink()
    (folder / "model.safetensors").unlink()
    assert ImageOpenClip.find_published(model=str(folder)).missing_files()
