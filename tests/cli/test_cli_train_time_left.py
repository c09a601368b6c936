"""How long the jobs of a sweep take that run one after another in one process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mmx.verbs import train_sweep


def test_it_is_said_after_each_job_that_ran_while_others_are_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = iter([True, False, True, True])
    times = iter([0.0, 4.0, 4.0, 10.0, 16.0, 20.0, 21.0])  # the skipped job reads the clock once
    monkeypatch.setattr(train_sweep, "time", SimpleNamespace(monotonic=lambda: next(times)))
    task: Any = SimpleNamespace(run=lambda composed, experiment: next(ran))
    job: Any = SimpleNamespace(composed=None, experiment=None)
    for run in train_sweep._make_countdown(task, [job] * 4):
        run()
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "1 of 4 jobs ended, about 12 s left",
        "3 of 4 jobs ended, about 5 s left",
    ]
    assert said.out == ""
