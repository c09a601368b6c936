"""A pattern that matches no tensor is refused before any data is opened."""

from pathlib import Path

import pytest

from mmx.cli import main


def test_a_freeze_pattern_that_matches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "transfer.freeze=[encoder.image.*]"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "mmx: 1 problem in the config\n"
        "transfer.freeze=encoder.image.*: matches no tensor of the model\n"
        "  accepted: encoders.audio.*, encoders.image.*, head.*\n"
        "  closest:  encoders.image.*\n"
        "  type:     transfer.freeze=[encoders.image.*]\n"
    )
    assert list(tmp_path.iterdir()) == []
