"""A message shows of a value what one can read: somebody else's may have a million letters."""

from __future__ import annotations

import pytest

from mmx.errors import ConfigError, Problem, RunError, closest
from mmx.printable import LINE, VALUE, one_line, shorten


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [("", 3, ""), ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("a" * 201, VALUE, "a" * 199 + "…")],
)
def test_a_long_text_is_cut(text: str, most: int, shown: str) -> None:
    assert shorten(text, most) == shown


def test_a_problem_shows_the_beginning_of_what_was_given() -> None:
    value = "x" * 1_000_000
    problem = Problem(f"target.path={value}", "is odd", type_this=f"target.path={value}/y")
    said = str(ConfigError([problem]))
    assert said == f"1 problem in the config\ntarget.path={'x' * (VALUE - 13)}…: is odd"
    assert problem.given == f"target.path={value}"  # whole, for whoever handles it


def test_a_tip_is_whole_or_left_out() -> None:
    assert "type:     k=" + "x" * 1000 in str(Problem("k", "why", type_this="k=" + "x" * 1000))
    assert "type:" not in str(Problem("k", "why", type_this="k=" + "x" * 1_000_000))


def test_each_line_of_a_message_is_cut_by_itself() -> None:
    error = RunError("a" * 1_000_000 + "\nb", tip="mmx list")
    assert str(error) == "a" * (LINE - 1) + "…\nb\n  tip: mmx list"


def test_one_line_is_cut_too() -> None:
    assert one_line("a\n" * 1_000_000, 4) == "a\\na…"


@pytest.mark.parametrize(
    ("word", "accepted", "near"),
    [
        ("none", ["wine", "digits"], None),  # half of the letters of a short word
        ("params", ["rm", "train"], None),
        ("form", ["rm"], None),
        ("rmm", ["rm"], "rm"),
        ("ls", ["list", "rm"], "list"),
        ("wien", ["digits", "wine"], "wine"),
        ("gmv", ["gated", "gmu"], "gmu"),
        ("hier", ["concat", "hierarchical"], "hierarchical"),
        ("form", ["rm", "platform"], "platform"),  # the nearest may be too short, not the next
        ("x", [], None),
    ],
)
def test_closest(word: str, accepted: list[str], near: str | None) -> None:
    assert closest(word, accepted) == near


def test_a_stricter_cutoff() -> None:
    assert closest("param", ["compare"]) == "compare"
    assert closest("param", ["compare"], cutoff=0.6) is None
