"""How many jobs run at the same time, with how many threads, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmx.errors import UsageError
from mmx.workers import machine, plan
from mmx.workers.plan import WorkerPlan, plan_workers


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "count_cores", lambda: 8)
    monkeypatch.setattr(plan, "find_free_memory", lambda: 64 * 10**9)
    monkeypatch.setattr(plan, "list_gpus", lambda: ["0", "1"])
    monkeypatch.delenv("MMX_JOBS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("jobs", "count", "threads", "expected"),
    [
        ("auto", 100, None, (8, 1)),
        ("auto", 3, None, (3, 2)),  # 8 cores for 3 jobs: 2 threads each
        ("auto", 100, 4, (2, 4)),
        ("auto", 100, 16, (1, 16)),
        ("auto", 1, None, (1, None)),
        (3, 100, None, (3, 2)),
        (16, 100, None, (16, 1)),
        (16, 4, None, (4, 2)),
        (1, 100, None, (1, None)),
    ],
)
def test_processes_and_threads(
    jobs: int | str, count: int, threads: int | None, expected: tuple[int, int | None]
) -> None:
    found = plan_workers(jobs, count, threads, cuda=False)  # type: ignore[arg-type]
    assert (found.processes, found.threads) == expected
    assert found.gpus == ()
    assert found.forks == (expected[1] == 1)


def test_memory_limits_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "find_free_memory", lambda: 5 * 10**9)
    found = plan_workers("auto", 100, None, cuda=False)
    assert (found.processes, found.threads, found.why) == (3, 2, "5 GB of free memory")
    monkeypatch.setattr(plan, "find_free_memory", lambda: 10**9)  # one runs in any case
    assert plan_workers("auto", 100, None, cuda=False).processes == 1


def test_each_gpu_has_a_job_and_several_where_asked_for() -> None:
    found = plan_workers("auto", 100, None, cuda=True)
    assert found == WorkerPlan(2, 4, ("0", "1"), "2 GPUs")
    assert not found.forks
    assert plan_workers(4, 100, None, cuda=True).gpus == ("0", "1", "0", "1")
    assert plan_workers("auto", 1, None, cuda=True).processes == 1


def test_a_job_of_several_processes_takes_as_many_places(monkeypatch: pytest.MonkeyPatch) -> None:
    found = plan_workers("auto", 100, None, cuda=False, size=2)
    assert (found.processes, found.threads) == (4, 2)  # of both of its processes together
    assert plan_workers("auto", 100, 2, cuda=False, size=2).processes == 2
    monkeypatch.setattr(plan, "list_gpus", lambda: ["0", "1", "2", "3", "4"])
    found = plan_workers("auto", 100, None, cuda=True, size=2)
    assert found == WorkerPlan(2, 4, ("0,1", "2,3"), "4 GPUs")
    assert "2 GPUs each" in found.describe()
    monkeypatch.setattr(plan, "find_free_memory", lambda: 6 * 10**9)
    assert plan_workers("auto", 100, None, cuda=False, size=2).processes == 2


def test_the_environment_sets_what_auto_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMX_JOBS", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = plan_workers("auto", 100, None, cuda=False)
    assert (found.processes, found.threads, found.why) == (2, 1, "MMX_JOBS=2")
    assert plan_workers(5, 100, None, cuda=False).processes == 5


@pytest.mark.parametrize(
    ("text", "cores"), [("150000 100000", 1.5), ("max 100000", None), ("odd", None)]
)
def test_the_quota_of_a_control_group(tmp_path: Path, text: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert machine._read_quota(tmp_path / "cpu.max") == cores
    assert machine._read_quota(tmp_path / "absent") is None


def test_memory_is_that_of_the_control_group_where_it_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  2000 kB\n")
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    assert machine.find_free_memory() == 2_048_000
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert machine.find_free_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.find_free_memory() == 2_048_000


@pytest.mark.parametrize("given", ["two", "0", "-1", "1.5"])
def test_the_environment_must_name_a_number(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("MMX_JOBS", given)
    with pytest.raises(UsageError, match=f"MMX_JOBS={given} is no number of jobs"):
        plan_workers("auto", 100, None, cuda=False)
