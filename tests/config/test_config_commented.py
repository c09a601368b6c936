"""What ``--cfg job`` prints: every key with its meaning, and still the same config."""

from __future__ import annotations

import pytest
import yaml

from mmx.config import compose
from mmx.config.commented import add_comments, collect_comments
from mmx.config.override_problems import check_overrides
from mmx.config.yaml_comments import read_comments
from mmx.yaml_text import dump_yaml

GROUPS_OF_GROUPS = ("encoder", "trainer")
LINES = [[], ["target=table"], ["experiment=fashion"], ["encoder/image_front=small_cnn", "seed=3"]]


@pytest.mark.parametrize("overrides", LINES, ids=str)
def test_a_composed_config(overrides):
    with compose.composer():
        composed, _ = check_overrides(compose.parse(overrides), overrides)
    text = dump_yaml(composed.unresolved)
    shown = add_comments(text, collect_comments(composed))
    assert yaml.safe_load(shown) == composed.unresolved
    said = read_comments(shown)

    def list_silent(node, prefix=""):
        for key, value in node.items():
            if key != "_target_" and f"{prefix}{key}" not in said:
                yield f"{prefix}{key}"
            if isinstance(value, dict) and "_target_" in value:
                yield from list_silent(value, f"{prefix}{key}.")

    assert [key for key in list_silent(composed.unresolved) if key not in GROUPS_OF_GROUPS] == []
    for modality, node in composed.unresolved["encoder"].items():
        assert f"encoder.{modality}" in said
        assert list(list_silent(node, f"encoder.{modality}.")) == []
    assert [key for key in said if key.startswith("trainer.")] == [
        f"trainer.{key}" for key in composed.unresolved["trainer"]
    ]


COMMENTS = {"a": "of a", "b": "of b", "b.c": "of c", "l": "of l", "long": "x", "block": "y"}


def test_what_stands_where():
    text = "a: 1\nb:\n  c: 'x # y'\nl:\n- 1\n- 2\n"
    assert add_comments(text, COMMENTS) == (
        "a: 1  # of a\nb:    # of b\n  c: 'x # y'  # of c\nl:    # of l\n- 1\n- 2\n"
    )


def test_a_package():
    assert add_comments("# @package b\nc: 1\n", COMMENTS) == "# @package b\nc: 1  # of c\n"


@pytest.mark.parametrize("value", ["word " * 60, "two\nlines\n", "a\n\nb", "- x", "#", ""])
def test_texts_of_several_lines(value):
    data = {"long": value, "block": [value], "a": {"b": value}}
    text = yaml.safe_dump(data, sort_keys=False, width=40)
    assert yaml.safe_load(add_comments(text, COMMENTS)) == data
    blocks = "block: |\n  one\n  # two\na: 1\n"
    assert yaml.safe_load(add_comments(blocks, COMMENTS)) == yaml.safe_load(blocks)


def test_a_comment_is_one_line():
    assert add_comments("a: 1\n", {"a": "x\nb: 2"}) == "a: 1  # x\\nb: 2\n"
