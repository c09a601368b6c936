"""``mmx cache``: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mmx.cli import main
from mmx.runs.cache import Artifact, Cache
from mmx.runs.cache import artifact_key as cache_keys
from mmx.runs.digests import seal_text
from mmx.verbs.completion import complete_line

DAY = 86400


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_keys, "code_version", lambda: "fixed")  # and with it the keys
    return tmp_path / "cache"


@pytest.fixture
def mmx(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*words: str) -> Said:
        code = main(["cache", *words])
        return Said(code, *capsys.readouterr())

    return run


def keep(folder: Path, kind: str, what: str, size: int, *, days: float = 0) -> Artifact:
    """Keep ``size`` zero bytes, last used some days ago."""
    cache = Cache(folder, 10**9)
    made = ({"w": torch.zeros(size, dtype=torch.uint8)}, {})
    cache.get_or_make(kind, {"what": what}, lambda: made, say=str, what=what)
    key = cache.key(kind, {"what": what})
    path = folder / kind / key[:2] / key / "provenance.json"
    facts = {**json.loads(path.read_text()), "seconds": 12.34, "inputs": ""}
    facts["created"] = "2026-01-02T03:04:05+00:00"
    size = len(seal_text(facts))
    path.write_text(seal_text({**facts, "inputs": "x" * (1000 - size)}))
    used = time.time() - days * DAY
    os.utime(path, (used, used))
    (found,) = (artifact for artifact in cache.entries() if artifact.key == key)
    return found


def damage(artifact: Artifact) -> None:
    path = artifact.path / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")


def test_ls_of_nothing(mmx, folder):
    expected = Said(0, f"nothing is kept in {folder}\n", "")
    assert mmx("ls") == expected
    assert not folder.exists()


@pytest.fixture
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_in_utc")
def test_ls(mmx, folder):
    first = keep(folder, "stage", "source [red]x", 300_000)
    second = keep(folder, "features", "photo", 2_500_000)
    for artifact, used in ((first, 1767323045), (second, 1767225600)):
        os.utime(artifact.path / "provenance.json", (used, used))
    third = keep(folder, "mapping", "z", 0)
    (third.path / "provenance.json").unlink()
    for path in (third.path / "tensors.safetensors", third.path):
        os.utime(path, (1767400000, 1767400000))
    said = mmx("ls")
    assert (said.code, said.err) == (0, "")
    keys = [artifact.key[:12] for artifact in (second, first, third)]
    assert [line.rstrip() for line in said.out.splitlines()] == [
        " key           kind      what           made              last used"
        "             size  seconds saved",
        f" {keys[0]}  features  photo          2026-01-02 03:04  2026-01-01 00:00"
        "    2.5 MB           12.3",
        f" {keys[1]}  stage     source [red]x  2026-01-02 03:04  2026-01-02 03:04"
        "  301.2 kB           12.3",
        f" {keys[2]}  mapping   (damaged)                        2026-01-03 00:26"
        "     168 B            0.0",
        f"3 artifacts, 2.8 MB in {folder}",
    ]


def test_ls_json(mmx, folder):
    kept = keep(folder, "stage", "é", 10, days=3)
    said = mmx("ls", "--json")
    (line,) = said.out.splitlines()
    assert (said.code, said.err) == (0, "")
    assert json.loads(line) == {
        "key": kept.key,
        "kind": "stage",
        "path": str(kept.path),
        "what": "é",
        "created": "2026-01-02T03:04:05+00:00",
        "seconds": 12.34,
        "bytes": kept.bytes,
        "used": kept.used,
    }


def kept_names(folder: Path) -> set[str]:
    return {artifact.what for artifact in Cache(folder, 0).entries()}


def test_rm_by_the_first_digits(mmx, folder):
    kept = {name: keep(folder, "stage", name, 876) for name in "abc"}
    size = sum(kept[name].bytes for name in "ab") / 1000
    said = mmx("rm", kept["a"].key, kept["b"].key[:6], kept["b"].key[:4])
    assert said == Said(0, f"removed 2 artifacts, {size:.1f} kB\n", "")
    assert kept_names(folder) == {"c"}


def test_rm_all(mmx, folder):
    assert mmx("rm", "--all") == Said(0, "removed 0 artifacts, 0 B\n", "")
    one = keep(folder, "stage", "a", 876)
    assert mmx("rm", "--all") == Said(0, f"removed 1 artifact, {one.bytes / 1000:.1f} kB\n", "")
    assert kept_names(folder) == set()


def test_rm_older_than(mmx, folder):
    for days in (0.5, 1.5, 30):
        keep(folder, "stage", f"{days:g}", 100, days=days)
    assert mmx("rm", "--older-than", "31").out == "removed 0 artifacts, 0 B\n"
    assert mmx("rm", "--older-than", "2").out.startswith("removed 1 artifact, ")
    assert kept_names(folder) == {"0.5", "1.5"}
    assert mmx("rm", "--older-than", "0.4").out.startswith("removed 2 artifacts, ")


def test_rm_of_what_is_in_use(mmx, folder):
    used, other = keep(folder, "stage", "a", 876), keep(folder, "stage", "b", 876)
    with FileLock(str(folder / ".locks" / used.key)):
        said = mmx("rm", "--all")
    size = f"{other.bytes / 1000:.1f} kB"
    told = f"in use, not removed: stage a {used.key[:12]}\n"
    assert said == Said(1, f"removed 1 artifact, {size}\n", told)
    assert kept_names(folder) == {"a"}


@pytest.mark.parametrize(
    ("words", "message", "tip"),
    [
        ([], "mmx cache needs one of ls, rm, verify", "mmx cache ls"),
        (["very"], "mmx cache needs one of ls, rm, verify, not 'very'", "mmx cache verify"),
        (["rm"], "mmx cache rm needs one of KEY..., --all, --older-than DAYS", "mmx cache ls"),
        (
            ["rm", "abcd", "--all"],
            "mmx cache rm needs one of KEY..., --all, --older-than DAYS",
            "mmx cache ls",
        ),
        (["rm", ""], "the key '' is too short: 4 digits or more", "mmx cache ls"),
        (["rm", "abc"], "the key 'abc' is too short: 4 digits or more", "mmx cache ls"),
        (["rm", "abcdx"], "no artifact's key begins with 'abcdx'", "mmx cache ls"),
        (["rm", "--older-than", "-1"], "--older-than -1 must be ≥ 0 days", None),
        (["rm", "--older-than", "nan"], "--older-than nan must be ≥ 0 days", None),
        (
            ["rm", "--older-than", "x"],
            "argument --older-than: invalid float value: 'x'",
            "mmx cache rm --help",
        ),
        (["ls", "x"], "unrecognized arguments: x", "mmx cache ls --help"),
        (
            ["ls", "--dir", "off"],
            "the cache is off: MMX_CACHE_DIR or --dir says so",
            "mmx cache ls --dir DIR",
        ),
    ],
)
def test_what_cannot_be_read(mmx, folder, words, message, tip):
    keep(folder, "stage", "a", 1)
    expected = f"mmx: {message}\n" + (f"  tip: {tip}\n" if tip else "")
    assert mmx(*words) == Said(2, "", expected)
    assert kept_names(folder) == {"a"}


def test_a_key_that_several_begin_with(mmx, folder):
    path = keep(folder, "stage", "a", 1).path
    twin = path.with_name(path.name[:-1] + ("0" if path.name[-1] != "0" else "1"))
    twin.mkdir()
    (twin / "provenance.json").write_text('{"what": "b"}')
    said = mmx("rm", path.name[:8])
    assert (said.code, said.out) == (2, "")
    first, second = sorted([path, twin], key=lambda each: kept_order(folder, each))
    assert said.err == (
        f"mmx: several keys begin with '{path.name[:8]}': {first.name}, {second.name}\n"
        "  tip: type more digits\n"
    )
    assert kept_names(folder) == {"a", "b"}


def kept_order(folder: Path, path: Path) -> int:
    return [artifact.path for artifact in Cache(folder, 0).entries()].index(path)


def test_off(mmx, monkeypatch):
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    assert mmx("verify") == Said(
        2,
        "",
        "mmx: the cache is off: MMX_CACHE_DIR or --dir says so\n"
        "  tip: mmx cache verify --dir DIR\n",
    )


def test_another_folder(mmx, tmp_path):
    keep(tmp_path / "other", "stage", "a", 1)
    assert mmx("ls", "--dir", str(tmp_path / "other")).out.count("stage") == 1


def test_verify(mmx, folder):
    assert mmx("verify") == Said(0, "0 artifacts, 0 B read, 0 damaged\n", "")
    sound, bad = keep(folder, "stage", "a", 876), keep(folder, "features", "b", 876)
    total = f"{(sound.bytes + bad.bytes) / 1000:.1f} kB"
    assert mmx("verify") == Said(0, f"2 artifacts, {total} read, 0 damaged\n", "")
    damage(bad)
    found = (
        f"damaged: features b {bad.key[:12]}: tensors.safetensors is not what was written\n"
        f"2 artifacts, {total} read, 1 damaged\n"
    )
    tip = "  tip: mmx cache verify --remove\n"
    assert mmx("verify") == Said(1, found, tip)
    assert mmx("verify") == Said(1, found, tip)
    removed = f"removed 1 artifact, {bad.bytes / 1000:.1f} kB\n"
    assert mmx("verify", "--remove") == Said(1, found + removed, "")
    assert kept_names(folder) == {"a"}
    assert mmx("verify").code == 0


def test_a_folder_that_cannot_be_written(mmx, folder, monkeypatch):
    kept = keep(folder, "stage", "a", 1)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mmx.runs.cache.folder.discard", refuse)
    said = mmx("rm", "--all")
    assert said == Said(1, "", f"mmx: cannot remove {kept.path}: Permission denied\n")


@pytest.mark.parametrize("words", [["--help"], ["ls", "--help"], ["rm", "-h"], ["verify", "-h"]])
def test_help(folder, capsys, words):
    if words == ["--help"]:
        assert main(["cache", *words]) == 0
    else:
        with pytest.raises(SystemExit) as ended:
            main(["cache", *words])
        assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert "mmx cache rm KEY... | --all | --older-than DAYS" in out
    assert err == ""


@pytest.mark.slow
def test_torch_is_not_imported(folder):
    kept = keep(folder, "stage", "a", 1)
    script = (
        "import sys; from mmx.cli import main\n"
        f"codes = [main(['cache', *w.split()]) for w in ('ls', 'verify', 'rm {kept.key}')]\n"
        "print(codes, *sorted({'torch', 'hydra', 'numpy', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0]", done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mmx ca", ["cache"]),
        ("mmx cache ", ["ls", "rm", "verify"]),
        ("mmx cache v", ["verify"]),
        ("mmx cache rm ", []),
    ],
)
def test_completion(line, expected):
    assert complete_line(line) == expected
