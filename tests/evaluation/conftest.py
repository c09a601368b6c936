"""Data of four modalities in memory, each missing somewhere, and an untrained model of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mmx.encoders.audio.logmel_cnn import LogmelCnn
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.tabular.mlp import Mlp
from mmx.encoders.text.embedding_mean import EmbeddingMean
from mmx.encoders.text.tfidf import Tfidf
from mmx.fusion.concat import Concat
from mmx.modalities import Column, Modality, Spec
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.modalities.text import TextColumn, TfidfVectors, Tokens
from mmx.model import MultimodalModel
from mmx.training.data import Data, ModalityReader
from mmx.training.precision import Precision

ROWS, CLASSES = 16, 3
ALL = ("image", "audio", "text", "tabular")
WORDS = ("stone", "river", "Cloud", "grass", "metal", "paper", "a")
MODALITIES: dict[str, Modality[Any, Any]] = {
    "image": Image(size=(10, 8)),
    "audio": Audio(sample_rate=4000, max_seconds=0.3),
    "text": Tokens(max_tokens=9),
    "tabular": Tabular(),
}


def columns() -> dict[str, Column]:
    random = np.random.default_rng(5)
    images = ImageColumn(random.integers(0, 256, (ROWS, 10, 8, 3)).astype(np.uint8))
    images.present[::5] = False
    sounds = random.integers(-9000, 9000, (ROWS, 1000)).astype(np.int16)
    recordings = AudioColumn(sounds, sample_rate=4000)
    recordings.present[1::4] = False
    texts = [" ".join(random.choice(WORDS, 3 + row % 4)) for row in range(ROWS)]
    return {
        "image": images,
        "audio": recordings,
        "text": TextColumn([None if row % 6 == 2 else text for row, text in enumerate(texts)]),
        "tabular": TabularColumn(
            {
                "b": [
                    None if row % 3 == 2 else f"{random.normal(5, 3):.3f}" for row in range(ROWS)
                ],
                "a": [float(number) for number in random.normal(0, 2, ROWS)],
                "kind": [("x", "y", None)[row % 3] for row in range(ROWS)],
            }
        ),
    }


@dataclass
class Shop:
    """Rows, a model of them, and what both are read by."""

    names: tuple[str, ...] = ALL
    tfidf: bool = False
    resident: bool = True
    precision: Precision = field(default_factory=lambda: Precision("fp32", torch.device("cpu")))

    def __post_init__(self) -> None:
        self.rows = np.arange(ROWS)[::-1].copy()
        self.columns = {name: columns()[name] for name in self.names}
        modalities = {**MODALITIES, **({"text": TfidfVectors(ngrams=2)} if self.tfidf else {})}
        self.modalities = {name: modalities[name] for name in self.names}
        self.specs: dict[str, Spec] = {
            name: each.fit(self.columns[name], np.arange(ROWS))
            for name, each in self.modalities.items()
        }
        self.target = torch.arange(ROWS) % CLASSES
        self.data = self.make_data(self.columns)
        torch.manual_seed(3)
        self.model = MultimodalModel(
            self.specs,
            {
                "image": partial(SmallCnn, width=8, depth=1),
                "audio": partial(LogmelCnn, width=8, mels=8),
                "text": partial(Tfidf if self.tfidf else EmbeddingMean, width=8),
                "tabular": partial(Mlp, width=8, hidden=8),
            },
            Concat,
            CLASSES,
        )
        self.prior = torch.tensor([-7.0, 7.0, 3.0])

    def make_data(self, given: Mapping[str, Column]) -> Data:
        return Data(
            {
                name: ModalityReader(given[name], self.modalities[name], self.specs[name])
                for name in given
            },
            self.target,
            {"train": np.arange(ROWS)},
            device=torch.device("cpu"),
            resident=self.resident,
        )

    def alone(self, data: Data, row: int) -> Tensor:
        """Return the outputs of one row, asked without any other."""
        rows = np.array([row])
        ((part, stored),) = data.batches([rows])
        self.model.eval()
        with torch.no_grad():
            outputs: Tensor = self.model(data.assemble(part, stored, augment=False))
        return outputs[0]


@pytest.fixture(scope="session")
def shop() -> Callable[..., Shop]:
    """Return ``make(names=…, tfidf=…, resident=…) -> Shop``."""
    return Shop
