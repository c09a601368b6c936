"""Pickled features: what is read, by value, and that nothing of a pickle is run."""

from __future__ import annotations

import copyreg
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmx.errors import DataError, UnreadableFileError
from mmx.runs.directory import RunDirectory
from mmx.tasks.pickled_sequences import PickledSequences
from mmx.tasks.plain_pickle import read_pickle

SIZES = {"train": 12, "valid": 4, "test": 6}
STEPS, WIDTHS = 5, {"text": 3, "audio": 2, "vision": 4}


def make_multibench(seed: int = 0) -> dict[str, Any]:
    """Return a file in MultiBench's layout: padding of zeros before the first step."""
    random, found = np.random.default_rng(seed), {}
    for split, rows in SIZES.items():
        part: dict[str, Any] = {
            name: random.normal(1, 1, (rows, STEPS, width)) for name, width in WIDTHS.items()
        }
        for name in WIDTHS:
            part[name][0, :2] = 0
        part["labels"] = random.uniform(-3, 3, (rows, 1, 1))
        part["id"] = np.array([[f"clip{row}", "0.0", "1.5"] for row in range(rows)])
        found[split] = part
    return found


def make_mmsa(seed: int = 0) -> dict[str, Any]:
    """Return a file in MMSA's layout: lengths, texts, labels of both kinds."""
    found = make_multibench(seed)
    for part in found.values():
        rows = len(part.pop("labels"))
        part["audio_lengths"] = [1 + row % STEPS for row in range(rows)]
        part["raw_text"] = np.array([f"word{row % 3} said" for row in range(rows)], dtype=object)
        part["text_bert"] = np.zeros((rows, 3, STEPS))
        part["regression_labels"] = np.linspace(-1, 1, rows).astype(np.float32)
        part["classification_labels"] = np.arange(rows) % 3
        part["annotations"] = [("Negative", "Neutral", "Positive")[row % 3] for row in range(rows)]
    return found


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def dump(content: Any, protocol: int = 4) -> Path:
        path = tmp_path / "data.pkl"
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        return path

    return dump


def task(path: Path, **options: Any) -> PickledSequences:
    return PickledSequences(name="mosi", path=str(path), **options)


def test_keys_that_name_no_split_are_noted(write: Callable[..., Path]) -> None:
    given = make_multibench()
    assert not any("not read" in note for note in task(write(given)).load().notes)
    data = task(write({**given, "train_extra": given["train"], "vocab": {"a": 1}})).load()
    (note,) = [note for note in data.notes if "not read" in note]
    assert "train_extra, vocab" in note
    assert len(data.splits["train"]) == SIZES["train"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_is_read_by_value(write: Callable[..., Path], protocol: int) -> None:
    given = {
        "c": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
        "empty": np.empty((0, 4)),
        "flags": np.array([True, False]),
        "text": np.array(["a", "bc", "äö"]),
        "bytes": np.array([b"a", b"bc"]),
        "scalar": np.float64(1.5),
        "whole": np.int64(-7),
        "list": [1, 2.5, None, "word", b"\xff", True, 2**80],
        "ordered": OrderedDict(a=[1]),
        "empty_bytes": b"",
    }
    found = read_pickle(write(given, protocol))
    assert list(found) == list(given)
    for key, value in given.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[key], value)
            assert found[key].shape == value.shape
            assert found[key].dtype == value.dtype
        else:
            assert found[key] == value
    objects = np.array([["a", 1], [np.arange(2), None]], dtype=object)
    read = read_pickle(write([objects], protocol))[0]
    assert read.shape == (2, 2)
    assert read[0].tolist() == ["a", 1]
    np.testing.assert_array_equal(read[1, 0], [0, 1])


class Evil:
    def __init__(self, call: Any, *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> Any:
        return self.call, self.given


class Plain:
    """An object that does nothing."""


def _names(module: str, name: str, rest: bytes) -> bytes:
    """Return a pickle of protocol 0 that puts a name on its stack, and goes on."""
    return f"c{module}\n{name}\n".encode() + rest


EVIL = {
    "a command": (lambda mark: pickle.dumps(Evil(os.system, f"touch {mark}")), "system"),
    "code": (lambda mark: pickle.dumps(Evil(eval, f"open({str(mark)!r}, 'w')")), "builtins.eval"),
    "within an array": (
        lambda mark: pickle.dumps(np.array([Evil(os.system, f"touch {mark}")], dtype=object)),
        "system",
    ),
    "as a key": (lambda mark: pickle.dumps({Evil(os.mkdir, str(mark)): 1}), "mkdir"),
    "a path in numpy": (lambda mark: _names("numpy", "core.os.system", b"."), "core.os.system"),
    "a file of numpy's": (lambda mark: _names("numpy", "load", b"."), "numpy.load"),
    "a class": (lambda mark: pickle.dumps(Path(mark)), "Path"),
    "an instance": (lambda mark: pickle.dumps(Plain()), "Plain"),
    "a name alone": (lambda mark: _names("numpy", "dtype", b"."), "bare name"),
    "another state of a name": (
        lambda mark: _names("numpy", "dtype", b"N}S'_make'\nI1\ns\x86b."),
        "changes what it names",
    ),
    "state in a dict of a name": (
        lambda mark: _names("numpy", "ndarray", b"}S'x'\nI1\nsb."),
        "changes what it names",
    ),
    "an object kept elsewhere": (lambda mark: b"Pelsewhere\n.", "not in the file"),
    "a set": (lambda mark: pickle.dumps({1, 2}, 4), "a set"),
    "a complex array": (lambda mark: pickle.dumps(np.zeros(2, complex)), "'c16'"),
    "fields": (lambda mark: pickle.dumps(np.zeros(2, [("a", "i4")])), "'V4'"),
    "bytes made to measure": (lambda mark: _names("builtins", "bytes", b"(I9999999\ntR."), "bytes"),
    "nothing": (lambda mark: b"", "no pickle"),
    "its half": (lambda mark: pickle.dumps([1.5] * 99)[:-200], "no pickle"),
}


@pytest.mark.parametrize("name", EVIL)
def test_nothing_of_a_pickle_is_run(write: Callable[..., Path], tmp_path: Path, name: str) -> None:
    make, said = EVIL[name]
    mark = tmp_path / "mark"
    path = write(make(mark))
    with pytest.raises(UnreadableFileError) as refused:
        read_pickle(path)
    assert said in str(refused.value)
    assert not mark.exists()


def test_damaged_arrays_and_endless_lists_are_refused(write: Callable[..., Path]) -> None:
    whole = pickle.dumps(np.arange(4, dtype="<i4"), 2)
    huge = whole.replace(b"K\x04\x85", b"\x8a\x05\x00\x00\x00\x00\x01\x85")
    assert huge != whole
    endless: list[Any] = []
    endless.append(endless)
    billions: list[Any] = ["x"]
    for _ in range(31):
        billions = [billions] * 10  # 10³¹ texts, were each read anew
    for content in (huge, pickle.dumps(endless)):
        with pytest.raises(UnreadableFileError):
            read_pickle(write(content))
    assert len(read_pickle(write(billions))) == 10


def test_no_extension_leads_to_a_name(write: Callable[..., Path], tmp_path: Path) -> None:
    copyreg.add_extension("posix", "system", 240)
    try:
        with pytest.raises(UnreadableFileError, match=r"posix\.system"):
            read_pickle(write(b"\x80\x02\x82\xf0."))
    finally:
        copyreg.remove_extension("posix", "system", 240)


@pytest.mark.parametrize("protocol", [2, 4])
def test_multibench_by_value(write: Callable[..., Path], protocol: int) -> None:
    given = make_multibench()
    data = task(write(given, protocol)).load()
    assert list(data.columns) == ["sequence_text", "sequence_audio", "sequence_vision"]
    assert {split: len(rows) for split, rows in data.splits.items()} == {
        "train": 12,
        "val": 4,
        "test": 6,
    }
    for name in WIDTHS:
        column: Any = data.columns[f"sequence_{name}"]
        np.testing.assert_array_equal(column.read(1), given["train"][name][1])
        # Zeros before the first step are padding; those of the test split are found too.
        np.testing.assert_array_equal(column.read(0), given["train"][name][0, 2:])
        np.testing.assert_array_equal(column.read(17), given["test"][name][1])
        assert column.shape(16) == (3, WIDTHS[name])
    labels = np.concatenate([given[split]["labels"].ravel() for split in SIZES])
    np.testing.assert_array_equal(data.values.numpy(), labels)
    assert any("3 of 22 rows begin or end with steps of zeros" in note for note in data.notes)
    assert data.columns["sequence_text"].name_row(12) == "row 1 of val"


def test_mmsa_by_value(write: Callable[..., Path]) -> None:
    given = make_mmsa()
    columns = {"sequence": {"audio": "audio", "face": "vision"}, "text": "raw_text"}
    data = task(write(given), columns=columns, kind="classes").load()
    assert list(data.columns) == ["sequence_audio", "sequence_face", "text"]
    audio: Any = data.columns["sequence_audio"]
    assert [audio.shape(row)[0] for row in range(12)] == [1 + row % STEPS for row in range(12)]
    np.testing.assert_array_equal(audio.read(2), given["train"]["audio"][2, :3])
    text: Any = data.columns["text"]
    assert text.texts[4] == "word1 said"
    assert data.target.classes == ("Negative", "Neutral", "Positive")
    assert data.values[:12].tolist() == [row % 3 for row in range(12)]
    numbers = task(write(given)).load()
    np.testing.assert_allclose(numbers.values[:12], np.linspace(-1, 1, 12), rtol=1e-6)


def test_texts_of_bytes_and_rows_without_a_text(write: Callable[..., Path]) -> None:
    given = make_mmsa()
    given["train"]["raw_text"] = [None, " ", b"caf\xc3\xa9", *["said"] * 9]
    for part in given.values():
        part["mood"] = np.array([[b"sad", b"gay"][row % 2] for row in range(len(part["text"]))])
    columns = {"sequence": {"audio": "audio"}, "text": "raw_text"}
    data = task(write(given), columns=columns, kind="classes", label="mood").load()
    text: Any = data.columns["text"]
    assert text.present[:4].tolist() == [False, False, True, True]
    assert text.texts[2] == "café"
    assert data.target.classes == ("gay", "sad")


def test_rows_of_zeros_lack_the_input(write: Callable[..., Path]) -> None:
    given = make_multibench()
    given["train"]["audio"][3] = 0
    data = task(write(given)).load()
    assert not data.columns["sequence_audio"].present[3]
    assert data.columns["sequence_text"].present[3]


def change(split: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def of(given: dict[str, Any]) -> None:
        given[split][key] = value(given[split][key]) if callable(value) else value

    return of


def _set_infinite(array: Any) -> Any:
    array[2, 1, 0] = -np.inf
    return array


@pytest.mark.parametrize(
    ("mend", "options", "said"),
    [
        (change("train", "audio", _set_infinite), {}, ["row 3 of train", "not_finite=zero"]),
        (change("train", "audio_lengths", [9] * 12), {}, ["row 1 of train", "says 9", "5 steps"]),
        (change("train", "audio_lengths", [1.5]), {}, ["audio_lengths of train"]),
        (change("test", "vision", lambda a: a[:-1]), {}, ["test has another number", "vision 5"]),
        (change("train", "text", lambda a: a[:, 0]), {}, ["is 3", "vector: {text: text}"]),
        (lambda g: g["valid"].pop("audio"), {}, ["val of", "no 'audio'", "raw_text"]),
        (lambda g: None, {"columns": {"sequence": "text_bert"}}, ["BERT", "raw_text"]),
        (
            lambda g: None,
            {"columns": {"text": "text"}},
            ["row 1 of train", "array of 5×3", "columns.text=raw_text"],
        ),
        (
            lambda g: g.update(dev=g["valid"]),
            {},
            ["valid and dev", "both the val split"],
        ),
        (
            change("test", "classification_labels", [np.inf] * 6),
            {"kind": "classes"},
            ["row 1 of test", "no class"],
        ),
        (
            lambda g: None,
            {"columns": {"sequence": "vison"}},
            ["no 'vison'", "columns.sequence=vision"],
        ),
        (
            lambda g: None,
            {"kind": "classes", "label": "regression_labels"},
            ["no class", "regression"],
        ),
        (lambda g: None, {"label": "annotations"}, ["'Negative'", "kind=classes"]),
        (
            lambda g: g.pop("train") and g.pop("test") and g.pop("valid"),
            {},
            ["expected the splits"],
        ),
    ],
)
def test_what_cannot_be_read_is_said(
    write: Callable[..., Path],
    mend: Callable[[dict[str, Any]], object],
    options: dict[str, Any],
    said: list[str],
) -> None:
    given = make_mmsa()
    mend(given)
    with pytest.raises(DataError) as refused:
        task(write(given), **options).load()
    assert all(part in str(refused.value) for part in said), str(refused.value)


def test_infinite_features_are_zero_where_asked(write: Callable[..., Path]) -> None:
    given = make_multibench()
    _set_infinite(given["train"]["audio"])
    data = task(write(given), not_finite="zero").load()
    column: Any = data.columns["sequence_audio"]
    assert column.read(2)[1, 0] == 0
    assert any("1 numbers of audio in 1 rows" in note for note in data.notes)


def test_trains_in_one_line(
    write: Callable[..., Path], once: Callable[[list[str]], RunDirectory]
) -> None:
    run = once(
        [
            "source=none",
            "target=pickled_sequences",
            f"target.path={write(make_multibench())}",
            "objective=mean_squared_error",
            "encoder.sequence.width=8",
            "trainer.epochs=1",
            "control=none",
        ]
    )
    assert sorted(run.config()["encoder"]) == [
        "sequence_audio",
        "sequence_text",
        "sequence_vision",
    ]
    assert "mae" in run.summary()["target"]["metrics"]["test"]
