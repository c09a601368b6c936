"""Every variant's YAML says what its class takes, no more and no less."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf
from pydantic import ConfigDict, TypeAdapter

CONFIGS = Path(__file__).parent.parent / "configs"
FOLDERS = (
    "balance",
    "calibration",
    "encoder",
    "fusion",
    "mapping",
    "metric",
    "missing",
    "objective",
    "regularizer",
    "sharing",
)
FILES = sorted(
    path
    for folder in FOLDERS
    for path in (CONFIGS / folder).rglob("*.yaml")
    if path.stem not in ("none", "auto")
)
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
PACKAGES = {"regularizer": "transfer.regularizers", "metric": "metrics"}
GIVEN = {"spec", "widths", "shapes", "outputs"}  # by the program, not by a config


def nodes(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the file's own node, and the vectoriser that a text encoder brings."""
    node: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    vectorizer = node.pop("vectorizer", None)
    yield node
    if vectorizer is not None:
        yield vectorizer


def locate(target: str) -> Any:
    module, name = target.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


@EACH
def test_opens_with_what_help_prints(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert re.match(r"# \S", first), "the first line is a comment that says what it is"
    assert 11 <= len(first.removeprefix("# ")) <= 71, "characters of the comment, which help prints"


@EACH
def test_is_named_like_its_class(path: Path) -> None:
    target = next(nodes(path))["_target_"]
    group = path.relative_to(CONFIGS).parts[0]
    assert target.startswith(f"mmx.{PACKAGES.get(group, group)}")
    assert target.rsplit(".", 1)[1].lower() == path.stem.replace("_", "")


@EACH
def test_states_every_option_and_its_default(path: Path) -> None:
    ignores_order = getattr(locate(next(nodes(path))["_target_"]), "ignores_order", False)
    for node in nodes(path):
        cls = locate(node.pop("_target_"))
        options = {
            name: option.default
            for name, option in inspect.signature(cls).parameters.items()
            if name not in GIVEN
        }
        stated = {
            name: options.get(name) if value in ("${download}", "???") else value
            for name, value in node.items()
        }
        lists = {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}
        if "pairs" in lists:  # several files share the class of a vectoriser
            lists["pairs"] = ignores_order
        assert stated == lists


@EACH
def test_values_are_of_the_annotated_types(path: Path) -> None:
    for node in nodes(path):
        cls = locate(node.pop("_target_"))
        # Fields that a dataclass inherits have their annotations where they are defined.
        stated = cls if dataclasses.is_dataclass(cls) else cls.__init__
        hints = get_type_hints(stated, include_extras=True)
        for name, value in node.items():
            if value not in ("${download}", "???"):
                accepts = ConfigDict(strict=True, arbitrary_types_allowed=True)
                strict = TypeAdapter(hints[name], config=accepts)
                found = strict.validate_python(value)
                assert (list(found) if isinstance(found, tuple) else found) == value
