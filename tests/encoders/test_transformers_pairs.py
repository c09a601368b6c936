"""CLIP and SigLIP of the library transformers: both towers, against the library itself."""

from __future__ import annotations

import io
import json
import shutil
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_pair, save_text_model

from mmx.encoders import Encoder
from mmx.encoders.image.transformers import Transformers as ImageTransformers
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.errors import DataError
from mmx.modalities import Modality, spec_from_json, spec_to_json
from mmx.modalities.clip_texts import clean_for_siglip
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.text import TextColumn

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

FAMILIES = pytest.mark.parametrize("family", ["clip", "siglip"])
TEXTS = [
    "Cat, dogs!",
    "a",
    "z q x cats dog a b c d e f g h i j k l m n o p q r s t u v w x y z a b",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pairs")
    return {family: save_pair(root / family, family) for family in ("clip", "siglip")}


def load(kind: type[Encoder], spec: object, **options: object) -> Any:
    """Return an encoder with its published weights, as a source would give them."""
    encoder = kind(spec, **options)
    published = kind.find_published(**options)
    assert published is not None
    found, own = encoder.read_published(published), encoder.state_dict()
    assert found.keys() == own.keys()
    assert not any(torch.equal(found[n], own[n]) for n in own if own[n].std() > 0)  # drawn fresh
    encoder.load_state_dict(found)
    return encoder.eval()


def read(modality: Modality, column: object) -> tuple[torch.Tensor, torch.Tensor | None, object]:
    rows = np.arange(len(column))
    spec = modality.fit(column, rows)
    stored = modality.encode(column, rows, spec)
    return modality.prepare(stored, spec), stored.lengths, spec


def theirs(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder).eval()


def tokenize(folder: Path, family: str) -> dict[str, torch.Tensor]:
    """Return ids as the library's own pipeline for zero-shot answers makes them."""
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    texts = [clean_for_siglip(each) for each in TEXTS] if family == "siglip" else TEXTS
    how = {"padding": "max_length"} if family == "siglip" else {"padding": True}
    given = tokenizer(texts, truncation=True, max_length=20, return_tensors="pt", **how)
    return {"input_ids": given["input_ids"]} if family == "siglip" else dict(given)


@FAMILIES
@pytest.mark.parametrize("size", [None, 48])
def test_image_features_equal_the_library(
    folders: dict[str, Path], family: str, size: int | None
) -> None:
    folder, more = folders[family], {} if size is None else {"size": size}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 80, 70, 3), dtype=np.uint8)
    modality = ImageTransformers.read_with(Image(size=16, flip=True), model=str(folder), **more)
    x, _, spec = read(modality, ImageColumn(pixels))
    encoder = load(ImageTransformers, spec, model=str(folder), **more)
    if size is None:
        name = "CLIPImageProcessorPil" if family == "clip" else "SiglipImageProcessorPil"
        module = getattr(transformers.models, family)
        given = getattr(module, name).from_pretrained(folder)(list(pixels), return_tensors="pt")
        torch.testing.assert_close(encoder.normalize(x), given["pixel_values"], atol=1e-6, rtol=0)
    with torch.no_grad():
        ours = encoder(x)
        found = theirs(folder).get_image_features(
            pixel_values=encoder.normalize(x),
            interpolate_pos_encoding=size is not None,
            output_hidden_states=True,
        )
    torch.testing.assert_close(ours.pooled, found.pooler_output, atol=1e-6, rtol=0)
    patches = ((size or 32) // 8) ** 2
    assert ours.tokens.shape == (2, {"clip": patches, "siglip": 1}[family], encoder.width)
    extra = int(family == "clip")  # a class token
    for level, layer in zip(ours.levels, found.hidden_states[1:], strict=True):
        torch.testing.assert_close(level, layer[:, extra:].mean(1), atol=1e-6, rtol=0)
    if family == "clip":  # the class token goes the way of the patches
        net = encoder.net
        whole = net.visual_projection(net.vision_model.post_layernorm(found.last_hidden_state))
        torch.testing.assert_close(whole[:, 0], ours.pooled, atol=1e-6, rtol=0)
        torch.testing.assert_close(whole[:, 1:], ours.tokens, atol=1e-6, rtol=0)


@FAMILIES
def test_text_features_equal_the_library(folders: dict[str, Path], family: str) -> None:
    folder = folders[family]
    modality = TextTransformers.read_with(None, model=str(folder))
    x, lengths, spec = read(modality, TextColumn([*TEXTS, None]))
    assert spec.max_tokens == 20  # all that the pair reads, without being asked
    assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec
    given = tokenize(folder, family)
    for i, ids in enumerate(given["input_ids"].tolist()):
        assert (x[i, : lengths[i]].tolist() + [spec.padding] * 20)[: len(ids)] == ids
    encoder = load(TextTransformers, spec, model=str(folder))
    with torch.no_grad():
        ours = encoder(x[:3], lengths[:3])
        found = theirs(folder).get_text_features(**given, output_hidden_states=True)
        short = encoder(x[1:2, :6], lengths[1:2])  # as a batch of short texts is cut
    torch.testing.assert_close(ours.pooled, found.pooler_output, atol=1e-6, rtol=0)
    torch.testing.assert_close(short.pooled, found.pooler_output[1:2], atol=1e-6, rtol=0)
    torch.testing.assert_close(short.tokens, ours.tokens[1:2, :6], atol=1e-6, rtol=0)
    assert ours.tokens.shape == (3, 20, encoder.width)
    for level, layer in zip(ours.levels, found.hidden_states[1:], strict=True):
        mean = torch.stack([layer[i, : lengths[i]].mean(0) for i in range(3)])
        torch.testing.assert_close(level, mean, atol=1e-6, rtol=0)
    if family == "clip":  # the end token, the last one, is what is pooled
        last = ours.tokens[torch.arange(3), lengths[:3] - 1]
        torch.testing.assert_close(last, ours.pooled, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_another_pooling_is_of_tokens_in_the_common_space(
    folders: dict[str, Path], pooling: str
) -> None:
    options = {"model": str(folders["clip"]), "pooling": pooling}
    x, lengths, spec = read(TextTransformers.read_with(None, **options), TextColumn(TEXTS))
    with torch.no_grad():
        found = load(TextTransformers, spec, **options)(x, lengths)
    for i, length in enumerate(lengths.tolist()):
        own = found.tokens[i, :length]
        expected = {"mean": own.mean(0), "cls": own[0], "last": own[-1]}[pooling]
        torch.testing.assert_close(found.pooled[i], expected, atol=1e-6, rtol=0)


@FAMILIES
def test_logits_equal_the_library(folders: dict[str, Path], family: str) -> None:
    """Scale · cosine + bias, as ``control=zero_shot`` computes it."""
    folder = folders[family]
    tower = ImageTransformers.text_tower(model=str(folder), size=48)
    assert tower is not None
    assert tower.make.func is TextTransformers
    assert tower.make.keywords == {"model": str(folder)}
    scale, bias = tower.read_scale(ImageTransformers.find_published(model=str(folder)))
    assert (bias != 0.0) == (family == "siglip")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    x, _, image = read(ImageTransformers.read_with(None, model=str(folder)), ImageColumn(pixels))
    ids, lengths, text = read(
        TextTransformers.read_with(None, model=str(folder)), TextColumn(TEXTS)
    )
    images = load(ImageTransformers, image, model=str(folder))
    texts = load(TextTransformers, text, model=str(folder))
    with torch.no_grad():
        one = torch.nn.functional.normalize(images(x).pooled, dim=-1)
        two = torch.nn.functional.normalize(texts(ids, lengths).pooled, dim=-1)
        given = {"pixel_values": images.normalize(x), **tokenize(folder, family)}
        found = theirs(folder)(**given).logits_per_image
    assert found.std() > 0.01
    torch.testing.assert_close(scale * one @ two.T + bias, found, atol=1e-5, rtol=1e-6)


@FAMILIES
@pytest.mark.parametrize("kind", [ImageTransformers, TextTransformers])
def test_depths_go_from_the_embeddings_to_the_projection(
    folders: dict[str, Path], family: str, kind: type[Encoder]
) -> None:
    options = {"model": str(folders[family])}
    encoder = kind(kind.read_with(None, **options).example(), **options)
    depths = encoder.depths()
    assert len(depths) == 4  # embeddings, two layers, what follows
    for tensor in encoder.state_dict():
        found = [prefix for depth in depths for prefix in depth if tensor.startswith(prefix)]
        assert len(found) == 1, (tensor, found)
    assert all("embeddings" in name or "pre_layrnorm" in name for name in depths[0])
    assert any("layernorm" in name or "layer_norm" in name for name in depths[-1])
    assert any("projection" in name or "head" in name for name in depths[-1])


def test_settings_of_a_whole_processor_are_read(folders: dict[str, Path], tmp_path: Path) -> None:
    """Newer versions of the library write those of images and of texts into one file."""
    folder = save_pair(tmp_path / "pair")
    before = ImageTransformers.find_preprocessing(model=str(folder))
    path = folder / "preprocessor_config.json"
    both = folder / "processor_config.json"
    both.write_text(json.dumps({"image_processor": json.loads(path.read_text())}))
    path.unlink()
    assert ImageTransformers.find_preprocessing(model=str(folder)) == before
    assert both in ImageTransformers.find_published(model=str(folder)).other_files


def change(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("kind", [ImageTransformers, TextTransformers])
def test_other_pairs_and_single_towers_are_refused(tmp_path: Path, kind: type[Encoder]) -> None:
    folder = save_pair(tmp_path / "pair")
    change(folder, model_type="clip_vision_model")
    with pytest.raises(DataError, match="one tower of a pair alone") as error:
        kind(Image(size=32).example(), model=str(folder))
    assert "model_type clip" in (error.value.tip or "")
    change(folder, model_type="altclip")
    with pytest.raises(DataError, match="only pairs of clip and siglip") as error:
        kind(Image(size=32).example(), model=str(folder))
    assert "open_clip" in (error.value.tip or "")


def test_a_model_of_another_modality_is_refused(tmp_path: Path) -> None:
    folder = save_text_model(tmp_path / "bert")
    with pytest.raises(DataError, match="reads input_ids"):
        ImageTransformers(Image(size=32).example(), model=str(folder))


@pytest.mark.parametrize(
    ("kind", "most"), [("bert", 160), ("roberta", 159), ("clip", 20), ("siglip", 20)]
)
def test_more_tokens_than_a_model_reads_are_refused(tmp_path: Path, kind: str, most: int) -> None:
    """RoBERTa counts positions from behind the id of padding, which is 0 here."""
    pair = kind in ("clip", "siglip")
    folder = save_pair(tmp_path / kind, kind) if pair else save_text_model(tmp_path / kind, kind)

    def make(tokens: int) -> Encoder:
        options = {"model": str(folder), "max_tokens": tokens}
        return TextTransformers(TextTransformers.read_with(None, **options).example(), **options)

    with pytest.raises(DataError, match=f"reads {most} tokens at most") as error:
        make(most + 1)
    assert error.value.tip == f"encoder.text.max_tokens={most}"
    encoder = make(most).eval()
    found = encoder(torch.ones(1, most, dtype=torch.int64), torch.tensor([most]))
    assert found.pooled.isfinite().all()


def test_texts_of_siglip_are_cleaned() -> None:
    assert clean_for_siglip("  A photo,\tof a_CAT!\n") == "a photo of acat"
    assert clean_for_siglip(string.punctuation) == ""


@pytest.mark.parametrize(
    ("tokenizer", "expected"),
    [("SiglipTokenizer", ["cat", "dog"]), ("Siglip2Tokenizer", ["cat", "[UNK]", "dog", "[UNK]"])],
)
def test_the_tokenizer_says_how_texts_are_cleaned(
    tmp_path: Path, tokenizer: str, expected: list[str]
) -> None:
    from tiny_models import WORDS

    folder = save_pair(tmp_path / "pair", "siglip")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": tokenizer}))
    modality = TextTransformers.read_with(None, model=str(folder))
    x, lengths, _ = read(modality, TextColumn(["Cat, DOG!"]))
    assert [WORDS[i] for i in x[0, 1 : lengths[0] - 1]] == expected


def test_a_vocabulary_of_sentencepiece_gives_the_ids_of_the_library(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """As SigLIP is published: ``spiece.model``, made here, in the place of ``tokenizer.json``."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path / "siglip"
    shutil.copytree(folders["siglip"], folder)
    for name in ("tokenizer.json", "special_tokens_map.json", "added_tokens.json"):
        (folder / name).unlink(missing_ok=True)
    lines = ["a photo of a cat", "two dogs and a cat", "the quick brown fox jumps over the moon"]
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20),
        model_writer=content,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(content.getvalue())
    named = {"tokenizer_class": "SiglipTokenizer", "eos_token": "</s>", "pad_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(theirs).__name__ == "SiglipTokenizer"
    x, _, spec = read(TextTransformers.read_with(None, model=str(folder)), TextColumn(SPOKEN))
    given = theirs(SPOKEN, padding="max_length", truncation=True, max_length=20)["input_ids"]
    assert given[0][:3] != given[1][:3]
    assert spec.padding == 1
    assert x.tolist() == given


SPOKEN = ["A photo of a CAT!", "two  moons, and dogs", "jumps over it é", "a" * 40]
