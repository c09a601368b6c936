"""Encoders of published models against their libraries: inputs, features, tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import (
    save_ast,
    save_text_model,
    save_timm,
    save_vit,
    save_wav2vec2,
    save_whisper,
)
from torch import Tensor

from mmx.encoders import Encoder
from mmx.encoders.audio.transformers import Transformers as AudioTransformers
from mmx.encoders.hub import Folder
from mmx.encoders.image.timm import Timm, group_tensors
from mmx.encoders.image.transformers import Transformers as ImageTransformers
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.errors import DataError
from mmx.modalities import Modality
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.text import TextColumn

transformers = pytest.importorskip("transformers")
timm = pytest.importorskip("timm")
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = ["cat dogs", "a", "z q x cats dog a b c d e f g h i j k l m n o p q r s t u v w x y z a b"]
RATE = 16_000


def load(encoder: Encoder, kind: type[Encoder], **options: object) -> Encoder:
    """Give an encoder its published weights, as a source would."""
    published = kind.find_published(**options)
    assert published is not None
    found = encoder.read_published(published)
    encoder.load_state_dict({**encoder.state_dict(), **found})
    return encoder.eval()


def read(modality: Modality, column: object) -> tuple[Tensor, Tensor | None, object]:
    rows = np.arange(len(column))
    spec = modality.fit(column, rows)
    stored = modality.encode(column, rows, spec)
    return modality.prepare(stored, spec), stored.lengths, spec


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_texts_equal_the_library(tmp_path: Path, kind: str, pooling: str) -> None:
    folder = save_text_model(tmp_path / "tiny", kind)
    options = {"model": str(folder), "pooling": pooling, "max_tokens": 16}
    modality = TextTransformers.read_with(None, **options)
    x, lengths, spec = read(modality, TextColumn([*TEXTS, None]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer(TEXTS, truncation=True, max_length=16, padding=True, return_tensors="pt")
    for i, ids in enumerate(given["input_ids"]):
        kept = given["attention_mask"][i].bool()
        assert x[i, : lengths[i]].tolist() == ids[kept].tolist()
    assert lengths.tolist() == [*given["attention_mask"].sum(1).tolist(), 0]
    encoder = load(TextTransformers(spec, **options), TextTransformers, **options)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours = encoder(x[:3], lengths[:3])
        found = theirs(**given, output_hidden_states=True)
    mask = given["attention_mask"].bool()
    last = found.last_hidden_state
    expected = {
        "mean": (last * mask[..., None]).sum(1) / mask.sum(1, keepdim=True),
        "cls": last[:, 0],
        "last": last[torch.arange(3), mask.sum(1) - 1],
    }[pooling]
    torch.testing.assert_close(ours.pooled, expected, atol=1e-6, rtol=0)
    steps = mask.shape[1]
    assert ours.tokens.shape == (3, 16, 16)
    torch.testing.assert_close(ours.tokens[:, :steps][mask], last[mask], atol=1e-6, rtol=0)
    assert torch.equal(ours.mask[:, :steps], mask)
    assert not ours.mask[:, steps:].any()
    for level, hidden in zip(ours.levels, found.hidden_states[1:], strict=True):
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        torch.testing.assert_close(level, mean, atol=1e-6, rtol=0)


def test_padding_changes_no_text(tmp_path: Path) -> None:
    folder = save_text_model(tmp_path / "tiny")
    options = {"model": str(folder), "max_tokens": 16}
    x, lengths, spec = read(TextTransformers.read_with(None, **options), TextColumn(TEXTS))
    encoder = load(TextTransformers(spec, **options), TextTransformers, **options)
    with torch.no_grad():
        together = encoder(x, lengths).pooled
        alone = torch.cat([encoder(x[i : i + 1], lengths[i : i + 1]).pooled for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def clips() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [
        np.round(draw.normal(size=n).clip(-1, 1) * 8000).astype(np.int16)
        for n in (5_000, 9_600, 3_201)
    ]


def as_column(sounds: list[np.ndarray], rate: int = RATE) -> AudioColumn:
    longest = max(map(len, sounds))
    return AudioColumn(
        np.stack([np.pad(each, (0, longest - len(each))) for each in sounds]), sample_rate=rate
    )


def test_whisper_hears_what_the_library_hears(tmp_path: Path) -> None:
    """At the full 30 seconds (here 2) it is the library's own, mel by mel and state by state."""
    folder = save_whisper(tmp_path / "tiny", positions=100)
    options = {"model": str(folder)}
    sound = clips()[1]
    modality = AudioTransformers.read_with(Audio(sample_rate=8000, max_seconds=2.0), **options)
    assert modality.sample_rate == RATE
    x, lengths, spec = read(modality, as_column([sound]))
    encoder = load(AudioTransformers(spec, **options), AudioTransformers, **options)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    given = extractor(sound / 32768, sampling_rate=RATE, return_tensors="pt")["input_features"]
    torch.testing.assert_close(encoder.reader.mel(x), given, atol=1e-5, rtol=0)
    theirs = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(x, torch.full_like(lengths, 32_000)).tokens,
            theirs(given).last_hidden_state,
            atol=1e-5,
            rtol=0,
        )


def test_whisper_is_cropped_to_the_longest_clip(tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "tiny")
    options = {"model": str(folder)}
    x, lengths, spec = read(Audio(sample_rate=RATE), as_column(clips()))
    encoder = load(AudioTransformers(spec, **options), AudioTransformers, **options)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    whole = extractor([each / 32768 for each in clips()], sampling_rate=RATE, return_tensors="pt")[
        "input_features"
    ]
    mels = encoder.reader.mel(x)
    torch.testing.assert_close(mels, whole[..., : mels.shape[-1]], atol=1e-5, rtol=0)
    with torch.no_grad():
        features = encoder(x, lengths)
    assert features.tokens.shape == (3, 30, 16)  # 9,600 samples of 320
    assert features.mask.sum(1).tolist() == [30, 30, 30]  # an array has one length for all rows


def test_whisper_refuses_what_it_cannot_hear(tmp_path: Path) -> None:
    folder = save_whisper(tmp_path / "tiny", positions=100)
    spec = Audio(sample_rate=RATE, max_seconds=3.0).example()
    with pytest.raises(ValueError, match=r"max_seconds=2 cuts them"):
        AudioTransformers(spec, model=str(folder))


@pytest.mark.parametrize("masks", [True, False])
def test_waveforms_equal_the_library(tmp_path: Path, masks: bool) -> None:
    folder = save_wav2vec2(tmp_path / "tiny", masks=masks)
    options = {"model": str(folder)}
    sounds = clips()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    given = extractor(
        [each / np.float32(32768) for each in sounds],
        sampling_rate=RATE,
        return_tensors="pt",
        padding=True,
    )
    modality = Audio(sample_rate=RATE)
    x, _, spec = read(modality, as_column(sounds))
    lengths = torch.tensor([len(each) for each in sounds])
    encoder = load(AudioTransformers(spec, **options), AudioTransformers, **options)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours = encoder(x, lengths)
        found = theirs(**given).last_hidden_state
    assert ours.mask.sum(1).tolist() == theirs._get_feat_extract_output_lengths(lengths).tolist()
    torch.testing.assert_close(ours.tokens[ours.mask], found[ours.mask], atol=2e-5, rtol=0)


@pytest.mark.parametrize("masks", [True, False])
def test_clips_shorter_than_a_token_are_heard(tmp_path: Path, masks: bool) -> None:
    """10 samples, then 8 of what 5 of them give: 45 samples a token."""
    folder = save_wav2vec2(tmp_path / "tiny", masks=masks)
    options = {"model": str(folder)}
    spec = Audio(sample_rate=RATE, max_seconds=0.5).example()
    encoder = load(AudioTransformers(spec, **options), AudioTransformers, **options)
    assert encoder.reader.least == 45
    x = torch.linspace(-0.5, 0.5, 60).repeat(3, 1)
    with torch.no_grad():
        some = encoder(x, torch.tensor([0, 20, 60]))
        alone = encoder(x[1:2, :20])
    assert some.mask.sum(1).tolist() == [1, 1, 1]
    assert some.pooled.isfinite().all()
    if masks:  # others hear the silence behind a clip as a part of it
        torch.testing.assert_close(alone.pooled, some.pooled[1:2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(40, 32), (50, 50)])
def test_vit_sees_what_the_library_sees(tmp_path: Path, shape: tuple[int, int]) -> None:
    folder = save_vit(tmp_path / "tiny")
    options = {"model": str(folder)}
    pixels = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    modality = ImageTransformers.read_with(Image(size=16, flip=True), **options)
    x, _, spec = read(modality, ImageColumn(pixels))
    encoder = load(ImageTransformers(spec, **options), ImageTransformers, **options)
    from transformers.models.vit import ViTImageProcessorPil

    processor = ViTImageProcessorPil.from_pretrained(folder)
    given = processor(list(pixels), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(encoder.normalize(x), given, atol=1e-5, rtol=0)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours, found = encoder(x), theirs(given).last_hidden_state
    torch.testing.assert_close(ours.pooled, found[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.tokens, found[:, 1:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("model", ["test_resnet", "test_vit", "test_efficientnet", "test_convnext"])
def test_timm_sees_what_the_library_sees(tmp_path: Path, model: str) -> None:
    folder = save_timm(tmp_path / "tiny", model)
    options = {"model": str(folder)}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 120, 100, 3), dtype=np.uint8)
    modality = Timm.read_with(Image(size=32, crop=4), **options)
    assert (modality.crop, modality.size) == (12, (96, 96))
    x, _, spec = read(modality, ImageColumn(pixels))
    encoder = load(Timm(spec, **options), Timm, **options)
    name = f"local-dir:{folder}"
    theirs = timm.create_model(name, pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    import PIL.Image

    given = torch.stack([transform(PIL.Image.fromarray(each)) for each in pixels])
    torch.testing.assert_close(encoder.normalize(x), given, atol=1e-6, rtol=0)
    with torch.no_grad():
        ours, pooled = encoder(x.contiguous()), theirs(given)  # of one memory format, one kernel
    torch.testing.assert_close(ours.pooled, pooled, atol=1e-6, rtol=0)
    assert ours.tokens.shape[2] == ours.pooled.shape[1] == encoder.width
    assert tuple(level.shape[1] for level in ours.levels) == encoder.level_widths


def every_encoder(tmp_path: Path) -> dict[str, Encoder]:
    text = save_text_model(tmp_path / "text")
    audio = save_whisper(tmp_path / "whisper")
    wave = save_wav2vec2(tmp_path / "wave", masks=True)
    vit = save_vit(tmp_path / "vit")
    nets = {name: save_timm(tmp_path / name, name) for name in ("test_resnet", "test_vit")}
    reader = TextTransformers.read_with(None, model=str(text), max_tokens=16)
    sound = Audio(sample_rate=RATE, max_seconds=0.5).example()
    image = Image(size=32).example()
    big = Image(size=96).example()
    return {
        "text": TextTransformers(reader.example(), model=str(text)),
        "whisper": AudioTransformers(sound, model=str(audio)),
        "wave": AudioTransformers(sound, model=str(wave)),
        "vit": ImageTransformers(image, model=str(vit)),
        **{name: Timm(big, model=str(folder)) for name, folder in nets.items()},
    }


def test_depths_name_every_tensor_once(tmp_path: Path) -> None:
    for name, encoder in every_encoder(tmp_path).items():
        depths = encoder.depths()
        assert len(depths) > 2, name
        for tensor in encoder.state_dict():
            found = [prefix for depth in depths for prefix in depth if tensor.startswith(prefix)]
            assert len(found) == 1, (name, tensor, found)


def test_published_values_fill_every_tensor(tmp_path: Path) -> None:
    for name, encoder in every_encoder(tmp_path).items():
        folder = {"text": "text", "whisper": "whisper", "wave": "wave"}.get(name, name)
        published = type(encoder).find_published(model=str(tmp_path / folder))
        own = encoder.state_dict()
        found = encoder.read_published(published)
        assert found.keys() == own.keys(), name
        assert {key: value.shape for key, value in found.items()} == {
            key: value.shape for key, value in own.items()
        }, name
        drawn = [key for key, value in own.items() if value.is_floating_point() and value.std() > 0]
        assert not all(torch.equal(found[key], own[key]) for key in drawn), name


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    folder = save_text_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    published = TextTransformers.find_published(model=str(folder))
    assert published.missing_files() == (folder / "model.safetensors",)
    assert published.licence == "apache-2.0"
    reader = TextTransformers.read_with(None, model=str(folder), max_tokens=8)
    encoder = TextTransformers(reader.example(), model=str(folder), max_tokens=8)
    with pytest.raises(DataError, match=r"there is no .*model\.safetensors"):
        encoder.read_published(published)


def test_a_repository_that_is_not_here_is_not_fetched() -> None:
    with pytest.raises(DataError, match="the hub's cache does not hold it") as error:
        TextTransformers.find_published(model="nobody/nothing")
    assert "download=true" in error.value.tip


def test_spectrogram_transformers_equal_the_library(tmp_path: Path) -> None:
    folder = save_ast(tmp_path / "tiny")
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    options = {"model": str(folder)}
    sounds = clips()
    x, _, spec = read(Audio(sample_rate=RATE), as_column(sounds))
    encoder = load(AudioTransformers(spec, **options), AudioTransformers, **options)
    lengths = torch.tensor([len(each) for each in sounds])
    given = extractor(
        [each / np.float32(32768) for each in sounds], sampling_rate=RATE, return_tensors="pt"
    )
    with torch.no_grad():
        ours = encoder(x, lengths)
        found = transformers.AutoModel.from_pretrained(folder).eval()(
            **given, output_hidden_states=True
        )
    assert ours.mask.all()
    torch.testing.assert_close(ours.tokens, found.last_hidden_state, atol=1e-6, rtol=0)
    for level, state in zip(ours.levels, found.hidden_states[1:], strict=True):
        torch.testing.assert_close(level, state.mean(1), atol=1e-6, rtol=0)


def test_a_folder_without_weights_says_which_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    published = Folder(tmp_path, "mine").find_published()
    assert published.missing_files() == (tmp_path / "model.safetensors",)
    assert published.other_files == (tmp_path / "config.json",)
    (tmp_path / "model.safetensors").touch()
    assert published.missing_files() == ()


def test_depths_of_a_network_that_timm_does_not_group() -> None:
    net = timm.create_model("pit_ti_224", num_classes=0)
    assert not hasattr(net, "group_matcher")
    assert group_tensors(net, "net.") == (
        ("net.pos_embed", "net.cls_token", "net.patch_embed."),
        ("net.transformers.0.",),
        ("net.transformers.1.",),
        ("net.transformers.2.",),
        ("net.norm.",),
    )


def test_networks_of_several_scales_are_refused() -> None:
    options = {"model": "crossvit_tiny_240"}
    spec = Timm.read_with(None, **options).example()
    with pytest.raises(DataError, match=r"^CrossVit of timm gives features of several scales"):
        Timm(spec, **options)
