"""Libraries that only some encoders need are named by an extra that installs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmx.encoders.extras import import_extra
from mmx.errors import DataError

ROOT = Path(__file__).parents[2]
CALL = re.compile(r"import_extra\(\s*\"([\w.]+)\",\s*\"(\w+)\"\s*\)")


def find_calls() -> list[tuple[str, str]]:
    """Return (module, extra) of every call in mmx."""
    texts = (path.read_text(encoding="utf-8") for path in sorted((ROOT / "mmx").rglob("*.py")))
    return sorted({found for text in texts for found in CALL.findall(text)})


def test_every_extra_that_is_advised_exists() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    calls = find_calls()
    assert len(calls) > 5
    assert {extra for _, extra in calls} <= extras


def test_an_absent_library_is_named_with_its_extra() -> None:
    with pytest.raises(DataError, match="needs nowhere_to_be_found, which is not installed") as got:
        import_extra("nowhere_to_be_found.part", "timm")
    assert got.value.tip == "pip install 'mmx[timm]'"
