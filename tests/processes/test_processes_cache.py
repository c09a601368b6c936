"""The artifact cache among real processes: at once, killed, interrupted, out of room.

    MMX_KILLS=50 pytest tests/processes/test_processes_cache.py

kills more often; the seed of a failure is in its message, and MMX_KILLS_SEED repeats it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mmx.runs.cache import Cache

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MMX_KILLS", "3"))
SEED = int(os.environ.get("MMX_KILLS_SEED", time.time_ns() % 10**6))

# Imports torch once, and forks a process for each call of the cache.
NURSERY = '''
import hashlib, json, os, random, sys, time
from pathlib import Path
import torch
from mmx.errors import Interrupted
from mmx.runs.cache import Cache
from mmx.runs.cache import tensors as _
from mmx.training.events import stop_on_signals


def note(path, text):
    with path.open("a") as file:
        file.write(text + "\\n")


def once(job, folder, me):
    """Ask for one artifact, of which each making has other bits."""
    def make():
        note(folder / "made", str(os.getpid()))
        while not (folder / "go").exists():
            time.sleep(0.01)
        return {"w": torch.frombuffer(bytearray(os.urandom(job["size"])), dtype=torch.uint8)}, {}

    cache = Cache(folder / "cache", 10**9)
    with stop_on_signals() as stop:
        found, _ = cache.get_or_make(
            "stage", {"x": 1}, make, say=lambda text: note(me, text), what="source", stop=stop
        )
    note(me, hashlib.sha256(found["w"].numpy().tobytes()).hexdigest())


def many(job, folder, me):
    """Ask for many artifacts in any order, in a cache that holds few of them."""
    draw = random.Random(os.getpid())
    cache = Cache(folder / "cache", job["limit"])
    for _ in range(job["times"]):
        n = draw.randrange(8)
        made = lambda: ({"w": torch.full((2000,), n, dtype=torch.uint8)}, {"n": n})
        found, facts = cache.get_or_make("stage", {"n": n}, made, say=lambda text: note(me, text))
        assert found["w"].tolist() == [n] * 2000 and facts == {"n": n}, (n, facts)


print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        status = os.waitpid(job["wait"], 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    child = os.fork()
    if child == 0:
        folder = Path(job["folder"])
        me = folder / f"said-{os.getpid()}"
        try:
            globals()[job["call"]](job, folder, me)
            code = 0
        except Interrupted as error:
            note(me, str(error))
            code = error.exit_code
        except BaseException as error:
            note(me, repr(error))
            code = 1
        os._exit(code)
    print(child, flush=True)
'''


@dataclass
class Nursery:
    process: subprocess.Popen[str]

    def ask(self, **job: Any) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self, pid: int) -> int:
        """Return the exit code, or minus the signal that ended it."""
        return self.ask(wait=pid)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-c", NURSERY]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


@dataclass
class Crowd:
    """Processes that ask for the same artifact, which is made once ``go`` is there."""

    nursery: Nursery
    folder: Path

    def start(self, count: int = 1, size: int = 100_000) -> list[int]:
        job = {"folder": str(self.folder), "call": "once", "size": size}
        return [self.nursery.ask(**job) for _ in range(count)]

    def go(self) -> None:
        (self.folder / "go").touch()

    def makers(self) -> list[int]:
        path = self.folder / "made"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def said(self, pid: int) -> list[str]:
        path = self.folder / f"said-{pid}"
        return path.read_text().splitlines() if path.exists() else []

    def cache(self) -> Cache:
        return Cache(self.folder / "cache", 10**9)


@pytest.fixture
def crowd(nursery: Nursery, tmp_path: Path) -> Crowd:
    return Crowd(nursery, tmp_path)


def until(condition: Callable[[], bool], every: float = 0.01) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 60, "waited for a minute"
        time.sleep(every)


def waiting(pid: int) -> str:
    return f"waiting for process {pid}, which is training the same source"


TAKEN = "source: taken from the cache, "


def test_four_at_once_make_it_once(crowd: Crowd) -> None:
    pids = crowd.start(4)
    until(lambda: len(crowd.makers()) == 1)
    (maker,) = crowd.makers()
    others = [pid for pid in pids if pid != maker]
    until(lambda: all(crowd.said(pid) for pid in others))
    crowd.go()
    assert [crowd.nursery.wait(pid) for pid in pids] == [0] * 4
    assert crowd.makers() == [maker]
    (bits,) = crowd.said(maker)
    for pid in others:
        told, taken, same = crowd.said(pid)
        assert told == waiting(maker)
        assert taken.startswith(TAKEN)
        assert same == bits
    assert not list(crowd.folder.rglob(".locks/*.json"))


@pytest.mark.parametrize("kills", [1, 3])
def test_a_killed_maker_is_followed_by_one_other(crowd: Crowd, kills: int) -> None:
    pids = crowd.start(kills + 3)
    for count in range(1, kills + 1):
        until(lambda: len(crowd.makers()) == count)  # noqa: B023
        maker = crowd.makers()[-1]
        left = [pid for pid in pids if pid not in crowd.makers()]
        until(lambda: all(waiting(maker) in crowd.said(pid) for pid in left))  # noqa: B023
        os.kill(maker, signal.SIGKILL)
        assert crowd.nursery.wait(maker) == -signal.SIGKILL
    until(lambda: len(crowd.makers()) == kills + 1)
    *killed, maker = crowd.makers()
    crowd.go()
    left = [pid for pid in pids if pid not in killed]
    assert [crowd.nursery.wait(pid) for pid in left] == [0] * 3
    assert crowd.makers() == [*killed, maker]
    assert len({crowd.said(pid)[-1] for pid in left}) == 1
    assert [damage for _, damage in crowd.cache().verify()] == [None]


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_any_moment_of_writing(crowd: Crowd, number: int) -> None:
    draw = random.Random(SEED + number)
    crowd.go()
    size = 8_000_000
    (pid,) = crowd.start(size=size)
    until(lambda: crowd.makers() == [pid])
    if number % 2 == 0:  # not before the tensors are being written
        until(lambda: any(crowd.folder.rglob("tensors.safetensors")), every=0.0005)
    time.sleep(draw.uniform(0, 0.02 if number % 2 == 0 else 0.1) if number else 0)
    os.kill(pid, signal.SIGKILL)
    crowd.nursery.wait(pid)
    found = [damage for _, damage in crowd.cache().verify()]
    assert found in ([], [None]), f"seed {SEED}"
    (after,) = crowd.start(size=size)
    assert crowd.nursery.wait(after) == 0
    assert crowd.makers() == ([pid] if found else [pid, after]), f"seed {SEED}"
    (artifact,) = crowd.cache().entries()
    assert [damage for _, damage in crowd.cache().verify()] == [None]
    assert list(artifact.path.parent.iterdir()) == [artifact.path], f"seed {SEED}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_waiting_and_not_the_making(
    crowd: Crowd, number: signal.Signals, code: int
) -> None:
    (maker,) = crowd.start()
    until(lambda: crowd.makers() == [maker])
    (other,) = crowd.start()
    until(lambda: crowd.said(other) == [waiting(maker)])
    began = time.monotonic()
    os.kill(other, number)
    assert crowd.nursery.wait(other) == code
    assert time.monotonic() - began < 5
    assert crowd.said(other)[1:] == [f"stopped while waiting for process {maker}"]
    crowd.go()
    assert crowd.nursery.wait(maker) == 0
    assert len(crowd.cache().entries()) == 1


def test_rm_leaves_what_is_being_made(crowd: Crowd) -> None:
    (maker,) = crowd.start()
    until(lambda: crowd.makers() == [maker])
    command = [sys.executable, "-m", "mmx", "cache", "rm", "--all"]
    environment = {**os.environ, "MMX_CACHE_DIR": str(crowd.folder / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "removed 0 artifacts, 0 B\n", "")
    crowd.go()
    assert crowd.nursery.wait(maker) == 0
    assert len(crowd.cache().entries()) == 1


def test_many_in_a_cache_without_room_for_all(nursery: Nursery, tmp_path: Path) -> None:
    job = {"folder": str(tmp_path), "call": "many", "times": 60, "limit": 3 * 2600}
    pids = [nursery.ask(**job) for _ in range(4)]
    assert [nursery.wait(pid) for pid in pids] == [0] * 4
    said = [line for path in tmp_path.glob("said-*") for line in path.read_text().splitlines()]
    taken = [line for line in said if line.startswith("stage: taken from the cache, ")]
    others = {line.split(", which")[0].rstrip("0123456789") for line in said if line not in taken}
    assert taken
    # Three others may be reading the three that there is room for: then the fourth's is not kept.
    full = "stage: not kept, others use all there is room for"
    assert others <= {"waiting for process ", full}
    cache = Cache(tmp_path / "cache", job["limit"])
    assert all(damage is None for _, damage in cache.verify())
    assert 1 <= len(cache.entries()) <= 3 + 3  # each of 4 may have seen room for its own
    left = [path for path in (tmp_path / "cache").rglob("*.*") if path.suffix in (".new", ".old")]
    assert left == []
