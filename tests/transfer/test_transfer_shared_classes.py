from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import check_error

from mmx.errors import TransferError
from mmx.transfer.shared_classes import (
    SYNONYMS,
    check_class_map,
    describe_classes,
    match_classes,
    name_classes,
)

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
STL10 = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]
TIP = "\n  tip: say which one is meant, such as 'transfer.class_map={%s}'"


def test_cifar10_and_stl10_share_nine_classes() -> None:
    rows = match_classes(CIFAR10, STL10, {})
    mapping = name_classes(rows, CIFAR10, STL10)
    assert mapping == {
        "airplane": "airplane",
        "bird": "bird",
        "car": "automobile",
        "cat": "cat",
        "deer": "deer",
        "dog": "dog",
        "horse": "horse",
        "ship": "ship",
        "truck": "truck",
    }
    assert rows == {STL10.index(new): CIFAR10.index(old) for new, old in mapping.items()}
    assert describe_classes(mapping, STL10) == (
        "9 of 10 classes shared by name (car=automobile); fresh: monkey"
    )
    back = match_classes(STL10, CIFAR10, {})
    assert back == {old: new for new, old in rows.items()}


@pytest.mark.parametrize(
    ("source", "target", "message", "pair"),
    [
        (
            ("Cat", "cat"),
            ("cat", "dog"),
            "several classes of the source read as 'cat': Cat, cat",
            ("Cat", "cat"),
        ),
        (
            ("cat",),
            ("ca-t", "c at"),
            "several classes of the target read as 'cat': ca-t, c at",
            ("cat", "ca-t"),
        ),
        (
            ("x", "X", "Straße", "strasse"),
            ("strasse",),
            "several classes of the source read as 'strasse': Straße, strasse",
            ("Straße", "strasse"),
        ),
        (
            ("couch",),
            ("sofa", "So Fa"),
            "several classes of the target read as 'couch': sofa, So Fa",
            ("couch", "sofa"),
        ),
        (
            ("tv", "television"),
            ("TV monitor",),
            "several classes of the source read as 'tv': tv, television",
            ("tv", "TV monitor"),
        ),
    ],
)
def test_ambiguous_names_are_refused(
    source: tuple[str, ...], target: tuple[str, ...], message: str, pair: tuple[str, str]
) -> None:
    with pytest.raises(TransferError) as caught:
        match_classes(source, target, {})
    assert str(caught.value) == message + TIP % ": ".join(pair)
    rows = match_classes(source, target, dict([pair]))  # what the tip says to type
    assert rows[target.index(pair[1])] == source.index(pair[0])


@pytest.mark.parametrize(
    ("source", "target", "class_map", "rows"),
    [
        (("a", "b"), ("b", "a"), {}, {0: 1, 1: 0}),
        (("a", "b"), ("B", "c"), {}, {0: 1}),
        (("lorry", "cat"), ("truck", "cat"), {"lorry": "truck"}, {0: 0, 1: 1}),
        (("Cat", "cat"), ("cat",), {"cat": "cat"}, {0: 1}),
        (("Cat", "cat"), ("cat",), {"Cat": "cat"}, {0: 0}),
        (("cat",), ("cat", "CAT"), {"cat": "CAT"}, {1: 0}),
        (("a", "b"), ("a", "b"), {"a": "b"}, {1: 0}),
        (("x", "X"), ("a",), {}, {}),  # what reads the same is no matter where nobody shares it
        (("automobile", "car"), ("car",), {}, {0: 1}),  # an equal name before a synonym
        (("car",), ("automobile", "Car"), {}, {1: 0}),
        (("automobile", "van"), ("car",), {"van": "car"}, {0: 1}),  # the map before either
        (("sofa", "couch"), ("chair",), {}, {}),
        ((), (), {}, {}),
        (("a",), (), {}, {}),
    ],
)
def test_classes_are_matched_by_name(
    source: tuple[str, ...],
    target: tuple[str, ...],
    class_map: dict[str, str],
    rows: dict[int, int],
) -> None:
    assert match_classes(source, target, class_map) == rows


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        (
            {"cow": "a"},
            "transfer.class_map names 'cow', no class of the source\n"
            "  tip: the source's classes are a, b",
        ),
        (
            {"a": "truk"},
            "transfer.class_map names 'truk', no class of the target; the closest is 'truck'\n"
            "  tip: the target's classes are a, truck",
        ),
        (
            {"a": "truck", "b": "truck"},
            "transfer.class_map gives 'truck' to several source classes\n"
            "  tip: name each target class once",
        ),
    ],
)
def test_a_class_map_must_make_sense(class_map: dict[str, str], message: str) -> None:
    for check in (
        lambda: check_class_map(class_map, ("a", "b"), ("a", "truck")),
        lambda: match_classes(("a", "b"), ("a", "truck"), class_map),
    ):
        with pytest.raises(TransferError) as caught:
            check()
        assert str(caught.value) == message


def test_a_class_map_of_a_task_without_classes() -> None:
    with pytest.raises(TransferError) as caught:
        check_class_map({"a": "b"}, (), ("b",))
    check_error(
        caught.value, "transfer.class_map", "a", "class", "source", types=("source", "classes")
    )


def test_long_mappings_are_cut_in_words() -> None:
    names = [str(number) for number in range(23)]
    same = {name: name for name in names}
    assert describe_classes(same, names) == "23 of 23 classes shared by name"
    assert describe_classes({name: f"no {name}" for name in names}, names) == (
        "23 of 23 classes shared by name ("
        + ", ".join(f"{name}=no {name}" for name in names[:20])
        + ", … (3 more))"
    )
    assert describe_classes({"0": "0"}, names).endswith(", 20, … (2 more)")


def test_a_name_has_one_meaning() -> None:
    flat = [name for names in SYNONYMS for name in names]
    assert len(flat) == len(set(flat))
    assert all(name == name.casefold().replace(" ", "") for name in flat)  # as they are compared


@given(st.sets(st.sampled_from("abcdefghij")), st.sets(st.sampled_from("abcdefghij")), st.randoms())
def test_shared_names_are_found_in_any_order(
    one: set[str], two: set[str], order: random.Random
) -> None:
    source, target = sorted(one), sorted(two)
    order.shuffle(source)
    order.shuffle(target)
    rows = match_classes(source, target, {})
    assert {target[i]: source[j] for i, j in rows.items()} == {name: name for name in one & two}
