import json

import pytest
from refusals import check_error

from mmx.config import compose
from mmx.errors import DataError
from mmx.tasks.label_sets import read_sets

MISSING = frozenset({""})


def sets(cells, separator="|"):
    return read_sets("y", cells, MISSING, separator)


@pytest.mark.parametrize(
    "separator",
    [",", ";", ", ", "/", " / ", "&", "\t", "\n", "、", "，", "；", " > ", "~", "#", "\\"],
)
def test_the_separator_is_found_and_said(separator):
    cells = ["sea", "sky", f"sea{separator}sky", "none", None]
    plain = separator.strip(" ")
    assert sets(cells) == (
        [["sea"], ["sky"], ["sea", "sky"], ["none"], None],
        (f"labels in 'y' are separated by {plain!r}, since no cell has '|'",),
    )


def test_the_separator_that_was_given_counts_where_it_is_found():
    assert sets(["a|b,c", "b,c", "a"]) == ([["a", "b,c"], ["b,c"], ["a"]], ())
    assert sets(["a;b|c", "b|c"], ";") == ([["a", "b|c"], ["b|c"]], ())


def test_two_separators_in_one_column_are_said():
    assert sets(["sea|sky", "sea;sun", "sky", "sun"]) == (
        [["sea", "sky"], ["sea;sun"], ["sky"], ["sun"]],
        (
            "labels in 'y' are separated by '|', but 1 of them have ';', such as 'sea;sun': "
            "are these several labels?",
        ),
    )


@pytest.mark.parametrize(
    "cells",
    [
        ["machine learning", "deep learning", "vision"],
        ["sea", "sky"],
        ["n/a", "sea"],
        ["Doe, John", "sea"],
        ["sci-fi", "drama", "rom-com", "n.a.", "a:b"],
    ],
)
def test_names_with_a_space_or_a_comma_stay_whole(cells):
    assert sets(cells) == ([[cell] for cell in cells], ())


@pytest.mark.parametrize(
    ("cells", "given", "found"),
    [
        (["sea,sky", "sea;sky", "sea", "sky"], "|", ","),  # two ways
        (["sea sky", "sea", "sky"], "|", " "),  # a space may be part of a name
        (["sea-sky", "sea", "sky"], "|", "-"),
        (["sea:sky", "sea", "sky"], "|", ":"),
        (["sea and sky", "sea", "sky"], "|", " and "),
        (["sea,sky", "sea", "sky"], ";", ","),  # another was typed
        (["Doe, John", "Roe, Jane"], "|", ","),
    ],
)
def test_the_separator_is_asked_for(cells, given, found):
    with pytest.raises(DataError) as error:
        sets(cells, given)
    types = [f"'target.label_separator=\"{found}\"'"]
    check_error(error.value, "'y'", repr(given), types=types)
    assert not any("since no cell" in note for note in sets(cells, found)[1])


def test_what_the_tip_says_can_be_typed():
    for separator in (",", ";", " ", "/", "-", ":", " and ", "#", "、"):
        with compose.composer():
            composed = compose.compose_job(
                [
                    "target=table", "target.path=a", "target.label=y", "target.columns={text: t}",
                    f'target.label_separator="{separator}"',
                ]
            )  # fmt: skip
        assert composed.config["target"]["label_separator"] == separator


def test_lists_in_every_format():
    expected = [["a", "b"], [], ["1"], None]
    for cells in (
        [["a", "b"], [], [1], None],
        ['["a", "b"]', "[]", "[1]", ""],
        [["a", "b"], [], ["1"], b""],
        ["['a', 'b']", "()", "{1}", None],
    ):
        found, notes = sets(cells)
        assert (found, notes) == (expected, ())
    with pytest.raises(DataError) as error:
        sets([json.dumps(["a"]), "b"])
    check_error(error.value, "row 2", "label 'y'", "'b'", "list")


@pytest.mark.parametrize(
    ("cell", "what"),
    [({"a": 1}, "an object"), ([["a"]], "a list"), ("\ud800", "half a surrogate pair")],
)
def test_labels_that_are_no_text_name_their_row(cell, what):
    with pytest.raises(DataError) as error:
        sets([None, cell])
    check_error(error.value, "row 2", "label 'y'", what)


def test_empty_bytes_are_a_missing_label():
    assert sets([b"a|b", b"", None]) == ([["a", "b"], None, None], ())


@pytest.mark.parametrize("third", ["sea sun", "sea sky sun"])
def test_labels_that_spaces_seem_to_separate_are_read_whole_and_said(third):
    # Half of the parts occur in other cells; were it all of them, the separator would be asked for.
    found, (note,) = sets(["sea", "sky", third])
    assert found == [["sea"], ["sky"], [third]]
    assert f"read whole, such as {third!r}" in note
    assert "target.label_separator" in note
