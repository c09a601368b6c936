"""A verb is one file: help, dispatch and completion find it in the folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mmx.verbs
from mmx.cli import main
from mmx.verbs import find_verbs
from mmx.verbs.completion import SCRIPTS, complete_line

VERB = '''\
"""A verb of this test."""

import json

SUMMARY = "greet somebody"
NAME = "greet"
PLACE = 5
COMPLETES = {"words": ("world", "you"), "runs": 2, "flags": {"--loud": None, "--in": ("en", "fr")}}


def main(arguments):
    print("hello", *arguments)
    return 7
'''
HELPER = 'import json\n\nBEFORE = "SUMMARY"\n\n\ndef main():\n    SUMMARY = "a local name"\n'


@pytest.fixture
def greet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a verb and a helper in a second folder of verbs."""
    folder = tmp_path / "verbs"
    folder.mkdir()
    (folder / "greeting.py").write_text(VERB)
    (folder / "helper.py").write_text(HELPER)
    monkeypatch.setattr(mmx.verbs, "__path__", [*mmx.verbs.__path__, str(folder)])
    monkeypatch.setitem(sys.modules, "mmx.verbs.greeting", None)  # restored after the test
    del sys.modules["mmx.verbs.greeting"]
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("greet")
def test_a_new_file_is_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    before = [name for name in find_verbs() if name != "greet"]
    assert list(find_verbs()) == ["greet", *before]  # its place is the lowest
    assert main(["--help"]) == 0
    assert "\nverbs:\n  greet       greet somebody\n  train " in capsys.readouterr().out
    assert main(["greet", "a", "b"]) == 7
    assert capsys.readouterr().out == "hello a b\n"
    assert main(["gret", "a"]) == 2
    assert "tip: mmx greet a\n" in capsys.readouterr().err


@pytest.mark.usefixtures("greet")
def test_what_it_states_is_completed() -> None:
    Path("outputs/runs/wild").mkdir(parents=True)
    assert complete_line("mmx gr") == ["greet"]
    assert complete_line("mmx greet w") == ["world"]
    assert complete_line("mmx greet ") == ["world", "you", "outputs/runs/wild"]
    assert complete_line("mmx greet you ") == ["outputs/runs/wild"]
    assert complete_line("mmx greet you one ") == []
    assert complete_line("mmx greet --") == ["--loud", "--in"]
    assert complete_line("mmx greet --in ") == ["en", "fr"]
    assert complete_line("mmx greet --loud ") == ["outputs/runs/wild"]


def test_the_verbs_of_mmx() -> None:
    verbs = find_verbs()
    assert list(verbs)[:3] == ["train", "data", "rank"]
    assert verbs["eval"].module == "mmx.verbs.evaluate"
    assert not {"arguments", "preflight", "opening", "train_line"} & set(verbs)
    assert verbs["completion"].completes["words"] == tuple(SCRIPTS)
