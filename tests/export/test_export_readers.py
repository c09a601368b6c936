"""The readers beside a model read files and texts of many sorts as the run does."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("av")

from raw_table import COLUMNS, read_raw_rows, write_raw_table

from mmx.errors import DataError
from mmx.export.inputs import GraphInput, make_input
from mmx.export.inputs.clip_texts import CLEANED
from mmx.export.inputs.sub_words import SubWordsInput
from mmx.modalities import Modality
from mmx.modalities.audio import Audio
from mmx.modalities.clip_texts import ClipTexts, ClipTextSpec
from mmx.modalities.image import Image
from mmx.modalities.resized_image import ResizedImage
from mmx.modalities.sequence import Sequences
from mmx.modalities.sub_words import SubWords
from mmx.modalities.text import TextColumn, TfidfVectors, Tokens
from mmx.modalities.vector import Vector
from mmx.modalities.video import Video
from mmx.tasks import TaskData
from mmx.tasks.table import Table

SQUARE = (24, 24)
READ: dict[str, list[Modality[Any, Any]]] = {
    "image": [
        Image(size=24),
        *(
            ResizedImage(Image(size=24), size=size, crop_part=part, interpolation=way, how=how)
            for size, part, way, how in (
                (SQUARE, 0.875, "bicubic", "center"),
                ((20, 28), 0.9, "lanczos", "center"),
                (SQUARE, 1.0, "bilinear", "squash"),
                ((30, 18), 1.0, "hamming", "pad"),
                (SQUARE, 1.0, "nearest-exact", "center"),
            )
        ),
    ],
    "audio": [Audio(sample_rate=rate, max_seconds=0.2) for rate in (8000, 16000, 22050)],
    "video": [Video(frames=4, size=24), Video(frames=3, fps=5, size=16)],
    "text": [
        Tokens(max_tokens=6),
        Tokens(max_tokens=40, pairs=True),
        Tokens(max_tokens=40, analyzer="char"),
        TfidfVectors(ngrams=2),
        TfidfVectors(ngrams=[2, 3], analyzer="char"),
        TfidfVectors(ngrams=[1, 4], analyzer="char_wb"),
    ],
    "vector": [Vector()],
    "sequence": [Sequences(), Sequences(max_steps=2)],
}
CASES = [(name, place) for name, given in READ.items() for place in range(len(given))]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskData, list[dict[str, Any]]]:
    """Return a task, and the same rows as ``rows.json`` holds them."""
    path = write_raw_table(tmp_path_factory.mktemp("raw"))
    table = Table(name="raw", path=str(path), label="label", columns=COLUMNS, split="split")
    return table.load(), read_raw_rows(path, COLUMNS)


def check(each: GraphInput[Any], task: TaskData, rows: list[dict[str, Any]], name: str) -> None:
    """Check that a reader reads all rows as the run does."""
    how = json.loads(json.dumps({**each.describe(), "padding": each.padding}))
    read = import_module(f"mmx.export.readers.{each.reader}").read
    column = task.columns[name]
    there = [number for number, row in enumerate(rows) if row[name] is not None]
    assert there == np.flatnonzero(column.present).tolist()
    assert len(there) > 25
    for number in there:
        wanted, found = each.read(column, number), read(rows[number][name], how)
        if name == "audio":  # the graph rounds samples to 16 bits; a run stores them so
            found = np.rint(found * 32768) / 32768
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() <= 1 / 32768
            assert (found != wanted).mean() < 0.005  # float32 sums in another order
        else:
            assert np.array_equal(found, wanted, equal_nan=name == "vector")


@pytest.mark.parametrize(("name", "place"), CASES)
def test_reads_as_the_run(
    name: str, place: int, opened: tuple[TaskData, list[dict[str, Any]]]
) -> None:
    task, rows = opened
    modality = READ[name][place]
    spec = modality.fit(task.columns[name], task.splits["train"])
    check(make_input(name, modality, spec), task, rows, name)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SubWords:
    """Return a reader of sub-words of a tokenizer of a few words, which is beside the readers."""
    tokenizers = pytest.importorskip("tokenizers")
    known = ["[PAD]", "[UNK]", "[SEP]", "cat", "dog", "yes", "no", "the", "and", "##s", "3"]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({word: i for i, word in enumerate(known)}, unk_token="[UNK]")
    )
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    found = SubWords(tmp_path, max_tokens=5)
    for name, text in SubWordsInput(found, found.example()).files().items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("mmx.export.readers.sub_words.__file__", str(tmp_path / "readers" / "a.py"))
    return found


def test_reads_sub_words_as_the_run(
    words: SubWords, opened: tuple[TaskData, list[dict[str, Any]]]
) -> None:
    task, rows = opened
    check(make_input("text", words, words.example()), task, rows, "text")


@pytest.mark.parametrize("clean", CLEANED)
def test_cleans_texts_of_pairs_as_the_run(clean: str, words: SubWords) -> None:
    """Also a text of which nothing is left."""
    own = words.example()
    spec = ClipTextSpec(own.tokenizer, 5, own.vocabulary, clean=clean, stripped=4)
    pairs = ClipTexts(words.folder, max_tokens=5, clean=clean)
    texts = ["The  CAT, the dog!", "?!", " ", "dogs -- no \u00bfcat?\n"]
    each = make_input("text", pairs, spec)
    how = json.loads(json.dumps({**each.describe(), "padding": each.padding}))
    read = import_module("mmx.export.readers.sub_words").read
    for number, text in enumerate(texts):
        wanted = each.read(TextColumn(texts), number)
        assert read(text, how).tolist() == wanted.tolist()
        assert 0 < len(wanted) <= 5


def test_a_tokenizer_of_open_clip_is_refused_by_name() -> None:
    spec = ClipTextSpec("", 5, 49408)
    with pytest.raises(DataError, match="text: its texts are divided by the library"):
        make_input("text", ClipTexts(None, max_tokens=5, clean="lower"), spec)
