"""The table of docs/reference/sets.md is made of the tasks' own facts."""

from __future__ import annotations

from pathlib import Path

import catalogue
import pytest

from mmx.tasks.base import Task
from mmx.tasks.torchvision import SETS

TEXT = (Path(__file__).parents[2] / "docs/reference/sets.md").read_text(encoding="utf-8")
TASKS = catalogue.classes("task")
PUBLIC = {name: kind for name, kind in TASKS.items() if kind.facts is not None}


def make(name: str) -> Task:
    needed = {"data_dir": "data"} if "data_dir" in catalogue.keys("task", name) else {}
    return TASKS[name](name=name, **needed)


def write_row(name: str) -> str:
    """Return the row of the table that the facts of a task make."""
    facts = PUBLIC[name].facts
    cells = [
        f"`{name}`",
        ", ".join(make(name).modalities),
        facts.describe_rows(),
        str(facts.classes),
        facts.size,
        facts.licence,
        facts.source,
    ]
    return f"| {' | '.join(cells)} |"


def test_the_table_has_every_public_set_and_no_other() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    assert rows == [write_row(name) for name in PUBLIC]


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_set_that_is_fetched_has_a_size_and_others_none(name: str) -> None:
    facts = PUBLIC[name].facts
    assert (facts.megabytes > 0) == hasattr(make(name), "data_dir")
    assert sum(facts.rows.values()) > facts.classes > 1


def test_the_sets_of_torchvision_are_listed() -> None:
    paragraph = TEXT.partition("`target=torchvision`")[2]
    assert [name for name in SETS if f"`{name.lower()}`" not in paragraph] == []
