"""Every regulariser's YAML says what its class takes, no more and no less."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_type_hints

import catalogue
import pytest
from omegaconf import OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from mmx.contract.discovery import find_classes
from mmx.transfer.regularizers import Regularizer

CONFIGS = Path(__file__).parents[2] / "configs" / "regularizer"
FILES = sorted(path for path in CONFIGS.glob("*.yaml") if path.stem != "none")
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)

LITERATURE = {
    "l2_sp": {"alpha": 0.01, "beta": 0.01},
    "delta": {"strength": 0.01},
    "bss": {"strength": 1e-3, "k": 1},
    "distill": {"temperature": 3.0},
    "rkd": {"distance": 25.0, "angle": 50.0},
    "lwf": {"strength": 1.0, "temperature": 2.0},
    "co_tuning": {"strength": 2.3},
    "bi_tuning": {"strength": 1.0, "temperature": 0.07},
    "stochnorm": {"probability": 0.5},
}


def test_every_class_has_its_file():
    named = [catalogue.class_of(path) for path in FILES]
    assert sorted(named, key=lambda kind: kind.__name__) == find_classes("regularizer")
    assert OmegaConf.load(CONFIGS / "none.yaml") == {}


@EACH
def test_builds_what_it_is_named_after(path, regularizer):
    made = regularizer(path.stem)
    kind = type(made)
    node = OmegaConf.to_container(OmegaConf.load(path))
    camel = "".join(part.capitalize() for part in path.stem.split("_"))
    assert node.pop("_target_") == f"mmx.transfer.regularizers.{path.stem}.{camel}"
    assert isinstance(made, Regularizer)
    options = inspect.signature(kind).parameters
    assert node == {name: option.default for name, option in options.items()}
    assert node.items() >= LITERATURE.get(path.stem, {}).items()
    for name, value in node.items():  # nothing is read from elsewhere
        assert getattr(made, name) == value


@EACH
def test_values_are_of_the_annotated_types_and_within_bounds(path):
    node = OmegaConf.to_container(OmegaConf.load(path))
    node.pop("_target_")
    hints = get_type_hints(catalogue.class_of(path).__init__, include_extras=True)
    for name, value in node.items():
        adapter = TypeAdapter(hints[name], config=ConfigDict(strict=True))
        assert adapter.validate_python(value) == value
        for bad in (-1, "1", float("nan")):
            with pytest.raises(ValidationError):
                adapter.validate_python(bad)


@EACH
def test_opens_with_what_help_prints(path):
    assert re.fullmatch(r"# \S.{10,70}", path.read_text().splitlines()[0])
