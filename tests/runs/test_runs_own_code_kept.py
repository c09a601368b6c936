"""The artifact cache holds stages of own classes, and takes none that other code has made."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.experiment import identify
from mmx.runs import code
from mmx.runs.directory import RunDirectory

Run = Callable[..., tuple[RunDirectory, str]]

PARTS = """
from own_kept.help import SCALE
from mmx.encoders.tabular.mlp import Mlp
from mmx.fusion.concat import Concat


class Own(Mlp):
    def forward(self, x, lengths=None):
        return super().forward(x * SCALE, lengths)


class Sum(Concat):
    pass
"""


@pytest.fixture
def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
) -> Iterator[Run]:
    """Return ``run(*words)``: a run from one table to another with the cache on, and its stderr.

    As each command has a process of its own, the package is imported anew for each.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMX_ALLOW", raising=False)
    monkeypatch.setenv("MMX_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "own_kept"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "parts.py").write_text(PARTS)
    (folder / "help.py").write_text("SCALE = 1.0\n")
    line = overrides(tables["one"], tables["two"], ("tabular",))
    line += ["trainer.epochs=1", "trainer.threads=1", "device=cpu", "--allow", "own_kept"]

    def forget() -> None:
        identify.forget_data()
        code._KNOWN.clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "own_kept"]:
            del sys.modules[name]

    def once(*words: str) -> tuple[RunDirectory, str]:
        forget()
        done = main(["train", *line, *words])
        out, err = capsys.readouterr()
        assert done == 0, err
        return RunDirectory(Path(out.strip())), err

    yield once
    forget()


def taken(err: str) -> set[str]:
    """Return the stages that a run says it has taken from the cache."""
    return set(re.findall(r"(\w+ \w+): taken from the cache", err))


def test_a_source_with_an_own_encoder_is_kept_until_its_code_changes(
    run: Run, tmp_path: Path
) -> None:
    words = ("encoder.tabular._target_=own_kept.parts.Own", "control=scratch")
    first, err = run(*words)
    assert taken(err) == set()
    second, err = run(*words)
    assert taken(err) == {"source one", "control two"}
    assert second.summary()["target"]["metrics"] == first.summary()["target"]["metrics"]

    (tmp_path / "own_kept" / "help.py").write_text("SCALE = 2.0\n")
    third, err = run(*words)
    assert taken(err) == set()
    assert third.summary()["source"]["metrics"] != first.summary()["source"]["metrics"]
    whole, _ = run(*words, "cache=off")
    assert third.summary()["source"]["metrics"] == whole.summary()["source"]["metrics"]
    assert third.summary()["target"]["metrics"] == whole.summary()["target"]["metrics"]

    (tmp_path / "own_kept" / "help.py").write_text("SCALE = 1.0\n")
    back, err = run(*words)  # what was made by this code is still there
    assert taken(err) == {"source one", "control two"}
    assert back.summary()["target"]["metrics"] == first.summary()["target"]["metrics"]


def test_a_control_with_an_own_fusion_is_kept_until_its_code_changes(
    run: Run, tmp_path: Path
) -> None:
    words = ("fusion._target_=own_kept.parts.Sum", "control=scratch")
    first, _ = run(*words)
    second, err = run(*words)
    assert taken(err) == {"source one", "control two"}
    assert second.summary()["control"] == first.summary()["control"]
    parts = tmp_path / "own_kept" / "parts.py"
    parts.write_text(
        PARTS + "    def forward(self, *given):\n        return -super().forward(*given)\n"
    )
    third, err = run(*words)
    assert taken(err) <= {"source one"}  # a source without the fusion is as it was
    assert third.summary()["control"] != first.summary()["control"]
