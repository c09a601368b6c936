"""``budget=``: what is a time, and what is refused."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from refusals import check_error

from mmx.cli import main
from mmx.errors import BUDGET_USED, ConfigError
from mmx.experiment.budget import find_end, read_budget
from mmx.runs.directory import RunDirectory
from mmx.training.events import StopRequest


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        ("45s", 45),
        ("90m", 5400),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30min", 5400),
        ("1.5h", 5400),
        ("2d", 172_800),
    ],
)
def test_times(given: str | None, seconds: float | None) -> None:
    assert read_budget(given) == seconds


@pytest.mark.parametrize("given", [90, "90", 1.5, "2x", "h", "-2h", "0s", "500d", "", "2h!"])
def test_what_is_no_time(given: str | float) -> None:
    with pytest.raises(ConfigError) as caught:
        read_budget(given)
    (problem,) = caught.value.problems
    assert problem.given == f"budget={given}"
    assert read_budget(str(problem.type_this).partition("=")[2])  # what it says to type works


def test_the_end_is_counted_from_now() -> None:
    assert find_end(None) is None
    assert abs(float(find_end("1h") or 0) - time.time() - 3600) < 60


def test_a_request_is_made_when_the_time_is_over_or_by_a_signal() -> None:
    assert not StopRequest().is_made
    assert not StopRequest(time.time() + 100).is_made
    over = StopRequest(time.time() - 1)
    assert over.is_made
    error = over.describe("stopped")
    assert (error.exit_code, error.signal_number) == (BUDGET_USED, None)
    check_error(error, "stopped", "budget")
    over.ask(signal.SIGTERM)
    over.ask(signal.SIGINT)  # the first one counts
    assert over.describe("stopped").exit_code == 128 + signal.SIGTERM


def test_a_run_stops_is_resumed_and_gives_the_same_numbers(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The budget is over before the first step, so that no time decides where it stops."""
    monkeypatch.chdir(tmp_path)
    line = ["train", *overrides(None, tables["two"], ("tabular",), "control=none"), "device=cpu"]
    assert main([*line, "budget=0.001s"]) == BUDGET_USED
    out, err = capsys.readouterr()
    stopped = RunDirectory(Path(out.strip()))
    assert "budget of time is used up" in err
    assert f"mmx resume {stopped.path}" in err
    status = stopped.status()
    assert (status["status"], "signal" in status) == ("interrupted", False)
    assert main(["resume", str(stopped.path)]) == 0
    assert main(line) == 0
    whole = RunDirectory(Path(capsys.readouterr().out.splitlines()[-1]))
    assert "budget" not in whole.config()
    assert stopped.manifest().fingerprint == whole.manifest().fingerprint
    one, two = stopped.summary(), whole.summary()
    assert one["target"]["metrics"] == two["target"]["metrics"]


def test_a_sweep_begins_no_job_after_its_time(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = overrides(None, tables["two"], ("tabular",), "control=none", "seed=1,2")
    line = ["train", "-m", *given, "device=cpu", "jobs=1"]
    assert main([*line, "budget=0.001s"]) == BUDGET_USED
    out, err = capsys.readouterr()
    assert not list((tmp_path / out.strip() / "runs").iterdir())
    assert "not started: 2 jobs" in err
    assert main([*line, "budget=1h,2h"]) == 2
    assert "budget=1h,2h" in capsys.readouterr().err
