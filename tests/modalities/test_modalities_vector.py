from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities import spec_from_json, spec_to_json
from mmx.modalities.moments import Moments
from mmx.modalities.vector import Vector, VectorColumn, VectorSpec

VECTORS = np.array([[1.0, 7.0, 2.0], [3.0, 7.0, 4.0], [5.0, 7.0, np.nan], [100.0, 0.0, 6.0]])
TRAIN = [0, 1, 2]


def save(path: Path, array: object, **options: object) -> Path:
    np.save(path, array, **options)
    return path


def test_items_are_standardised_over_the_training_rows() -> None:
    spec = Vector().fit(VectorColumn(VECTORS), TRAIN)
    deviation = np.sqrt(8 / 3)
    assert spec == VectorSpec((3.0, 7.0, 3.0), (pytest.approx(deviation), 1.0, 1.0), flags=True)
    assert spec_from_json(spec_to_json(spec)) == spec
    stored = Vector().encode(VectorColumn(VECTORS), [3, 2], spec)
    expected = [[97 / deviation, -7.0, 3.0, 0, 0, 0], [2 / deviation, 0, 0, 0, 0, 1]]
    assert stored.values.dtype == torch.float32
    assert torch.allclose(stored.values, torch.tensor(expected, dtype=torch.float32))


def test_a_vector_without_missing_items_has_no_flags() -> None:
    spec = Vector().fit(VectorColumn(VECTORS), [0, 1])
    assert (spec.width, spec.flags) == (3, False)
    # Missing at test alone: the mean, since no weight has learned what a flag means.
    assert Vector().encode(VectorColumn(VECTORS), [2], spec).values[0, 2] == 0


def test_numbers_as_they_are() -> None:
    vector = Vector(standardize=False)
    spec = vector.fit(VectorColumn(VECTORS), [0, 1])
    assert spec == VectorSpec((0.0,) * 3, (1.0,) * 3)
    assert vector.encode(VectorColumn(VECTORS), [3], spec).values.tolist() == [[100, 0, 6]]


def test_files_bytes_and_arrays_read_alike(tmp_path: Path) -> None:
    rows = VECTORS[[0, 1, 3]]
    files = [save(tmp_path / f"{i}.npy", row) for i, row in enumerate(rows)]
    fortran = [save(tmp_path / f"big{i}.npy", row.astype(">f8")) for i, row in enumerate(rows)]
    columns = [
        VectorColumn(rows),
        VectorColumn(list(rows)),
        VectorColumn(files),
        VectorColumn(fortran),
        VectorColumn([file.read_bytes() for file in files]),
    ]
    specs = [Vector().fit(column, range(3)) for column in columns]
    assert len(set(specs)) == 1
    inputs = [Vector().encode(column, range(3), specs[0]).values for column in columns]
    assert all(torch.equal(each, inputs[0]) for each in inputs)
    assert len({tuple(column.digest(row) for row in range(3)) for column in columns}) == 1


def test_absent_rows() -> None:
    column = VectorColumn([np.array([1.0, 2.0]), None, np.array([np.nan, np.nan])])
    assert column.present.tolist() == [True, False, False]
    spec = VectorSpec((0.0, 0.0), (1.0, 1.0))
    assert Vector().encode(column, range(3), spec).values.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert column.digest(1) == b""
    with pytest.raises(DataError) as error:
        Vector().fit(column, [1, 2])
    check_error(error.value, "no training row")


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("/tmp/never").touch, ())


def broken(folder: Path) -> dict[str, tuple[Path, list[str]]]:
    whole = io.BytesIO()
    np.save(whole, np.arange(1000.0))
    cut = folder / "cut.npy"
    cut.write_bytes(whole.getvalue()[:-8])
    empty = folder / "empty.npy"
    empty.touch()
    text = folder / "text.npy"
    text.write_text("1 2 3")
    np.savez(folder / "several.npz", a=np.arange(3))
    objects = np.array([_Bomb()], dtype=object)
    plain = folder / "pickle.npy"
    plain.write_bytes(pickle.dumps([1, 2]))
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)}
    )
    (folder / "huge.npy").write_bytes(huge.getvalue())
    return {
        "cut": (cut, ["cut off"]),
        "empty": (empty, ["empty"]),
        "text": (text, ["no .npy file"]),
        "several": (folder / "several.npz", ["several arrays"]),
        "objects": (save(folder / "o.npy", objects, allow_pickle=True), ["Python objects"]),
        "pickle": (plain, ["no .npy file"]),
        "huge": (folder / "huge.npy", ["cut off"]),
        "words": (save(folder / "w.npy", np.array(["a", "b"])), ["<U1", "numbers"]),
        "complex": (save(folder / "c.npy", np.array([1j])), ["complex128"]),
        "infinite": (save(folder / "i.npy", np.array([0, np.inf, 1])), ["1 of 3", "at 2"]),
        "large": (save(folder / "l.npy", np.array([1e39])), ["too large"]),
        "matrix": (save(folder / "m.npy", np.zeros((2, 3))), ["2×3", "columns.sequence"]),
        "scalar": (save(folder / "s.npy", np.float64(1)), ["single number"]),
        "nothing": (save(folder / "n.npy", np.zeros(0)), ["no numbers"]),
        "absent": (folder / "absent.npy", ["No such file"]),
    }


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("name", [
    "cut", "empty", "text", "several", "objects", "pickle", "huge", "words", "complex",
    "infinite", "large", "matrix", "scalar", "nothing", "absent",
])  # fmt: skip
def test_a_broken_file_is_refused_by_name(name: str, as_bytes: bool, tmp_path: Path) -> None:
    path, said = broken(tmp_path)[name]
    if as_bytes and name == "absent":
        return
    column = VectorColumn([np.zeros(3), path.read_bytes() if as_bytes else path])
    with pytest.raises(DataError) as error:
        Vector().fit(VectorColumn(column.vectors[1:]), [0])
    names = [] if name == "nothing" else ["of" if as_bytes else str(path)]
    check_error(error.value, "row 1", *said, *names)
    assert not Path("/tmp/never").exists()


def test_all_rows_have_one_length(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        VectorColumn([np.zeros(3), None, np.zeros(2)])
    check_error(error.value, "row 3", "2 numbers", "row 1", "3")
    files = [save(tmp_path / "a.npy", np.zeros(3)), save(tmp_path / "b.npy", np.zeros(2))]
    with pytest.raises(DataError) as error:
        Vector().fit(VectorColumn(files), [0, 1])
    check_error(error.value, "row 2", "2 numbers", "row 1", "3")
    with pytest.raises(DataError) as error:
        Vector().encode(VectorColumn(files), [1], VectorSpec((0.0,) * 3, (1.0,) * 3))
    check_error(error.value, "row 2", "2 numbers", "3")


def test_notes_of_constant_and_missing_items() -> None:
    column, vector = VectorColumn(VECTORS), Vector()
    notes = vector.remarks(column, TRAIN, vector.fit(column, TRAIN))
    check_notes(notes, ["vector", "1 of 3", "same"], ["vector", "1 of 9", "missing"])
    assert vector.remarks(column, [0, 3], vector.fit(column, [0, 3])) == ()


def test_a_target_keeps_its_sources_statistics_where_lengths_agree() -> None:
    spec = Vector().fit(VectorColumn(VECTORS), TRAIN)
    assert Vector().inherits(VectorColumn(np.ones((2, 3))), spec)
    assert not Vector().inherits(VectorColumn(np.ones((2, 4))), spec)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    draw = np.random.default_rng(0)
    numbers = draw.normal(1e6, 3.0, (500, 4))
    numbers[draw.random((500, 4)) < 0.2] = np.nan
    numbers[:, 3] = 0.1
    moments = Moments(4)
    for start in range(0, 500, 37):
        moments.add(numbers[start : start + 37])
    assert np.allclose(moments.means(), np.nanmean(numbers, 0), rtol=1e-12)
    assert np.allclose(moments.stds()[:3], np.nanstd(numbers, 0)[:3], rtol=1e-9)
    assert moments.stds()[3] == 1.0
