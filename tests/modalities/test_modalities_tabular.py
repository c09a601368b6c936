import math

import pytest
import torch
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities.tabular import Tabular, TabularColumn, TabularSpec

CELLS = {
    "price": ["1", "3", None, 5.0, "1000"],
    "colour": ["red", "blue", "red", None, "green"],
    "size": ["7", "7", "7", None, "8"],
}
TRAIN = [0, 1, 2, 3]


def test_kinds_statistics_and_categories_are_those_of_the_training_rows():
    spec = Tabular().fit(TabularColumn(CELLS), TRAIN)
    assert spec == TabularSpec(
        numeric=("price", "size"),
        means=(3.0, 7.0),
        stds=(pytest.approx(math.sqrt(8 / 3)), 1.0),
        categorical=("colour",),
        categories=(("blue", "red"),),
    )
    assert spec.cardinalities == (3,)
    assert spec.width == 7


def test_a_poisoned_test_row_changes_nothing():
    poisoned = {name: [*cells[:4], "poison"] for name, cells in CELLS.items()}
    fit = Tabular().fit
    assert fit(TabularColumn(CELLS), TRAIN) == fit(TabularColumn(poisoned), TRAIN)


def test_layout_of_the_input():
    column, tabular = TabularColumn(CELLS), Tabular()
    spec = tabular.fit(column, TRAIN)
    stored = tabular.encode(column, [3, 4, 0], spec)
    deviation = math.sqrt(8 / 3)
    expected = [
        # price, missing, size, missing, blue, red, unknown
        [2 / deviation, 0, 0, 1, 0, 0, 1],
        [997 / deviation, 0, 1, 0, 0, 0, 1],
        [-2 / deviation, 0, 0, 0, 0, 1, 0],
    ]
    inputs = tabular.prepare(stored, spec)
    assert inputs.dtype == torch.float32
    assert torch.allclose(inputs, torch.tensor(expected))


def test_training_rows_have_mean_zero_and_deviation_one():
    column = TabularColumn({"x": [str(i * i) for i in range(50)]})
    tabular = Tabular()
    inputs = tabular.encode(column, range(40), tabular.fit(column, range(40))).values
    assert float(inputs[:, 0].mean()) == pytest.approx(0, abs=1e-6)
    assert float(inputs[:, 0].std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_a_row_without_any_cell_is_absent_and_zero():
    column = TabularColumn({"x": ["1", None, math.nan, ""], "y": ["a", None, None, ""]})
    assert column.present.tolist() == [True, False, False, False]
    tabular = Tabular()
    stored = tabular.encode(column, range(4), tabular.fit(column, range(4)))
    assert (stored.values[1:] == 0).all()


def test_forced_categories():
    column = TabularColumn(CELLS)
    spec = Tabular(categorical=("size",)).fit(column, TRAIN)
    assert spec.categorical == ("colour", "size")
    assert spec.categories == (("blue", "red"), ("7",))
    with pytest.raises(DataError) as error:
        Tabular(categorical=("sice",)).fit(column, TRAIN)
    check_error(error.value, "categorical", "sice", "price, colour, size", types=("size",))


def test_rare_categories_are_unknown():
    column = TabularColumn({"c": ["b", "b", "a", "c", "c"]})
    tabular = Tabular(max_categories=2)
    spec = tabular.fit(column, range(5))
    assert spec.categories == (("b", "c"),)
    assert tabular.encode(column, [2], spec).values.tolist() == [[0, 0, 1]]


def test_a_column_that_is_empty_in_training_never_fails():
    column = TabularColumn({"x": ["1", "2", "3"], "e": [None, None, "word"]})
    tabular = Tabular()
    spec = tabular.fit(column, [0, 1])
    assert spec.categorical == ("e",)
    assert tabular.encode(column, [2], spec).values[0, 2:].tolist() == [1]


def test_a_word_among_numbers_names_row_and_column():
    column, tabular = TabularColumn({"price": ["1", "2", "three"]}), Tabular()
    spec = tabular.fit(column, [0, 1])
    with pytest.raises(DataError) as error:
        tabular.encode(column, [2], spec)
    typed = ["target.tabular.categorical=[price]"]
    check_error(error.value, "row 3", "'price'", "'three'", "training rows", types=typed)


@pytest.mark.parametrize("cell", ["0.1", "2.7"])
def test_a_constant_column_is_only_centred_whatever_rounds(cell):
    column = TabularColumn({"x": [cell] * 7 + ["5"]})  # the mean of seven 0.1 is not 0.1
    spec = Tabular().fit(column, range(7))
    assert (spec.means, spec.stds) == ((float(cell),), (1.0,))
    found = Tabular().encode(column, [0, 7], spec).values[:, 0]
    assert found.tolist() == pytest.approx([0, 5 - float(cell)])


def test_inherits_only_the_same_names_and_kinds():
    tabular = Tabular()
    spec = tabular.fit(TabularColumn({"x": ["1"], "c": ["a"]}), [0])
    assert tabular.inherits(TabularColumn({"c": ["b"], "x": ["2"]}), spec)
    assert not tabular.inherits(TabularColumn({"x": ["2"]}), spec)
    assert not tabular.inherits(TabularColumn({"x": ["word"], "c": ["a"]}), spec)
    assert not tabular.inherits(TabularColumn({"x": ["1"], "c": ["1"]}), spec)
    assert not Tabular(categorical=("z",)).inherits(TabularColumn({"x": ["1"]}), spec)


def test_digest_is_names_and_cells():
    assert TabularColumn({"x": ["1"]}).digest(0) != TabularColumn({"y": ["1"]}).digest(0)
    assert TabularColumn({"x": ["1"]}).digest(0) == TabularColumn({"x": ["1"]}).digest(0)


def test_a_column_of_numbers_that_a_few_words_have_made_categorical_is_remarked():
    cells = {"price": ["1", "n/a", "2", "4", "?", None], "code": ["1", "2", "x", "y", "?", "z"]}
    column, rows = TabularColumn(cells), [0, 1, 2, 3, 5]
    typed = """'target.missing=["",NA,"NaN","nan","null",n/a]' counts such cells as missing"""
    for modality, expected in (
        (
            Tabular(),
            [("tabular", "'price'", "as words", "1 of 4 cells", "'n/a'", typed)],
        ),
        (Tabular(categorical=("price",)), []),
    ):
        spec = modality.fit(column, rows)
        assert spec.categorical == ("price", "code")
        check_notes(modality.remarks(column, rows, spec), *expected)
    assert Tabular().remarks(column, [0, 2], Tabular().fit(column, [0, 2])) == ()
