from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities import spec_from_json, spec_to_json
from mmx.modalities.sequence import SequenceColumn, Sequences, SequenceSpec

ROWS = [
    np.array([[1.0, 5.0], [3.0, 5.0]]),
    np.array([[5.0, 5.0]]),
    np.array([[7.0, 5.0], [9.0, 5.0], [100.0, 0.0]]),
]
TRAIN = [0, 1]
DEVIATION = float(np.sqrt(8 / 3))


def save(path: Path, array: object) -> Path:
    np.save(path, array)
    return path


def test_features_are_standardised_over_the_steps_of_the_training_rows() -> None:
    spec = Sequences().fit(SequenceColumn(ROWS), TRAIN)
    assert spec == SequenceSpec((3.0, 5.0), (pytest.approx(DEVIATION), 1.0), longest=2)
    assert spec_from_json(spec_to_json(spec)) == spec
    stored = Sequences().encode(SequenceColumn(ROWS), [1, 0], spec)
    assert stored.lengths is not None
    assert stored.lengths.tolist() == [1, 2]
    expected = [[[2 / DEVIATION, 0], [0, 0]], [[-2 / DEVIATION, 0], [0, 0]]]
    assert torch.allclose(stored.values, torch.tensor(expected))


def test_a_batch_is_as_long_as_its_longest_row_and_no_row_is_cut() -> None:
    spec = Sequences().fit(SequenceColumn(ROWS), TRAIN)  # the longest training row has 2 steps
    assert Sequences().encode(SequenceColumn(ROWS), [2], spec).values.shape == (1, 3, 2)
    assert Sequences().encode(SequenceColumn(ROWS), [1], spec).values.shape == (1, 1, 2)


def test_rows_are_cut_only_where_asked_and_with_a_note() -> None:
    column, short = SequenceColumn(ROWS), Sequences(max_steps=1)
    spec = short.fit(column, range(3))
    assert (spec.means[0], spec.max_steps) == (pytest.approx(13 / 3), 1)  # of the steps that stay
    stored = short.encode(column, range(3), spec)
    assert stored.values.shape == (3, 1, 2)
    notes = short.remarks(column, range(3), spec)
    check_notes(notes, ["sequence", "2 of 3", "max_steps=1", "3 steps"])
    assert Sequences().remarks(column, range(3), Sequences().fit(column, range(3))) == ()


def test_files_bytes_and_arrays_read_alike(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{i}.npy", np.asfortranarray(row)) for i, row in enumerate(ROWS)]
    columns = [
        SequenceColumn(ROWS),
        SequenceColumn(files),
        SequenceColumn([file.read_bytes() for file in files]),
    ]
    specs = [Sequences().fit(column, range(3)) for column in columns]
    assert len(set(specs)) == 1
    inputs = [Sequences().encode(column, range(3), specs[0]).values for column in columns]
    assert all(torch.equal(each, inputs[0]) for each in inputs)
    assert len({tuple(column.digest(row) for row in range(3)) for column in columns}) == 1
    assert Sequences().estimate_lengths(columns[1], [2, 0]).tolist() == [3, 2]


def test_absent_and_empty_rows() -> None:
    column = SequenceColumn([np.zeros((0, 1)), None, np.array([4.0, 6.0])])
    assert column.present.tolist() == [True, False, True]
    spec = Sequences().fit(column, range(3))
    assert spec == SequenceSpec((5.0,), (1.0,), longest=2)
    stored = Sequences().encode(column, range(3), spec)
    assert stored.lengths is not None
    assert stored.lengths.tolist() == [1, 0, 2]  # an empty row is one step, an absent one none
    assert stored.values[:, :, 0].tolist() == [[0, 0], [0, 0], [-1, 1]]


def test_an_empty_list_has_as_many_features_as_the_other_rows() -> None:
    empty = np.array([])
    column = SequenceColumn([empty, None, np.array([[4.0, 1.0], [6.0, 3.0]]), empty])
    spec = Sequences().fit(column, [0, 2])
    assert spec == SequenceSpec((5.0, 2.0), (1.0, 1.0), longest=2)
    stored = Sequences().encode(column, range(4), spec)
    assert stored.lengths is not None
    assert stored.lengths.tolist() == [1, 0, 2, 1]
    assert stored.values[0].tolist() == [[0, 0], [0, 0]]
    assert stored.values[2].tolist() == [[-1, -1], [1, 1]]
    alone = Sequences().encode(SequenceColumn([empty]), [0], spec)  # one row to predict
    assert alone.values.tolist() == [[[0, 0]]]


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[1.0, 2.0], [np.nan, 1.0], [1.0, np.nan]]), ["2 of 3 steps", "NaN", "step 2"]),
        (np.array([[1.0, 2.0], [1.0, -np.inf]]), ["infinite", "(2, 2)"]),
        (np.zeros((2, 3, 4)), ["2×3×4", "steps × features"]),
        (np.zeros((2, 0)), ["2×0"]),
        (np.float64(3), ["single number"]),
    ],
)
def test_what_is_no_sequence_is_refused_by_row(
    array: np.ndarray, said: list[str], as_file: bool, tmp_path: Path
) -> None:
    one = save(tmp_path / "x.npy", array) if as_file else np.asarray(array)
    column = SequenceColumn([None, one])
    with pytest.raises(DataError) as error:
        Sequences().fit(column, [0, 1])
    check_error(error.value, "row 2", *said, *([str(one)] if as_file else []))


def test_other_features_are_refused_by_row() -> None:
    column = SequenceColumn([ROWS[0], ROWS[1].T])
    with pytest.raises(DataError) as error:
        Sequences().fit(column, [0, 1])
    check_error(error.value, "row 2", "1 features", "row 1", "2")
    with pytest.raises(DataError) as error:
        Sequences().encode(column, [1], Sequences().fit(column, [0]))
    check_error(error.value, "row 2", "1 features", "2")


def test_a_target_keeps_its_sources_statistics_where_features_agree() -> None:
    spec = Sequences().fit(SequenceColumn(ROWS), TRAIN)
    assert Sequences().inherits(SequenceColumn(ROWS[2:]), spec)
    assert not Sequences(max_steps=2).inherits(SequenceColumn(ROWS), spec)
    assert not Sequences().inherits(SequenceColumn([np.zeros((2, 3))]), spec)
