import json
import os
import socket
from pathlib import Path

import pytest
import yaml

from mmx.errors import MmxError, UnreadableFileError
from mmx.untrusted import (
    check_yaml,
    parse_json,
    parse_yaml,
    read_bytes,
    read_json,
    read_text,
    read_yaml,
)


def levels(first: str, each: str, count: int = 10) -> str:
    """Return YAML in which every line stands for ten of the line before it."""
    lines = [f"a0: &a0 {first}"]
    for level in range(1, count):
        before = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {each.format(before)}")
    return "\n".join(lines) + "\n"


YAML = {
    "aliases in lists": (levels("[1, 1]", "[{}]"), "holds more than 100,000 values"),
    "aliases in mappings": (levels("{x: 1}", "{{y: [{}]}}"), "holds more than 100,000 values"),
    "merged keys": (levels("{x: 1}", "{{<<: [{}]}}"), "holds more than 100,000 values"),
    "many values": ("- x\n" * 100_001, "holds more than 100,000 values"),
    "lists in lists": ("[" * 50_000, "nests mappings and lists more than 64 deep"),
    "mappings in mappings": ("{a: " * 50_000, "nests mappings and lists more than 64 deep"),
    "dashes": ("- " * 50_000, "nests mappings and lists more than 64 deep"),
    "itself": ("a: &x [*x]", "holds a value that contains itself: *x"),
    "nobody": ("a: *x", "is not YAML (*x stands for nothing)"),
    "base 60": ("a: 1" + ":1" * 300_000, "holds a number of 600,001 characters"),
    "long number": ("a: " + "9" * 5_000, "holds a number of 5,000 characters"),
    "large number": ("a: 0x1" + "0" * 16, "holds an integer of 65 bits"),
    "python": ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "date": ("a: 2020-01-01", "holds a value of type date, which is not plain data"),
    "bytes": ("a: !!binary aGk=", "holds binary data, which is not plain data"),
    "set": ("a: !!set {x: null}", "holds a set, which is not plain data"),
    "a key that is a list": ("? [a]\n: b", "is not YAML (line 1"),
    "two documents": ("a: 1\n---\nb: 2", "is not YAML (line 2"),
    "unfinished": ("a: [1,", "is not YAML (line"),
    "nothing": ("", "holds nothing, where a mapping is expected"),
    "a list": ("[1]", "holds a list, where a mapping is expected"),
    "text": ("hello", "holds text, where a mapping is expected"),
    "a zero byte": ('a: "\\0"', "holds a NUL character"),
    "half a character": ('a: "\\ud800"', "is not YAML (line 1"),
}
JSON = {
    "lists in lists": ("[" * 100_000, "nests mappings and lists more than 64 deep"),
    "mappings in mappings": ('{"a":' * 100_000, "nests mappings and lists more than 64 deep"),
    "65 levels": ('{"a":' * 65 + "1" + "}" * 65, "nests mappings and lists more than 64 deep"),
    "long number": ('{"a": ' + "9" * 5_000 + "}", "is not JSON (Exceeds the limit"),
    "large number": ('{"a": 18446744073709551616}', "holds an integer of 65 bits"),
    "half a character": ('{"a": "\\ud800"}', "holds half a character, U+D800"),
    "half a key": ('{"\\udfff": 1}', "holds half a character, U+DFFF"),
    "a zero byte": ('{"a": "x\\u0000y"}', "holds a NUL character"),
    "unfinished": ('{"a": 1', "is not JSON (line 1"),
    "nothing": ("", "is not JSON (line 1"),
    "a list": ("[1]", "holds a list, where a mapping is expected"),
    "null": ("null", "holds nothing, where a mapping is expected"),
}


def refused(call, *arguments, **options) -> str:
    with pytest.raises(UnreadableFileError) as caught:
        call(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 250 + len(caught.value.path)
    assert text == f"{caught.value.path} {caught.value.reason}"
    return text


@pytest.mark.parametrize("name", YAML)
def test_yaml_beyond_the_bounds_is_refused(name, tmp_path):
    text, said = YAML[name]
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    assert said in refused(read_yaml, tmp_path / "config.yaml", dict)


@pytest.mark.parametrize("name", JSON)
def test_json_beyond_the_bounds_is_refused(name, tmp_path):
    text, said = JSON[name]
    (tmp_path / "summary.json").write_text(text, encoding="utf-8")
    assert said in refused(read_json, tmp_path / "summary.json", dict)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": [1, 2.5, None, True, "ü", {"b": []}], "c": "=1+1"},
        {"seed": 2**64 - 1, "least": -(2**63), "long": "x" * 100_000, "date": "2020-01-01"},
    ],
)
def test_plain_data_comes_back_as_it_was_written(value, tmp_path):
    path = tmp_path / "file"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert read_json(path, dict) == value
    path.write_text(yaml.safe_dump(value, allow_unicode=True), encoding="utf-8")
    assert read_yaml(path, dict) == value


def test_an_alias_counts_as_all_that_it_stands_for():
    text = "a: &a [1, 2]\nb: [*a, *a]\n"  # 1 mapping, 2 keys, 3 + (1 + 3 + 3)
    check_yaml(text, "file", nodes=13)
    assert "more than 12 values" in refused(check_yaml, text, "file", nodes=12)
    assert parse_yaml(text, dict, "file") == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_depth_is_counted_alike_in_yaml_and_json():
    for depth in (1, 3):
        text = "[" * depth + "]" * depth
        for parse in (parse_json, parse_yaml):
            parse(text, list, "file", depth=depth)
            assert f"more than {depth - 1} deep" in refused(
                parse, text, list, "file", depth=depth - 1
            )


def test_json_keeps_numbers_that_are_not_finite():  # a diverged loss is written down as NaN
    found = parse_json('{"a": NaN, "b": -Infinity}', dict, "file")
    assert found["a"] != found["a"]
    assert found["b"] == float("-inf")


def test_a_text_that_begins_with_a_digit_may_be_long():
    note = "3 seeds " * 100
    assert parse_yaml(f"note: {note}", dict, "file") == {"note": note.strip()}


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(str(tmp_path / "socket"))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "piped").symlink_to("pipe")
    assert "is a pipe" in refused(read_bytes, tmp_path / "pipe")
    assert "is a pipe" in refused(read_bytes, tmp_path / "piped")
    assert "is a socket" in refused(read_bytes, tmp_path / "socket")
    assert "is a folder" in refused(read_bytes, tmp_path)
    assert "is a device" in refused(read_bytes, Path("/dev/zero"))
    assert "cannot be read" in refused(read_bytes, tmp_path / "loop")
    assert "cannot be read" in refused(read_bytes, tmp_path / "a\0b")
    assert "cannot be read" in refused(read_bytes, tmp_path / ("x" * 300))


def test_what_is_missing_says_so(tmp_path):
    with pytest.raises(UnreadableFileError, match="does not exist") as caught:
        read_text(tmp_path / "none")
    assert caught.value.missing
    assert caught.value.exit_code == 1
    assert isinstance(caught.value, MmxError)


def test_a_link_is_followed_only_where_it_may_be(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "x"
    assert "is a symbolic link" in refused(read_text, tmp_path / "link", follow_links=False)
    assert read_text(tmp_path / "file", follow_links=False) == "x"


def test_a_large_file_is_not_loaded(tmp_path):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no space
    assert "has more than 16,777,216 bytes" in refused(read_text, path)
    assert "has more than 1,048,576 bytes" in refused(read_yaml, path, dict)
    path.write_bytes(b"12345")
    assert read_bytes(path, limit=5) == b"12345"
    assert "has more than 4 bytes" in refused(read_bytes, path, limit=4)


def test_a_file_that_says_it_is_empty_is_read_no_further_than_the_limit():
    path = Path("/proc/self/status")  # of size 0
    if not path.exists():
        pytest.skip("no /proc")
    assert "has more than 10 bytes" in refused(read_bytes, path, limit=10)


def test_text_is_utf8(tmp_path):
    path = tmp_path / "file"
    path.write_bytes("größe".encode("latin-1"))
    assert refused(read_text, path) == f"{path} is not UTF-8: byte 2 is 0xf6"
    path.write_bytes("\ufeffa: ü".encode())
    assert read_yaml(path, dict) == {"a": "ü"}
