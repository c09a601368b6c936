"""How many cores others leave free, and with how many threads a run then computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mmx.workers import free_cores
from mmx.workers.free_cores import CoreTimes, choose_threads, measure_free_cores, take_free_threads


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(free_cores, "count_cores", lambda: 2)
    monkeypatch.setattr(free_cores.os, "sched_getaffinity", lambda pid: {0, 2})
    monkeypatch.setattr(free_cores.os, "sysconf", lambda name: 100)
    monkeypatch.setattr(free_cores.time, "sleep", lambda seconds: None)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def now_is(monkeypatch: pytest.MonkeyPatch, now: CoreTimes | None) -> None:
    monkeypatch.setattr(CoreTimes, "read", classmethod(lambda cls: now))


def test_idle_seconds_are_those_of_the_cores_that_may_be_used(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "stat").write_text(
        "cpu 1 1 1 999 9\ncpu0 10 0 10 250 50 7\ncpu1 0 0 0 7000 0 0\ncpu2 0 0 0 100 0\nintr 5\n"
    )
    monkeypatch.setattr(free_cores, "_STAT", tmp_path / "stat")
    found = CoreTimes.read()
    assert found is not None
    assert found.idle == 4.0  # 250 + 50 + 100 hundredths
    assert found.told == (327 + 100) / 2 / 100  # the mean of both


def test_a_system_that_does_not_tell_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(free_cores, "_STAT", tmp_path / "none")
    assert CoreTimes.read() is None
    assert take_free_threads(None, None) == ""
    assert torch.get_num_threads() == 2


def test_a_file_of_zeros_tells_nothing(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "stat").write_text("cpu 0 0 0 0 0\ncpu0 0 0 0 0 0\ncpu2 0 0 0 0 0\n")
    monkeypatch.setattr(free_cores, "_STAT", tmp_path / "stat")
    assert CoreTimes.read() is None


def test_times_that_stand_still_change_nothing(monkeypatch) -> None:
    now_is(monkeypatch, CoreTimes(10.0, 7.0, 9.0, None, 20.0))
    assert take_free_threads(None, CoreTimes(0.0, 7.0, 0.0, None, 20.0)) == ""
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("idle", "own", "group", "free"),
    [
        (10.0, 10.0, None, 2.0),  # nobody else: this process has one core, the other is idle
        (0.0, 10.0, None, 1.0),
        (0.0, 5.0, None, 0.5),
        (12.0, 10.0, None, 2.0),  # rounded clocks give no more than there is
        (10.0, 10.0, 22.0, 0.8),  # others of the group take 1.2 of its 2 cores
    ],
)
def test_free_is_what_is_idle_and_what_this_process_has(
    monkeypatch, idle, own, group, free
) -> None:
    since = CoreTimes(0.0, 100.0, 1.0, None if group is None else 7.0, 0.0)
    used = None if group is None else 7.0 + group
    now = CoreTimes(10.0, 100.0 + idle, 1.0 + own, used, 10.0)
    now_is(monkeypatch, now)
    assert measure_free_cores(since) == pytest.approx(free)


@pytest.mark.parametrize(
    ("usual", "free", "threads"),
    [
        (2, 2.0, 2), (2, 1.6, 2), (2, 1.5, 1), (2, 1.0, 1), (2, 0.0, 1),
        (8, 8.0, 8), (8, 4.8, 5), (8, 4.7, 4), (8, None, 8), (1, 0.0, 1),
    ],
)  # fmt: skip
def test_threads_for_free_cores(usual, free, threads) -> None:
    assert choose_threads(usual, free) == threads


def test_one_thread_where_another_program_has_a_core(monkeypatch) -> None:
    since = CoreTimes(0.0, 0.0, 0.0, None, 0.0)
    now_is(monkeypatch, CoreTimes(10.0, 0.0, 9.0, None, 10.0))
    note = take_free_threads(None, since)
    assert torch.get_num_threads() == 1
    assert "0.9 of 2 cores" in note
    assert "one thread" in note
    assert "trainer.threads=2" in note


@pytest.mark.parametrize("given", ["config", "environment", "idle"])
def test_the_usual_threads_where_they_are_given_or_free(monkeypatch, given) -> None:
    now_is(monkeypatch, CoreTimes(10.0, 10.0 if given == "idle" else 0.0, 9.0, None, 10.0))
    if given == "environment":
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
    since = CoreTimes(0.0, 0.0, 0.0, None, 0.0)
    assert take_free_threads(2 if given == "config" else None, since) == ""
    assert torch.get_num_threads() == 2
