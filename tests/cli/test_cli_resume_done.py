"""A run that is done has nothing to resume: its answer is shown again."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmx.cli import main

WORDS = ("source=none", "target=digits", "target.per_class=3", "trainer.epochs=1")


def test_a_run_whose_control_has_no_speed_is_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = (*WORDS, "trainer.threads=1", "device=cpu", "control=majority")
    assert main(["train", *words]) == 0
    run = capsys.readouterr().out.strip()
    assert main(["resume", run]) == 0
    shown = capsys.readouterr()
    assert shown.out.strip() == run
    assert "this run is done: nothing is left to resume" in shown.err
    assert "control majority test" in shown.err
