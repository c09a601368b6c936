"""Every example in a docstring runs, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path.relative_to(ROOT) for path in (ROOT / "mmx").rglob("*.py") if ">>> " in path.read_text()
)


def test_there_are_examples() -> None:
    assert len(FILES) >= 2


@pytest.mark.parametrize("path", FILES, ids=str)
def test_runs(path: Path) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0
