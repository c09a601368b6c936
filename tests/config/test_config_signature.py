"""Values against signatures: conversion, and what each annotation is called in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from refusals import Refusal, check_refusals

from mmx.config import signature
from mmx.config.annotations import describe_hint, list_classes
from mmx.config.signature import check_values
from mmx.encoders import Encoder
from mmx.modalities import Modality
from mmx.modalities.image import Image
from mmx.quoting import format_value


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an integer"),
        (float | None, "a number or null"),
        (bool, "true or false"),
        (str, "text"),
        (Annotated[int, Field(ge=1)], "an integer ≥ 1"),
        (Annotated[float, Field(gt=0, le=0.5)], "a number > 0 and ≤ 0.5"),
        (Literal["a", "b"], "one of a, b"),
        (Literal[".", ","], 'one of ".", ","'),
        (Literal["auto"] | bool, "auto or true or false"),
        (list[str], "a list of texts"),
        (tuple[float, float], "a list of numbers"),
        (list[Annotated[float, Field(gt=0)]], "a list of numbers > 0"),
        (dict[str, str], "a mapping {key: value}"),
        (Image, "an Image (a node with _target_)"),
        (Any, "a value"),
    ],
)
def test_words(hint, words):
    assert describe_hint(hint) == words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (0.1, "0.1"),
        (1e-05, "1e-05"),
        (3.0, "3"),
        ("a b", "a b"),
        ([1, None], "[1,null]"),
        ({"a": [True]}, "{a: [true]}"),
    ],
)
def test_values_are_shown_as_typed(value, shown):
    assert format_value(value) == shown


@pytest.mark.parametrize(
    ("hint", "found"),
    [
        (Image, (Image,)),
        (Image | None, (Image,)),
        (Modality[Any, Any] | None, (Modality,)),
        (Annotated[Encoder, Field()], (Encoder,)),
        (dict[str, Any], ()),
        (list[Image], ()),
        (Literal["a"] | int, ()),
        (Any, (object,)),
        (None, ()),
    ],
)
def test_classes_that_a_hint_accepts(hint, found):
    assert list_classes(hint) == found


def options(
    *,
    count: int = 1,
    rate: float = 1.0,
    flag: bool = False,
    names: tuple[str, ...] = (),
    mode: Literal["a", "b"] | float = "a",
) -> None:
    """Take an option of each type."""


@pytest.mark.parametrize(
    "values",
    [
        {"count": True},
        {"count": 1.5},
        {"count": None},
        {"rate": False},
        {"rate": "fast"},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"mode": float("-inf")},
        {"flag": 1},
        {"flag": "yes"},
        {"names": "abc"},
        {"names": [True]},
        {"mode": True},
        {"mode": "c"},
    ],
)
def test_what_is_refused(values):
    converted, problems = check_values(options, values, "x")
    assert converted == {}
    (problem,) = problems
    ((name, value),) = values.items()
    assert problem.given == f"x.{name}={format_value(value)}"
    assert problem.reason.startswith("expected ")


def test_infinity_is_said_to_be_no_number():
    (problem,) = check_values(options, {"rate": float("inf")}, "optimizer")[1]
    check_refusals(
        [problem], [Refusal("optimizer.rate=inf", ("finite",), type_this="optimizer.rate=1")]
    )


@pytest.mark.parametrize(
    ("given", "converted"),
    [
        ({"count": 3}, {"count": 3}),
        ({"rate": 3}, {"rate": 3.0}),
        ({"flag": True}, {"flag": True}),
        ({"names": ["a"]}, {"names": ("a",)}),
        ({"names": [3]}, {"names": ("3",)}),
        ({"mode": "b"}, {"mode": "b"}),
        ({"mode": 2}, {"mode": 2.0}),
    ],
)
def test_what_is_taken(given, converted):
    assert check_values(options, given, "x") == (converted, [])


def test_a_key_that_is_no_text():
    _, (problem,) = check_values(options, {1: 2}, "")
    check_refusals(
        [problem], [Refusal("1=2", ("no code reads",), accepted="count, rate, flag, names, mode")]
    )


def test_what_the_assembly_supplies_is_closed_to_configs():
    _, (problem,) = check_values(options, {"count": 2}, "x", supplied=["count"])
    assert problem.reason == "no code reads this key"


def test_an_option_s_validator_is_made_once_for_each_target(monkeypatch):
    made: list[Any] = []
    real = signature._make_adapter
    monkeypatch.setattr(signature, "_make_adapter", lambda hint: made.append(hint) or real(hint))

    def wide(*, width: int = 1) -> None: ...

    def named(*, width: str = "a") -> None: ...

    for value in (2, 3):
        assert check_values(wide, {"width": value}, "") == ({"width": value}, [])
        assert check_values(named, {"width": value}, "") == ({"width": str(value)}, [])
    assert made == [int, str]
    _, problems = check_values(wide, {"width": "many"}, "")
    assert [problem.given for problem in problems] == ["width=many"]
