from __future__ import annotations

import pytest

from mmx.errors import UsageError
from mmx.runs.conditions import Condition, looks_like_condition, parse_condition


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=stl10", ("target", "=", "stl10")),
        ("accuracy>0.7", ("accuracy", ">", "0.7")),
        ("accuracy >= 0.7", ("accuracy", ">=", "0.7")),
        ("seed!=1", ("seed", "!=", "1")),
        ("encoder/image=resnet18", ("encoder.image", "=", "resnet18")),
        ("optimizer.lr<=1e-3", ("optimizer.lr", "<=", "1e-3")),
        ("error=", ("error", "=", "")),
        ("target.name=a=b", ("target.name", "=", "a=b")),
    ],
)
def test_a_condition_has_a_key_a_sign_and_a_value(text, expected):
    assert parse_condition(text) == Condition(*expected)
    assert looks_like_condition(text)


@pytest.mark.parametrize("text", ["outputs", "", "=3", ">", "a b=3", "../out puts"])
def test_other_words_are_no_conditions(text):
    assert not looks_like_condition(text)
    with pytest.raises(UsageError, match="neither a folder nor a condition"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("text", "found", "holds"),
    [
        ("a=1", 1, True),
        ("a=1", 1.0, True),
        ("a=1.0", 1, True),
        ("a=1", True, False),
        ("a=true", True, True),
        ("a=True", False, False),
        ("a=null", None, True),
        ("a=x", None, False),
        ("a=x,y", "y", True),
        ("a=x, y", "y", True),
        ("a=[1, 2]", "[1, 2]", True),
        ("a=2*-07*", "20261130-0712", True),
        ("a=X", "x", False),
        ("a!=x,y", "y", False),
        ("a!=x", None, True),
        ("a!=1", 2, True),
        ("a>1", 1, False),
        ("a>=1", 1, True),
        ("a<1", 0.5, True),
        ("a<=1", 1.5, False),
        ("a>1", None, False),
        ("a<1", None, False),
        ("a>0", True, False),
        ("a>2026", "20261130", True),
        ("a=nan", float("nan"), False),
        ("a>0.5", "nan", False),  # as facts keep it
        ("a<0.5", "-inf", True),
    ],
)
def test_what_holds(text, found, holds):
    assert parse_condition(text).holds(found) is holds


def test_a_number_is_compared_with_a_number():
    with pytest.raises(UsageError) as caught:
        parse_condition("accuracy>high").holds(0.7)
    assert caught.value.message == "accuracy>high: accuracy is a number, and 'high' is none"
    assert caught.value.tip == "accuracy>0.5"
