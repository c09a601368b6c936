"""Archives and tokenizers that are rewritten while a process runs, with size and time kept."""

from __future__ import annotations

import io
import os
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from mmx.modalities.members import find_archive
from mmx.modalities.sub_words import read_tokenizer


def keep_time(path: Path) -> None:
    os.utime(path, (10**9, 10**9))


def pack(path: Path, names: str) -> None:
    """Write an archive with a file of each letter, which holds that letter ten times."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name in names:
                packed.writestr(zipfile.ZipInfo(name), name * 10)
    else:
        with tarfile.open(path, "w") as packed:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 10
                packed.addfile(info, io.BytesIO(name.encode() * 10))
    keep_time(path)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_a_rewritten_archive_is_opened_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    for names in ("ab", "ba"):  # of equal size, and each file where the other was
        pack(path, names)
        archive = find_archive(path)
        assert archive is not None
        member = archive.find("a")
        assert member is not None
        assert member.read_bytes() == b"a" * 10
        time.sleep(0.02)  # the clock of a file's status ticks every few milliseconds


def test_a_rewritten_tokenizer_is_read_again(tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers")
    for word in ("one", "two"):
        model = library.models.WordLevel({"none": 0, word: 1}, unk_token="none")
        library.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
        keep_time(tmp_path / "tokenizer.json")
        spec = read_tokenizer(tmp_path, 8)
        assert f'"{word}"' in spec.tokenizer
        assert read_tokenizer(tmp_path, 8) is spec
