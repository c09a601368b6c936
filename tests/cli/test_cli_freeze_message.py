"""A pattern that matches no tensor is refused before any data is opened."""

from pathlib import Path

import pytest
from refusals import Refusal, check_refusals, read_problems

from mmx.cli import main


def test_a_freeze_pattern_that_matches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "transfer.freeze=[encoder.image.*]"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    check_refusals(
        read_problems(err),
        [
            Refusal(
                "transfer.freeze=encoder.image.*",
                ("no tensor",),
                accepted="encoders.audio.*, encoders.image.*, head.*",
                closest="encoders.image.*",
                type_this="transfer.freeze=[encoders.image.*]",
            )
        ],
    )
    assert list(tmp_path.iterdir()) == []
