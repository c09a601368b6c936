"""The processes of one run before and around its steps: signals, threads, numbers, exit codes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmx.cli import main
from mmx.errors import Interrupted
from mmx.ranks import follow, lead
from mmx.ranks.connection import connect_in
from mmx.runs.directory import RunDirectory
from mmx.training.events import StopRequest, hold_signals
from mmx.verbs import opening

WORDS = ["experiment=moving_profiles", "source=none", "control=none", "device=cpu"]


def make_asked(number: int) -> StopRequest:
    stop = StopRequest()
    stop.ask(number)
    return stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_leader_that_waits_for_the_others_stops_when_asked(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lead, "END_SECONDS", 0.1)
    followers = lead._Followers(connect_in(tmp_path, 0, 2))
    with pytest.raises(Interrupted) as caught:
        followers.wait(RunDirectory(tmp_path), make_asked(number))
    assert caught.value.exit_code == 128 + number


def test_a_leader_under_torchrun_takes_those_along_that_are_ready(tmp_path: Path) -> None:
    followers = lead._Followers(connect_in(tmp_path, 0, 2))
    connect_in(tmp_path, 1, 2).say_ready()
    followers.wait(RunDirectory(tmp_path), make_asked(signal.SIGINT))
    assert followers.connection.is_ready(1)


def test_a_follower_that_waits_for_its_run_stops_when_asked(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="before the run began"):
        connect_in(tmp_path, 1, 2).wait_for_job(make_asked(signal.SIGTERM))


def test_a_signal_to_a_process_that_starts_is_noted_when_it_can_be(tmp_path: Path) -> None:
    code = """if True:
        import sys
        print(sys.stdin.readline())  # a signal has been sent by now
        from mmx.training.events import release_signals, stop_on_signals
        with stop_on_signals() as stop:
            release_signals()
            print(stop.signal_number)
    """
    with hold_signals():
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & {signal.SIGINT, signal.SIGTERM}
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate("sent\n", timeout=120)
    assert said.split() == ["sent", str(int(signal.SIGINT))]
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("was", "size", "threads"),
    [(2, 2, 4), (2, 1, None), (1, 2, None), (1, 1, None)],
    ids=["as many", "one instead of two", "two instead of one", "one"],
)
def test_a_run_goes_on_with_the_threads_that_each_process_had(
    monkeypatch: pytest.MonkeyPatch, was: int, size: int, threads: int | None
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    machine = SimpleNamespace(machine=SimpleNamespace(threads=4))
    run: Any = SimpleNamespace(manifest=lambda: machine, config=lambda: {"processes": was})
    opened: dict[str, Any] = {"processes": size, "trainer": {}}
    assert opening.keep_threads(run, opened) == []
    assert torch.get_num_threads() == 4
    assert opened["trainer"].get("threads") == threads
    experiment: Any = SimpleNamespace(
        trainer=SimpleNamespace(threads=threads), settings=SimpleNamespace(processes=size)
    )
    assert lead.find_threads(experiment) == (4 if was == size else 4 // size)


def test_resuming_on_fewer_cores_says_what_can_be_typed(
    prepared: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lead, "count_cores", lambda: 8)
    _, directory = prepared([*WORDS, "processes=8"], tmp_path)
    directory.set_status("interrupted")
    monkeypatch.setattr(lead, "count_cores", lambda: 4)
    assert main(["resume", str(directory.path)]) == 2
    err = capsys.readouterr().err
    assert f"type:     mmx reproduce {directory.path} processes=4" in err
    assert directory.status()["status"] == "interrupted"


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_a_sweep_is_refused_before_it_starts_where_one_run_has_too_many(
    more: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lead, "count_cores", lambda: 4)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", *WORDS, "processes=1,64", *more]) == 2
    err = capsys.readouterr().err
    assert "processes=64: each takes a core, and this machine has 4 cores" in err
    assert "type:     processes=4" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("raises", [False, True])
def test_a_follower_of_torchrun_leaves_the_exit_code_to_the_first(
    raises: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def take_part(*_: object) -> int:
        if raises:
            raise ValueError("a fault of this process")
        return 143

    monkeypatch.setattr(follow, "connect_by_torchrun", lambda: None)
    monkeypatch.setattr(follow, "take_part", take_part)
    assert follow.follow_by_torchrun() == 0
    assert ("a fault of this process" in capsys.readouterr().err) == raises
