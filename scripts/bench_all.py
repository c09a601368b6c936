"""mmx's training loop against a bare one for every encoder and every fusion.

``bench.py --all`` runs it. Encoders are trained with ``concat``, fusions with the smallest
encoders, where what the loop adds to a step shows most. Encoders of libraries (timm,
transformers, open_clip) and large ones of torchvision are left out: the loop adds the same to a
step, and their steps are longer.
"""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from bench_loop import Case, alternate, median_ratio

from mmx.fusion.concat import Concat
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.sequence import SequenceColumn, Sequences
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.modalities.text import TextColumn, TfidfVectors, Tokens
from mmx.modalities.vector import Vector, VectorColumn
from mmx.modalities.video import Video, VideoColumn
from mmx.model import MultimodalModel

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
ENCODERS = {
    "audio": ("logmel_cnn", "logmel_lstm", "spectrogram_cnn", "spectrogram_resnet18"),
    "image": ("small_cnn", "resnet18"),
    "sequence": ("gru", "lstm", "tcn", "transformer"),
    "tabular": ("mlp",),
    "text": ("embedding_mean", "grid_cnn", "lstm", "text_cnn", "tfidf"),
    "vector": ("linear", "mlp"),
    "video": ("frames", "small_cnn_3d"),
}
STEPS = dict.fromkeys(("resnet18", "spectrogram_resnet18", "frames", "small_cnn_3d"), 2)
STEPS |= dict.fromkeys(("embedding_mean", "text_cnn", "tfidf", "small_cnn"), 20)
STEPS |= dict.fromkeys(("mlp", "linear"), 100)
"""Steps of an epoch where one takes long, or short: an epoch costs about 1 ms besides them."""
WORDS = 2000


def find_encoder(modality: str, name: str) -> type:
    """Return the class that the option of an encoder names."""
    option = CONFIGS / "encoder" / modality / f"{name}.yaml"
    module, _, found = yaml.safe_load(option.read_text())["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), found)


def make_columns(modality: str, encoder: str, rows: int):
    """Return a column of random rows, and how it is read."""
    draw = np.random.default_rng(0)
    if modality == "image":
        pixels = draw.integers(0, 256, (rows, 32, 32, 3), dtype=np.uint8)
        return ImageColumn(pixels), Image(size=32, crop=4, flip=True)
    if modality == "audio":
        sounds = draw.integers(-9999, 9999, (rows, 8000)).astype(np.int16)
        return AudioColumn(sounds, sample_rate=8000), Audio(sample_rate=8000, max_seconds=1.0)
    if modality == "sequence":
        steps = draw.integers(20, 60, rows)
        return SequenceColumn([draw.normal(size=(n, 8)) for n in steps]), Sequences()
    if modality == "tabular":
        cells = {f"n{i}": draw.normal(size=rows).tolist() for i in range(8)}
        return TabularColumn(cells), Tabular()
    if modality == "vector":
        return VectorColumn(draw.normal(size=(rows, 64))), Vector()
    if modality == "video":
        clips = draw.integers(0, 256, (rows, 4, 32, 32, 3), dtype=np.uint8)
        return VideoColumn(clips), Video(frames=4, size=32)
    lengths = draw.integers(10, 60, rows)
    texts = [" ".join(f"w{w}" for w in draw.zipf(1.3, n) % WORDS) for n in lengths]
    return TextColumn(texts), TfidfVectors() if encoder == "tfidf" else Tokens()


def make_case(encoders: dict[str, str], fusion: type, steps: int) -> Case:
    """Return the case of some encoders and a fusion."""
    rows = 64 * steps + 8
    columns = {m: make_columns(m, name, rows) for m, name in encoders.items()}
    made = {m: find_encoder(m, name) for m, name in encoders.items()}
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 10, rows))

    def make(specs: dict, outputs: int) -> MultimodalModel:
        return MultimodalModel(specs, made, partial(fusion), outputs)

    return Case(columns, labels, make)


def bench_all(fusions: dict[str, type], rounds: int, only: list[str]) -> None:
    """Print rows a second of both loops for every encoder and every fusion."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {rounds} rounds")
    print("| encoder or fusion | mmx, rows/s | bare, rows/s | mmx / bare |\n|---|---:|---:|---:|")
    for modality, names in ENCODERS.items():
        for name in names:
            if not only or name in only:
                case = make_case({modality: name}, Concat, STEPS.get(name, 5))
                print_row(f"{modality} {name}", case, rounds)
    for name, fusion in fusions.items():
        if name not in NEEDS_MORE and (not only or name in only):
            case = make_case({"vector": "mlp", "tabular": "mlp"}, fusion, STEPS["mlp"])
            print_row(f"fusion {name}", case, rounds)


NEEDS_MORE = ("algorithm", "ensemble")
"""Fusions that train no network by steps."""


def print_row(name: str, case: Case, rounds: int) -> None:
    """Print a line of the table."""
    loops = {"mmx": case.train_by_mmx, "bare": case.train_by_hand}
    seconds = alternate(loops, rounds)
    mmx, bare = (len(case.train) / float(np.median(seconds[each])) for each in loops)
    ratio = median_ratio(seconds["bare"], seconds["mmx"])
    print(f"| {name} | {mmx:,.0f} | {bare:,.0f} | {ratio:.2f} |", flush=True)
