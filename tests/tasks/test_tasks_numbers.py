"""Numbers as labels: float64 until they are standardised, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.tasks.base import TaskData
from mmx.tasks.label_texts import note_lists, refuse_numbers, tidy_names
from mmx.tasks.labels import measure_moments, note_rounding, parse_numbers
from mmx.tasks.table import Table


def of(*cells: str | None) -> np.ndarray:
    return parse_numbers(cells, "y")[0]


@pytest.mark.parametrize("first", [1_700_000_000, 1_700_000_000_000])
def test_seconds_and_milliseconds_keep_every_digit(tmp_path, first):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{i},{first + i}\n" for i in range(40)))
    task = Table(name="t", path=str(path), label="y", kind="regression", columns={"tabular": "x"})
    data = task.load()
    assert data.values.dtype == torch.float64
    assert data.values.tolist() == [float(first + i) for i in range(40)]
    own = data.values[data.splits["train"]].numpy() - first
    assert data.target.mean - first == pytest.approx(own.mean(), abs=1e-3)
    assert data.target.std == pytest.approx(own.std(), rel=1e-9)
    seen = data.target.standardize(data.values)
    assert seen.dtype == torch.float32
    wanted = (np.arange(40) - own.mean()) / own.std()
    assert seen.tolist() == pytest.approx(wanted.tolist(), abs=1e-4)
    assert len(set(seen.tolist())) == 40
    assert data.target.restore(seen[:, None]).tolist() == pytest.approx(
        data.values.tolist(), abs=1e-3
    )


def test_two_tables_that_differ_by_a_second_have_two_fingerprints(tmp_path):
    found = set()
    for last in (0, 1):
        path = tmp_path / f"{last}.csv"
        labels = [1_700_000_000 + i for i in range(40)]
        labels[-1] += last
        path.write_text("x,y\n" + "".join(f"{i},{y}\n" for i, y in enumerate(labels)))
        task = Table(
            name="t", path=str(path), label="y", kind="regression", columns={"tabular": "x"}
        )
        found.add(task.load().fingerprint)
    assert len(found) == 2


def test_whole_numbers_beyond_what_64_bits_tell_apart():
    first = 1_700_000_000_123_456_789
    with pytest.raises(DataError) as error:
        of(*(str(first + i) for i in range(50)))
    label, rounded = f"'{first}'", int(float(first))
    check_error(error.value, "row 1", "label 'y'", label, "64 bits", rounded)
    day = 86_400_000_000_000  # nanoseconds: rounding moves far less
    assert of(str(first), str(first + day)).tolist() == [float(first), float(first + day)]
    assert of("9007199254740994", "9007199254740996").tolist() == [2.0**53 + 2, 2.0**53 + 4]
    with pytest.raises(DataError) as error:
        of("9007199254740992", "9007199254740993", "9007199254740994")
    check_error(error.value, "row 2", "label 'y'", "'9007199254740993'")


def test_whole_numbers_that_are_rounded_harmlessly_are_said_to_be():
    cells = [str(1_700_000_000_123_456_789 + i * 86_400_000_000_000) for i in range(4)]
    cells += [None, "5"]
    (note,) = note_rounding(cells, of(*cells))
    most = max(abs(int(cell) - int(float(cell))) for cell in cells if cell)
    check_notes([note], ["4 of 6 labels", "64 bits", most])
    assert list(note_rounding(["9007199254740994", "1e300"], of("9007199254740994", "1e300"))) == []


def test_one_label_for_all_is_not_too_close_to_itself():
    assert of("0.1", "0.10", None).tolist() == [0.1, 0.1, 0.0]
    assert of(None).tolist() == [0.0]


def test_decimals_are_read_to_the_last_bit():
    assert of("0.1", None, "-1e-30", "1.7976e308").tolist() == [0.1, 0.0, -1e-30, 1.7976e308]
    with pytest.raises(DataError) as error:
        of("1000000000000.00000", "1000000000000.00001")
    check_error(error.value, "row 2", "label 'y'", "'1000000000000.00001'")
    for cell in ("nan", "inf", "1e309", "ten"):
        with pytest.raises(DataError) as error:
            of("1", cell)
        types = ["target.kind=classes objective=cross_entropy"]
        check_error(error.value, "row 2", "label 'y'", f"'{cell}'", "finite", types=types)


def moments_of(*values: float, more: tuple[float, ...] = ()) -> tuple[float, float]:
    every = np.array([*values, *more])
    return measure_moments(every, np.arange(len(values)), np.arange(len(every)), "t")


def test_mean_and_deviation_of_any_scale():
    for scale in (1e-30, 1e-130, 1.0, 1e30, 1e130):
        mean, std = moments_of(1 * scale, 2 * scale, 3 * scale, 4 * scale)
        assert mean == pytest.approx(2.5 * scale)
        assert std == pytest.approx(1.25**0.5 * scale)
    assert moments_of(1.0, 2.0, more=(1e9,)) == (1.5, 0.5)


def test_one_number_for_all_rows_has_a_deviation_of_one():
    """The mean of three times 0.1 is not 0.1, so that their deviation is not quite 0."""
    assert np.full(3, 0.1).std() != 0
    assert moments_of(0.1, 0.1, 0.1) == (0.1, 1.0)
    assert moments_of(5.0) == (5.0, 1.0)


@pytest.mark.parametrize(
    ("values", "more", "says"),
    [
        ((1e300, 2e300), (), ["training rows", "2e+300", "64 bits"]),
        ((-1e300, 0.0), (), ["training rows", "-1e+300", "64 bits"]),
        ((1e-200, 2e-200), (), ["training rows", "1e-200"]),
        ((1.0, 2.0), (1e30,), ["row 3", "1e+30", "training rows"]),
        ((1.0, 2.0), (-1e308,), ["row 3", "-1e+308", "training rows"]),
    ],
)
def test_numbers_that_cannot_be_squared_are_refused(values, more, says):
    with pytest.raises(DataError) as error:
        moments_of(*values, more=more)
    check_error(error.value, "t", *says)


def test_a_number_of_its_own_in_each_row_is_no_class() -> None:
    with pytest.raises(DataError) as error:
        refuse_numbers("y", [str(100 * row) for row in range(21)])
    said = "label 'y' holds 21 different numbers, such as 0; each would be a class of its own"
    assert error.value.message == said
    assert error.value.tip is not None
    assert error.value.tip.startswith("target.kind=regression objective=mean_squared_error")
    refuse_numbers("y", [str(row) for row in range(20)])  # few enough to be grades
    refuse_numbers("y", [*(str(row) for row in range(21)), "0"])  # one class has two rows


@pytest.mark.parametrize(
    ("texts", "example", "types"),
    [
        (['["a"]', '["a", "b"]', "[]", None], '["a", "b"]', "target.kind=multilabel"),
        (["a", "a|b", "b"], "a|b", "target.kind=multilabel 'target.label_separator=\"|\"'"),
        (["x", "x; y", "y", "z"], "x; y", "target.kind=multilabel 'target.label_separator=\";\"'"),
        (["a", "a|b"], None, None),  # b is no label of its own
        (["a", "[b]"], None, None),
        (["a|", "a"], None, None),
        (["New York", "York"], None, None),
    ],
)
def test_labels_that_seem_to_be_several_are_noted(
    texts: list[str | None], example: str | None, types: str | None
) -> None:
    expected = (
        f"{example!r} in 'y' is one class, though it looks like several labels; {types} reads "
        "them one by one"
    )
    assert list(note_lists("y", texts)) == ([] if example is None else [expected])
    names, notes = tidy_names("y", texts)
    assert names == texts
    assert [note for note in notes if "several labels" in note] == list(note_lists("y", texts))


def test_classes_that_other_programs_write_for_nothing_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,y\n" + "one,a\ntwo,?\nthree,b\nfour,N/A\nfive,None\n" * 10)

    def load(**options: Any) -> TaskData:
        task = Table(name="t", path=str(path), label="y", columns={"text": "t"}, **options)
        return task.load()

    found = load()
    assert found.target.classes == ("?", "N/A", "None", "a", "b")
    (note,) = [note for note in found.notes if "stand for no label" in note]
    assert note.startswith("20 of 50 labels in 'y' are '?' or 'N/A', and count as a class; ")
    assert """target.missing=["",NA,"NaN","nan","null","?",N/A]""" in note
    assert "target.unlabelled=drop" in note
    again = load(missing=["", "NA", "NaN", "nan", "null", "?", "N/A"], unlabelled="drop")
    assert again.target.classes == ("None", "a", "b")
    assert not [note for note in again.notes if "stand for no label" in note]


def test_an_empty_cell_among_several_labels_says_how_none_is_written(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,y\n" + "one,a|b\ntwo,\n" * 10)
    with pytest.raises(DataError) as error:
        Table(name="t", path=str(path), label="y", columns={"text": "t"}, kind="multilabel").load()
    assert error.value.tip is not None
    assert error.value.tip.endswith("; write [] for a row without labels")
