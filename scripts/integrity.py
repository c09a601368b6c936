"""Flip bits of a run and its cache, and kill what works on them: count what is noticed and lost.

    scripts/integrity.py [--flips 30] [--kills 20] [--seed 0]

Flips: a small transfer with a control, its source from the cache. In 30 places over all files of
the run and of the cache, each file at least once, one random bit is changed, and the verb is run
that reads the file. Noticed is a flip that the verb names, with exit code 1 for a finished run;
for the cache and for states of a run that goes on, that it says so and gives the same numbers.

Kills: SIGKILL at a random moment of a sweep, an interrupted run, `eval`, `predict` and a run that
fills the cache, then the same command again (`resume` where a run goes on). Nothing lost is: it
ends with 0, and every number is, bit for bit, that of an undisturbed run.

Takes about five minutes on two cores; prints one table each. Exit code 1 if anything was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Imports all that a run imports, once, and forks a process for each command line.
NURSERY = """
import json, os, sys
import sklearn.datasets, sklearn.metrics, torch
import mmx.verbs.evaluate, mmx.verbs.predict, mmx.verbs.resume, mmx.verbs.train_checked
from mmx.cli import main
torch.set_num_threads(1)
print("ready", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1]), flush=True)
        continue
    child = os.fork()
    if child == 0:
        os.chdir(job["folder"])
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        code = main(job["words"])
        sys.stdout.flush()
        os._exit(code)
    print(child, flush=True)
"""


@dataclass
class Mmx:
    """Runs command lines in processes of their own.

    Attributes:
        process: That they are forked from.
        folder: Their working directory; what they say is in ``stdout`` and ``stderr``.
    """

    process: subprocess.Popen[str]
    folder: Path

    def _ask(self, **job: Any) -> int:
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("there is no process to ask")
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def start(self, *words: str) -> int:
        """Start ``mmx words``; return its process."""
        return self._ask(folder=str(self.folder), words=words)

    def wait(self, pid: int) -> int:
        """Return the exit code, or minus the signal that ended it."""
        return self._ask(wait=pid)

    def run(self, *words: str) -> int:
        """Return the exit code of ``mmx words``."""
        return self.wait(self.start(*words))

    def said(self) -> str:
        """Return what the last command said on stdout and stderr."""
        return "".join((self.folder / name).read_text() for name in ("stdout", "stderr"))

    def path(self) -> Path:
        """Return the directory that the last command named."""
        return self.folder / (self.folder / "stdout").read_text().strip()


def write_table(folder: Path, name: str, seed: int, rows: int = 90) -> None:
    """Write images, numbers and labels that belong together."""
    draw, lines = np.random.default_rng(seed), ["photo,a,label,split"]
    for row in range(rows):
        label = row % 3
        pixels = draw.integers(0, 90, (8, 8, 3)) + 60 * label
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{row}.png")
        split = ("train", "val", "test", "train", "train")[row // 3 % 5]
        lines.append(f"{name}{row}.png,{label + draw.normal():.3f},{'xyz'[label]},{split}")
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def words(*more: str, epochs: int = 4) -> list[str]:
    """Return the command line of a small transfer."""
    columns = "{image: photo, tabular: [a]}"
    tasks = [
        word
        for role, name in (("source", "one"), ("target", "two"))
        for word in (
            f"{role}=table",
            f"{role}.name={name}",
            f"{role}.path={name}.csv",
            f"{role}.label=label",
            f"{role}.columns={columns}",
            f"{role}.split=split",
        )
    ]
    size = ["encoder.image.width=8", "encoder.tabular.width=8", "encoder.tabular.hidden=8"]
    trainer = [f"trainer.epochs={epochs}", "trainer.batch_size=12", "trainer.workers=0"]
    saving = ["trainer.threads=1", "trainer.checkpoint_seconds=0.02", "device=cpu", "cache=cache"]
    return ["train", *tasks, *size, *trainer, *saving, *more]


def numbers(run: Path) -> dict[str, Any]:
    """Return all numbers of a run but its durations."""
    summary = json.loads((run / "summary.json").read_text())
    found = {key: summary[key] for key in ("source", "target", "control", "gain", "params")}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {**found, "lines": [{k: v for k, v in each.items() if k != "seconds"} for each in lines]}


def flip(path: Path, chance: random.Random) -> int:
    """Change one bit of a file; return which."""
    data = bytearray(path.read_bytes())
    bit = chance.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return bit


def with_content(folder: Path) -> list[Path]:
    """Return the files below a folder that hold anything."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_size)


@dataclass
class Flip:
    """One changed bit and what came of it."""

    file: str
    bit: int
    verb: str
    noticed: bool
    answer: str


def verb_for(name: str) -> str:
    """Return the verb that reads a file of a finished run."""
    if name.startswith("checkpoints/"):
        return "eval" if "target" in name else "resume"
    return {"metrics.jsonl": "compare", "manifest.json": "reproduce"}.get(name, "predict")


def flips(mmx: Mmx, count: int, chance: random.Random) -> Iterator[Flip]:
    """Yield what came of flips in a finished run, one that was stopped, and the cache."""
    if mmx.run(*words()) != 0:
        raise SystemExit(mmx.said())
    whole = mmx.path()
    other = words("fusion=gmu", "transfer=parameter", "transfer.fusion=false")
    if mmx.run(*other) != 0:
        raise SystemExit(mmx.said())
    run = mmx.path()
    stopped = interrupted(mmx, words("cache=off", epochs=12))
    finished = with_content(run)
    unfinished = [p for p in with_content(stopped) if p.parent.parent.name == "checkpoints"]
    unfinished += [stopped / name for name in ("config.yaml", "status.json", "metrics.jsonl")]
    cached = with_content(mmx.folder / "cache")
    places = [*finished, *unfinished, *cached]
    places += [chance.choice(places) for _ in range(count - len(places))]
    takers = [(words(), numbers(whole)), (other, numbers(run))]
    for path in places:
        if path.is_relative_to(mmx.folder / "cache"):
            yield flip_of_cache(mmx, path, chance, takers)
        elif path.is_relative_to(stopped):
            yield flip_of_stopped(mmx, stopped, path, chance)
        else:
            yield flip_of_finished(mmx, run, path, chance)


def flip_of_finished(mmx: Mmx, run: Path, path: Path, chance: random.Random) -> Flip:
    """Flip a bit in a finished run, ask the verb that reads the file, and put it back."""
    kept, name = path.read_bytes(), path.relative_to(run).as_posix()
    bit, verb = flip(path, chance), verb_for(name)
    code = mmx.run(verb, str(run), *([str(run)] if verb == "compare" else []))
    said = mmx.said()
    path.write_bytes(kept)
    noticed = code in (1, 2) and path.name in said
    return Flip(name, bit, verb, noticed, first_line(said))


def flip_of_stopped(mmx: Mmx, stopped: Path, path: Path, chance: random.Random) -> Flip:
    """Flip a bit in a copy of a run that was stopped, and resume it."""
    copy = stopped.with_name(f"{stopped.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(stopped, copy)
    name = path.relative_to(stopped).as_posix()
    bit = flip(copy / name, chance)
    code, noticed = mmx.run("resume", str(copy)), path.name in mmx.said()
    said = mmx.said()
    if code == 0:  # made again: the numbers must be those of a run that nothing disturbed
        noticed = noticed and "damaged" in said and numbers(copy) == numbers(undisturbed(mmx))
    line = next((each for each in said.splitlines() if "damaged" in each), first_line(said))
    return Flip(f"(stopped) {name}", bit, "resume", noticed, line)


def flip_of_cache(
    mmx: Mmx, path: Path, chance: random.Random, takers: Sequence[tuple[list[str], dict[str, Any]]]
) -> Flip:
    """Flip a bit in the cache, and run what would take it: each control is of one fusion."""
    bit = flip(path, chance)
    verified = mmx.run("cache", "verify", "--dir", str(mmx.folder / "cache"))
    same, said = True, ""
    for line, expected in takers:
        same = mmx.run(*line) == 0 and numbers(mmx.path()) == expected and same
        said += mmx.said()
    line = next((each for each in said.splitlines() if "made again" in each), first_line(said))
    noticed = verified == 1 and "damaged and made again" in said and same
    return Flip(f"cache/…/{path.name}", bit, "train", noticed, line)


def first_line(said: str) -> str:
    """Return the first line that names a problem."""
    lines = said.splitlines()
    return next((line for line in lines if line.startswith("mmx: ")), lines[0] if lines else "")


_UNDISTURBED: list[Path] = []


def undisturbed(mmx: Mmx) -> Path:
    """Return a run that nothing disturbs, as long as the one that was stopped."""
    if not _UNDISTURBED:
        if mmx.run(*words("cache=off", epochs=12)) != 0:
            raise SystemExit(mmx.said())
        _UNDISTURBED.append(mmx.path())
    return _UNDISTURBED[0]


def interrupted(mmx: Mmx, line: Sequence[str]) -> Path:
    """Return a run that was stopped while its target trained, with two states."""
    before = set(mmx.folder.glob("outputs/runs/2*"))
    pid = mmx.start(*line)
    for _ in range(6000):
        new = set(mmx.folder.glob("outputs/runs/2*")) - before
        if any((path / "checkpoints/target/previous.safetensors").exists() for path in new):
            break
        time.sleep(0.005)
    os.kill(pid, signal.SIGTERM)
    if mmx.wait(pid) != 143:
        raise SystemExit(f"it was not stopped: {mmx.said()}")
    return mmx.path()


@dataclass
class Kill:
    """One process that was killed, and what came of it."""

    what: str
    seconds: float
    hit: bool
    same: bool


def killed(mmx: Mmx, chance: random.Random, longest: float, *line: str) -> tuple[float, bool]:
    """Kill a command at a random moment; return when, and whether it was still at work."""
    seconds, pid = chance.uniform(0.05, longest), mmx.start(*line)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return seconds, mmx.wait(pid) != 0


def timed(mmx: Mmx, *line: str) -> float:
    """Run a command to its end; return its seconds."""
    began = time.perf_counter()
    if mmx.run(*line) != 0:
        raise SystemExit(mmx.said())
    return time.perf_counter() - began


def kills(mmx: Mmx, count: int, chance: random.Random) -> Iterator[Kill]:
    """Yield what came of kills during each kind of work, in turn."""
    sweep = [*words("cache=off", epochs=8), "-m", "seed=1,2"]
    jobs = {
        "sweep": _Sweep(mmx, sweep),
        "resume": _Resume(mmx, words("cache=off", epochs=12)),
        "eval": _Reader(mmx, "eval"),
        "predict": _Reader(mmx, "predict"),
        "cache": _Filler(mmx, words()),
    }
    for turn in range(count):
        name = list(jobs)[turn % len(jobs)]
        yield jobs[name].kill(chance)


class _Sweep:
    """A sweep, killed, and the same command again."""

    def __init__(self, mmx: Mmx, line: list[str]) -> None:
        self.mmx, self.line, self.count = mmx, line, 0
        self.seconds = timed(mmx, *line, "output_dir=whole")
        self.whole = self.answers("whole")

    def answers(self, folder: str) -> list[str]:
        runs = self.mmx.folder.glob(f"{folder}/sweeps/*/runs/*/summary.json")
        return sorted(json.dumps(numbers(path.parent), sort_keys=True) for path in runs)

    def kill(self, chance: random.Random) -> Kill:
        self.count += 1
        folder = f"killed{self.count}"
        line = [*self.line, f"output_dir={folder}"]
        seconds, hit = killed(self.mmx, chance, self.seconds, *line)
        same = self.mmx.run(*line) == 0 and self.answers(folder) == self.whole
        return Kill("sweep", seconds, hit, same)


class _Resume:
    """A run, killed, and resumed."""

    def __init__(self, mmx: Mmx, line: list[str]) -> None:
        self.mmx, self.line = mmx, line
        self.whole = numbers(undisturbed(mmx))
        self.seconds = timed(mmx, *line)

    def kill(self, chance: random.Random) -> Kill:
        before = set(self.mmx.folder.glob("outputs/runs/2*"))
        seconds, hit = killed(self.mmx, chance, self.seconds, *self.line)
        new = set(self.mmx.folder.glob("outputs/runs/2*")) - before
        if not new:  # killed before it had a directory: it is started again
            same = self.mmx.run(*self.line) == 0 and numbers(self.mmx.path()) == self.whole
            return Kill("run, started again", seconds, hit, same)
        (run,) = new
        same = self.mmx.run("resume", str(run)) == 0 and numbers(run) == self.whole
        return Kill("run, resumed", seconds, hit, same)


class _Reader:
    """A verb that reads a finished run, killed, and run again."""

    def __init__(self, mmx: Mmx, verb: str) -> None:
        self.mmx, self.verb, self.run = mmx, verb, undisturbed(mmx)
        self.seconds = timed(mmx, *self.line)
        self.whole = self.answer()

    @property
    def line(self) -> list[str]:
        return [self.verb, str(self.run), *(["suite=missing"] if self.verb == "eval" else [])]

    def answer(self) -> str:
        written = self.run / ("eval/missing.csv" if self.verb == "eval" else "predictions.csv")
        return (self.mmx.folder / "stdout").read_text() + written.read_text()

    def kill(self, chance: random.Random) -> Kill:
        seconds, hit = killed(self.mmx, chance, self.seconds, *self.line)
        same = self.mmx.run(*self.line) == 0 and self.answer() == self.whole
        return Kill(self.verb, seconds, hit, same)


class _Filler:
    """A run that fills a new cache, killed, and another that takes from what is there."""

    def __init__(self, mmx: Mmx, line: list[str]) -> None:
        self.mmx, self.line, self.count = mmx, line, 0
        self.seconds = timed(mmx, *line, "cache=filled")
        self.whole = numbers(mmx.path())

    def kill(self, chance: random.Random) -> Kill:
        self.count += 1
        line = [*self.line, f"cache=filled{self.count}"]
        seconds, hit = killed(self.mmx, chance, self.seconds, *line)
        same = self.mmx.run(*line) == 0 and numbers(self.mmx.path()) == self.whole
        cache = str(self.mmx.folder / f"filled{self.count}")
        same = same and self.mmx.run("cache", "verify", "--dir", cache) == 0
        return Kill("cache fill", seconds, hit, same)


def main() -> int:
    """Flip and kill, print the tables, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=30)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance, command = random.Random(given.seed), [sys.executable, "-c", NURSERY]
    pipe = subprocess.PIPE
    missed = 0
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process,
    ):
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit("mmx cannot be imported")
        mmx = Mmx(process, Path(name))
        for seed, table in enumerate(("one", "two")):
            write_table(mmx.folder, table, seed)
        if given.flips:
            found = []
            for each in flips(mmx, given.flips, chance):
                mark = "noticed" if each.noticed else "MISSED"
                answer = re.sub(rf"{re.escape(name)}/(outputs/runs/[^/ ]+/)?", "", each.answer)
                told = f"{each.verb:9s} {each.file} bit {each.bit}: {answer[:90]}"
                print(f"{mark:8s} {told}", flush=True)
                found.append(each)
            noticed = sum(each.noticed for each in found)
            print(f"flips: {noticed} of {len(found)} noticed\n", flush=True)
            missed += len(found) - noticed
        if given.kills:
            ended = []
            for killing in kills(mmx, given.kills, chance):
                mark = "same" if killing.same else "LOST"
                when = "" if killing.hit else " (it had ended)"
                print(
                    f"{mark:8s} {killing.what:20s} after {killing.seconds:.2f} s{when}", flush=True
                )
                ended.append(killing)
            same, hit = sum(e.same for e in ended), sum(e.hit for e in ended)
            print(f"kills: {hit} of {len(ended)} hit work under way; {same} with the same numbers")
            missed += len(ended) - same
        if process.stdin is not None:
            process.stdin.close()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
