"""Comments of YAML, read by the key that they explain."""

from __future__ import annotations

import pytest
from catalogue import FILES, read

from mmx.config.yaml_comments import read_comments

TEXT = """\
# the headline explains no key
a: "x # y"   # behind a text with its sign
b:           # behind a key with keys below
  c: [1, 2]  # of a list
             # that goes on below
  d: |       # of a block of text
    # not a comment
# above
# in two lines
e: 1
f: 2
"""


def test_comments():
    assert read_comments(TEXT) == {
        "a": "behind a text with its sign",
        "b": "behind a key with keys below",
        "b.c": "of a list that goes on below",
        "b.d": "of a block of text",
        "e": "above in two lines",
    }


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "3", "# only\n"])
def test_nothing_to_read(text):
    assert read_comments(text) == {}


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name != "experiment"], ids=str)
def test_every_key_of_an_option_has_a_comment(path):
    found = read_comments(path.read_text(encoding="utf-8"))

    def list_silent(node, prefix=""):
        for key, value in node.items():
            if key == "_target_":
                continue
            if f"{prefix}{key}" not in found:
                yield f"{prefix}{key}"
            if isinstance(value, dict) and "_target_" in value:
                yield from list_silent(value, f"{prefix}{key}.")

    assert list(list_silent(read(path))) == []
