"""What a verb's message calls required is: words of which there may be none are not."""

from __future__ import annotations

import pytest

from mmx.cli import main


@pytest.mark.parametrize("verb", ["predict", "eval", "export", "serve", "reproduce", "resume"])
def test_only_the_run_is_required(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb]) == 2
    assert capsys.readouterr().err == (
        f"mmx: the following arguments are required: RUN\n  tip: mmx {verb} --help\n"
    )
