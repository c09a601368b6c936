"""YAML is what PyYAML's own emitter writes, to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmx.yaml_text import dump_yaml

ROOT = Path(__file__).parents[1]
PLAIN = st.text(alphabet="ab c:#-'\"[]{}&*!|>%@`,?=~\\/.01 eE+_", max_size=200)
TEXTS = PLAIN | st.text(max_size=120) | st.sampled_from(["", "null", "yes", "1e3", "😀", "\u2028"])
LEAVES = TEXTS | st.integers() | st.floats() | st.booleans() | st.none()


def nest(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)


DATA = nest(st.recursive(LEAVES, nest, max_leaves=8))


@given(data=DATA, allow_unicode=st.booleans())
def test_any_data(data: object, allow_unicode: bool) -> None:
    expected = yaml.safe_dump(data, sort_keys=False, allow_unicode=allow_unicode)
    assert dump_yaml(data, allow_unicode=allow_unicode) == expected


@pytest.mark.parametrize("folder", ["configs", "tests/runs/kept"])
def test_the_files_of_mmx(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.yaml"))
    assert len(paths) > 5
    for path in paths:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        expected = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        assert dump_yaml(data) == expected, path
        assert dump_yaml(data, sort_keys=True, allow_unicode=False) == yaml.safe_dump(data), path


def test_a_text_that_is_shared_by_two_keys_has_an_anchor_in_both() -> None:
    shared = ["a", "b"]
    assert dump_yaml({"x": shared, "y": shared}) == yaml.safe_dump({"x": shared, "y": shared})
