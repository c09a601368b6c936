"""Tables of the documentation name what there is: options of the configs, keys of a summary."""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catalogue
import pytest
from pydantic import BaseModel

from mmx.runs.summary import FINISHED, Summary

DOCS = Path(__file__).parents[2] / "docs"
OPTIONS_PAGE, SUMMARY_PAGE = "guides/parts.md", "reference/run_directory.md"
NOT_SHOWN = {"run", "format"}
"""Keys of a summary that name itself."""


def table(page: str, first: str) -> list[tuple[str, str]]:
    """Return the rows of the page's table of two columns that starts with a header."""
    lines = iter((DOCS / page).read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith(f"| {first} |"):
            break
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    cells = [re.split(r" \| ", line.strip("| "), maxsplit=1) for line in rows]
    return [(cell[0], cell[1]) for cell in cells[1:]]  # without the rule


OPTIONS = [
    (group, text)
    for key, text in table(OPTIONS_PAGE, "choose")
    for group in re.findall(r"`([\w/]+)=`", key)
]


def test_every_group_but_experiments_has_a_row() -> None:
    assert {group for group, _ in OPTIONS} == set(catalogue.GROUPS) - {"experiment"}


@pytest.mark.parametrize(("group", "text"), OPTIONS, ids=[group for group, _ in OPTIONS])
def test_the_options_that_are_named_are_there(group: str, text: str) -> None:
    named = set(re.findall(r"`(\w+)`", text))
    assert named
    assert named <= set(catalogue.options(group))


@pytest.mark.parametrize(
    ("words", "group"),
    [("fusions", "fusion"), ("transfer modes", "transfer"), ("regularisers", "regularizer")],
)
def test_the_readme_counts_no_more_parts_than_there_are(words: str, group: str) -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    counts = {int(count) for count in re.findall(rf"(\d+) {words}", readme)}
    assert len(counts) == 1
    there = len(set(catalogue.options(group)) - {"none"})
    assert there - 5 < counts.pop() <= there


def expanded(key: str) -> list[str]:
    """Return ``a.b`` and ``a.c`` for ``a.{b,c}``."""
    parts = [part.split(",") for part in re.split(r"[{}]", key)]
    return ["".join(each) for each in itertools.product(*parts)]


def documented() -> Iterator[str]:
    """Yield every key of the table, in full where a row leaves out what its first key says."""
    for cell, _ in table(SUMMARY_PAGE, "key"):
        keys = re.findall(r"`([^`]+)`", cell)
        for key in keys:
            parent = keys[0].rpartition(".")[0]
            short = key.split(".")[0] not in Summary.model_fields
            yield from expanded(f"{parent}.{key}" if short else key)


def is_key(key: str) -> bool:
    """Return whether a summary may have a dotted key."""
    kind: Any = Summary
    for name in key.split("."):
        union = [each for each in typing.get_args(kind) if each is not type(None)]
        if typing.get_origin(kind) is not dict and len(union) == 1:
            kind = union[0]  # X | None
        if typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            if name not in kind.model_fields:
                return False
            kind = kind.model_fields[name].annotation
        else:
            return kind in (Any, object) or "Json" in str(kind)
    return True


def test_keys_of_a_summary_are_told_from_others() -> None:
    assert is_key("target.metrics.test.accuracy")
    assert is_key("gain.value")
    assert not is_key("target.metrix")
    assert not is_key("gain.valve")


@pytest.mark.parametrize("key", list(documented()))
def test_a_summary_has_the_key(key: str) -> None:
    assert is_key(key)


def test_every_key_of_a_summary_is_told() -> None:
    told = {key.split(".")[0] for key in documented()}
    assert told == Summary.model_fields.keys() - NOT_SHOWN


def test_every_number_of_a_finished_run_is_told() -> None:
    words = set(
        re.findall(r"\w+", " ".join(f"{key} {text}" for key, text in table(SUMMARY_PAGE, "key")))
    )
    assert {key.rpartition(".")[2] for key in FINISHED} <= words
