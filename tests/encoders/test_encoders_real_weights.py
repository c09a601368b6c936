"""Encoders with real published weights: one of text, one of images, one of sounds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from real_weights import find_lite0, find_minilm, save_whisper_encoder
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mmx.encoders import Encoder
from mmx.encoders.audio.transformers import Transformers as AudioTransformers
from mmx.encoders.image.timm import Timm
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.modalities import Modality, Spec
from mmx.modalities.audio import Audio
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.text import TextColumn
from mmx.tasks.fsdd import Fsdd

pytestmark = [pytest.mark.weights, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

TEXTS = [
    "cat",
    "Stocks fell after the bank's report; naïve investors (like me) sold.",
    "The striker scored twice in the last five minutes. " * 12,
]


def start(kind: type[Encoder], spec: Spec, **options: object) -> Encoder:
    """Return an encoder that holds its published values."""
    encoder = kind(spec, **options)
    published = kind.find_published(**options)
    assert published is not None
    encoder.load_state_dict({**encoder.state_dict(), **encoder.read_published(published)})
    return encoder.eval()


def read(
    modality: Modality, column: object, rows: np.ndarray
) -> tuple[Tensor, Tensor | None, Spec]:
    spec = modality.fit(column, rows)
    stored = modality.encode(column, rows, spec)
    return modality.prepare(stored, spec), stored.lengths, spec


def test_minilm_equals_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    options = {"model": str(find_minilm()), "max_tokens": 64}
    x, lengths, spec = read(
        TextTransformers.read_with(None, **options), TextColumn(TEXTS), np.arange(len(TEXTS))
    )
    assert lengths is not None
    assert lengths.tolist() == [3, 19, 64]  # the last is cut
    encoder = start(TextTransformers, spec, **options)
    theirs = library.SentenceTransformer(options["model"], device="cpu", local_files_only=True)
    theirs.max_seq_length = 64
    with torch.no_grad():
        ours = encoder(x, lengths).pooled
    expected = theirs.encode(TEXTS, normalize_embeddings=True, convert_to_tensor=True)
    torch.testing.assert_close(torch.nn.functional.normalize(ours), expected, atol=1e-6, rtol=0)
    likeness = torch.nn.functional.normalize(ours) @ torch.nn.functional.normalize(ours).T
    assert likeness[0, 1] < 0.5  # they say different things: real weights, not a fresh draw


def test_lite0_equals_timm() -> None:
    """The file names its tensors otherwise than timm does; they are taken in order."""
    timm = pytest.importorskip("timm")
    file = find_lite0()
    options = {"model": "tf_efficientnet_lite0", "weights": str(file)}
    pixels = np.random.default_rng(0).integers(0, 256, (2, 260, 240, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(pixels[:, ::20, ::20], 20, axis=1), 20, axis=2)
    x, _, spec = read(Timm.read_with(Image(size=32), **options), ImageColumn(pixels), np.arange(2))
    encoder = start(Timm, spec, **options)
    theirs = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    found = torch.load(file, map_location="cpu", weights_only=True)
    own = theirs.state_dict()
    assert [value.shape for value in found.values()] == [value.shape for value in own.values()]
    theirs.load_state_dict(dict(zip(own, found.values(), strict=True)))
    theirs.reset_classifier(0)
    settings = timm.data.resolve_model_data_config(theirs)
    assert (settings["mean"], settings["std"]) == ((0.5,) * 3, (0.5,) * 3)
    transform = timm.data.create_transform(**settings)
    given = torch.stack([transform(PIL.Image.fromarray(each)) for each in pixels])
    torch.testing.assert_close(encoder.normalize(x), given, atol=1e-6, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x).pooled, theirs(given), atol=1e-5, rtol=0)
        assert theirs(given).max() > 1.0  # BatchNorm's statistics were read: nothing has died


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper_encoder(tmp_path_factory.mktemp("models") / "whisper-tiny.en")


def test_whisper_equals_transformers(whisper: Path) -> None:
    """At the full 30 seconds the states are the library's, but for those that see the very end.

    The library mirrors the end of the clip in its last frame, and mmx has silence there.
    """
    transformers = pytest.importorskip("transformers")
    spec = Audio(sample_rate=16_000, max_seconds=30.0).example()
    encoder = start(AudioTransformers, spec, model=str(whisper))
    clip = np.zeros(30 * 16_000, dtype=np.float32)
    clip[: 5 * 16_000] = 0.1 * np.random.default_rng(0).standard_normal(5 * 16_000)
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(whisper)
    given = extractor(clip, sampling_rate=16_000, return_tensors="pt")["input_features"]
    theirs = transformers.WhisperModel.from_pretrained(whisper).encoder.eval()
    with torch.no_grad():
        expected = theirs(given).last_hidden_state
        ours = encoder(torch.from_numpy(clip)[None], torch.tensor([len(clip)]))
    torch.testing.assert_close(ours.tokens, expected, atol=2e-3, rtol=1e-4)


def test_whisper_hears_digits_of_a_speaker_it_never_heard(whisper: Path) -> None:
    where = Path(os.environ.get("MMX_DATA_DIR", ""))
    if not (where / "fsdd").is_dir():
        pytest.skip("needs MMX_DATA_DIR with fsdd")
    audio = Audio(sample_rate=8000, max_seconds=1.0)
    data = Fsdd(name="fsdd", data_dir=str(where), audio=audio, per_class=10).load()
    modality = AudioTransformers.read_with(audio, model=str(whisper))
    assert isinstance(modality, Audio)
    assert modality.sample_rate == 16_000
    features, labels = {}, {}
    spec = modality.fit(data.columns["audio"], data.splits["train"])
    encoder = start(AudioTransformers, spec, model=str(whisper))
    for split, step in (("train", 1), ("test", 5)):
        rows = np.asarray(data.splits[split])[::step]
        stored = modality.encode(data.columns["audio"], rows, spec)
        with torch.no_grad():
            found = encoder(modality.prepare(stored, spec), stored.lengths)
        features[split], labels[split] = found.pooled.numpy(), data.values[rows].numpy()
    assert len(labels["train"]) == 100
    probe = LogisticRegression(C=1.0, max_iter=500).fit(features["train"], labels["train"])
    assert probe.score(features["test"], labels["test"]) > 0.95
