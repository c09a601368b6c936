"""What is advised to be typed reads back, by a shell and by Hydra, as the value that was meant."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from mmx.quoting import quote_value, type_override

TEXTS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=12
) | st.sampled_from(
    [
        "null",
        "true",
        "nan",
        "007",
        "1_000",
        "1e5",
        "a b",
        " a",
        "a,b",
        "{a}",
        "[",
        "'",
        '"',
        "\\",
        "a\\",
        'it\'s "so"',
        "größe",
        "C:\\x y",
        "${seed}",
        "a=b",
        "(1)",
        "#",
        "~",
    ]
)
KEYS = st.text("abcXYZ_0 ,:()=[]\\-", min_size=1, max_size=6).filter(
    lambda key: key.strip() == key and re.search("[A-Z_a-z]", key) is not None
)
PLAIN = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | TEXTS
VALUES = PLAIN | st.lists(PLAIN, max_size=3) | st.floats(allow_nan=False, allow_infinity=False)


@given(VALUES)
def test_a_value_reads_back(value: Any) -> None:
    words = shlex.split(type_override("target.label", value))
    assert words == [f"target.label={quote_value(value)}"]
    assert OverridesParser.create().parse_override(words[0]).value() == value


@given(st.dictionaries(KEYS, PLAIN, min_size=1, max_size=3))
def test_a_mapping_reads_back(value: dict[str, Any]) -> None:
    read = OverridesParser.create().parse_override(f"a={quote_value(value)}").value()
    assert {str(key): item for key, item in read.items()} == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("shoe size", "'target.label=shoe size'"),
        ("größe", "'target.label=\"größe\"'"),
        (["a", "b"], "target.label=[a,b]"),
        (["a", "b c"], "'target.label=[a,b c]'"),
        ("3", "'target.label=\"3\"'"),
        (3, "target.label=3"),
        ({"image": "photo"}, "'target.label={image: photo}'"),
        (None, "target.label=null"),
    ],
)
def test_no_more_quotes_than_are_needed(value: Any, text: str) -> None:
    assert type_override("target.label", value) == text


@pytest.mark.parametrize("value", ["a b", "$HOME", "`id`", "!x", "{a,b}", "*", "it's", "a\\b"])
def test_a_real_shell_passes_it_on(value: str) -> None:
    typed = type_override("target.label", value)
    said = subprocess.run(["sh", "-c", f"printf %s {typed}"], capture_output=True, text=True)
    assert said.stdout == f"target.label={quote_value(value)}"
