"""Pointers of Git LFS and pages of HTML in place of files: each reader says what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.errors import DataError
from mmx.modalities.arrays import read_array
from mmx.modalities.clips import measure_clip
from mmx.modalities.files import FileOrBytes
from mmx.modalities.pixels import read_pixels
from mmx.modalities.sounds import count_frames
from mmx.stand_ins import find_stand_in
from mmx.tasks.table_files import find_table_files

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
PAGE = b"\xef\xbb\xbf\n<!doctype HTML>\n<html><title>404</title></html>"
SAID = {
    POINTER: "a pointer of Git LFS in place of the file: git lfs pull fetches it",
    PAGE: "an HTML page in place of the file: fetch it again",
}


@pytest.mark.parametrize("content", [b"", b"version,html\n1,2\n", b"<xml/>", b"\x89PNG\r\n"])
def test_other_files_are_no_stand_ins(content: bytes) -> None:
    assert find_stand_in(content) is None


@pytest.mark.parametrize("content", SAID)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl", ".csv.gz", ".feather"])
def test_tables(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        find_table_files("rows", str(path))
    assert refused.value.message == f"rows: {path} is {SAID[content]}"


READERS: dict[str, Callable[[FileOrBytes], object]] = {
    "image": lambda source: read_pixels(source, 0, None),
    "sound": lambda source: count_frames(source, 0),
    "video": lambda source: measure_clip(source, 0),
    "vector": lambda source: read_array("vector", source, 0),
}


@pytest.mark.parametrize("content", SAID)
@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("in_table", [False, True])
def test_cells(what: str, content: bytes, in_table: bool, tmp_path: Path) -> None:
    path = tmp_path / "cell.npy"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        READERS[what](content if in_table else path)
    assert refused.value.message.startswith(f"row 1: cannot read {what} ")
    assert refused.value.message.endswith(f": {SAID[content]}")
