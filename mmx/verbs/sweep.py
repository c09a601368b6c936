"""``mmx sweep``: the sweeps of an output folder, what became of their jobs, and going on.

    mmx sweep ls
    mmx sweep status 770c6621
    mmx sweep resume 770c6621     runs what is not done, as the same command typed again does
    mmx sweep retry 770c6621      runs the jobs that failed, and no others
    mmx sweep cancel 770c6621     stops it: its runs are saved, and go on with resume

A sweep is named by its id or its directory; searches of mmx search count as sweeps. What is shown
comes from files, so it is the same on every machine that sees the folder, and for jobs on a
cluster. cancel signals the process of the sweep where it is on this machine; jobs on other machines
save and end within seconds, and those that wait in a queue end as soon as they begin.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from mmx.errors import RunError, UsageError, closest
from mmx.printable import one_line, shorten
from mmx.runs.directory import RunDirectory
from mmx.runs.stored_sweep import (
    StoredJob,
    StoredSweep,
    find_last_start,
    find_sweep_directory,
    list_sweeps,
    read_sweep,
)
from mmx.runs.sweep_process import list_processes, request_cancel
from mmx.runs.variation import name_jobs
from mmx.verbs.arguments import Parser, list_allowed_packages

SUMMARY = "list, follow, resume, retry and cancel sweeps"
PLACE = 22
WORDS = ("ls", "status", "resume", "retry", "cancel")
COMPLETES = {"words": ("ls", "status", "resume", "retry", "cancel"), "sweeps": True}
WAIT_SECONDS = 120.0
"""Longest time that cancel waits for a process to save its runs."""
COMMAND = 100
"""Characters shown of a command line."""


def main(arguments: Sequence[str]) -> int:
    """Do what the first word says, and return the exit code."""
    if not arguments:
        raise UsageError(f"mmx sweep needs one of {', '.join(WORDS)}", tip="mmx sweep ls")
    if not arguments[0].startswith("-") and arguments[0] not in WORDS:
        near = closest(arguments[0], WORDS) or "ls"
        raise UsageError(
            f"mmx sweep has no {arguments[0]!r}; it has {', '.join(WORDS)}", tip=f"mmx sweep {near}"
        )
    given = _parse(arguments)
    root = given.output_dir
    if given.what == "ls":
        return _list(root, as_json=given.json)
    if given.sweep is None:
        ids = [path.name for path in list_sweeps(root)]
        tip = f"mmx sweep {given.what} {ids[-1]}" if ids else "mmx sweep ls"
        raise UsageError(f"mmx sweep {given.what} needs a sweep", tip=tip)
    path = find_sweep_directory(root, given.sweep, given.what)
    if given.what == "status":
        return _show(read_sweep(path), as_json=given.json)
    if given.what == "cancel":
        return _cancel(path)
    return _go_on(read_sweep(path), given.what, [*given.words, *_flags(given)])


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = Parser("sweep", description=__doc__).with_allow()
    parser.add_argument("what", choices=WORDS, metavar="ls|status|resume|retry|cancel")
    parser.add_argument("sweep", nargs="?", metavar="SWEEP", help="an id, or a directory")
    parser.add_argument("words", nargs="*", metavar="key=value", help="added to a command line")
    parser.add_argument(
        "--config-dir", "-cd", type=Path, action="append", default=[], metavar="DIR",
        help="your own YAML, as for mmx train",
    )  # fmt: skip
    parser.add_argument("--output-dir", type=Path, default=Path("outputs"), metavar="DIR")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser.parse_args(arguments)


def _flags(given: Namespace) -> list[str]:
    places = [f"--config-dir={folder.absolute()}" for folder in given.config_dir]
    return [*(f"--allow={package}" for package in given.allow), *places]


def _list(root: Path, *, as_json: bool) -> int:
    """Print a line for each sweep."""
    rows = []
    for path in list_sweeps(root):
        try:
            found = read_sweep(path)
        except RunError as error:
            print(f"{path.name}: {one_line(error.message)}", file=sys.stderr)
            continue
        started = datetime.fromtimestamp(find_last_start(path)).isoformat(" ", "minutes")
        line = shlex.join(found.argv)
        rows.append({"sweep": path.name, **found.count(), "started": started, "command": line})
    if as_json:
        print("\n".join(map(json.dumps, rows)))
    elif not rows:
        print(one_line(f"no sweeps under {root} yet; mmx train -m seed=1,2 makes one"))
    else:
        cells = [[*map(str, row.values())] for row in rows]
        _print_table([*rows[0]], [[*row[:-1], shorten(row[-1], COMMAND)] for row in cells])
    return 0


def _show(found: StoredSweep, *, as_json: bool) -> int:
    """Print a line for each job of a sweep."""
    names = name_jobs([job.overrides for job in found.jobs])
    rows = [_describe(found, job, name) for job, name in zip(found.jobs, names, strict=True)]
    if as_json:
        print("\n".join(map(json.dumps, rows)))
        return 0
    print(one_line(shlex.join(found.argv)))
    heads = [key for key in rows[0] if any(row[key] for row in rows)] if rows else []
    _print_table(heads, [[row[key] for key in heads] for row in rows])
    counts = ", ".join(f"{count} {word}" for word, count in found.count().items())
    print(f"{len(found.jobs)} jobs in {found.path}: {counts}")
    for process in list_processes(found.path):
        print(f"process {process.pid} on {process.host} works on it")
    return 0


def _describe(found: StoredSweep, job: StoredJob, name: str) -> dict[str, str]:
    """Return the cells of a job: what it is, how it stands, its metric, and why it ended."""
    entry = job.entry
    row = {"job": name or "the only job", "status": job.status}
    if entry is None:
        return {**row, "metric": "", "seconds": "", "run": "", "why": ""}
    first = next(((key, value) for key, value in entry["test"].items() if key != "loss"), None)
    metric = f"{first[0]} {first[1]:.3f}" if first else ""
    if job.status == "running":
        metric = _find_progress(RunDirectory(found.path / entry["run"]))
    why = entry["error"] or ""
    if job.status == "killed":
        why = why or "its process is gone"
    seconds = "" if entry["seconds"] is None else f"{entry['seconds']:.1f}"
    run = entry["run"].removeprefix("runs/")
    return {**row, "metric": metric, "seconds": seconds, "run": run, "why": why}


def _find_progress(directory: RunDirectory) -> str:
    """Return how far a run is that is under way."""
    try:
        lines = directory.metrics()
    except RunError:
        return ""
    return f"{lines[-1]['stage']} epoch {lines[-1]['epoch']}" if lines else ""


def _cancel(path: Path) -> int:
    """Stop a sweep; return 0 once nothing of it runs on this machine."""
    before = read_sweep(path).count()
    processes = list_processes(path)
    if not processes and not before["running"]:
        print(f"nothing of {path} is running", file=sys.stderr)
        return 1
    request_cancel(path)
    here = [process for process in processes if process.is_here]
    for process in here:
        os.kill(process.pid, signal.SIGTERM)
    until = time.monotonic() + WAIT_SECONDS
    while here and time.monotonic() < until:
        time.sleep(0.1)
        here = [process for process in list_processes(path) if process.is_here]
    if here:
        print(f"process {here[0].pid} has not ended yet: it is saving", file=sys.stderr)
        return 1
    left = read_sweep(path).count()
    if left["running"]:
        print(f"{left['running']} jobs on other machines save and end within seconds")
    print(f"cancelled {path}: {left['done']} done; the rest: mmx sweep resume {path.name}")
    return 0


def _go_on(found: StoredSweep, what: str, typed: Sequence[str]) -> int:
    """Run the command line of a sweep again; of ``retry``, its failed jobs alone.

    Raises:
        RunError: Nothing records the command line.
        UsageError: Some words of it have to be typed again.
    """
    verb = found.argv[1] if len(found.argv) > 1 and found.argv[0] == "mmx" else ""
    if verb not in ("train", "matrix", "search"):
        raise RunError(
            f"{found.path} does not record the command line that began it",
            tip="type that command again: what is done is not run again",
        )
    only = None
    if what == "retry":
        only = [place for place, job in enumerate(found.jobs) if job.status == "failed"]
        if not only:
            print(f"no job of {found.path} has failed", file=sys.stderr)
            return 0
        if verb != "train":
            tip = f"mmx sweep resume {found.path.name}"
            raise UsageError(f"mmx sweep retry is for sweeps of mmx train, not {verb}", tip=tip)
    from mmx.verbs.sweep_line import Continuation, make_words  # imports torch

    path = found.path.absolute()
    words = make_words(found, what, typed)
    print(one_line(f"mmx {verb} {shlex.join(words)}"), file=sys.stderr)
    _enter_folder(found, what, typed)
    if verb == "train":
        from mmx.verbs.train_checked import run_line  # builds and trains: slow to import

        line = ["mmx", verb, *words]
        return run_line(words, found.argv, Continuation(path, found.jobs, line, only))
    from mmx.verbs import matrix, search

    run = matrix.main if verb == "matrix" else search.main
    return run([*words, f"hydra.sweep.dir={path}"])


def _enter_folder(found: StoredSweep, what: str, typed: Sequence[str]) -> None:
    """Go to the folder where a sweep was begun, to which the paths of its line are relative.

    Raises:
        UsageError: Packages are allowed, which would be imported from that folder.
    """
    if not found.cwd or not Path(found.cwd).is_dir() or Path(found.cwd).samefile(Path.cwd()):
        return
    allowed = [word.partition("=")[2] for word in typed if word.startswith("--allow=")]
    if allowed := list_allowed_packages(allowed):
        folder, name = shlex.quote(found.cwd), shlex.quote(str(found.path.absolute()))
        raise UsageError(
            f"{found.path} was begun in {found.cwd}, from which {', '.join(allowed)} would be "
            "imported: go there yourself, if you trust what it holds",
            tip=f"cd {folder} && mmx sweep {what} {name} {shlex.join(typed)}",
        )
    os.chdir(found.cwd)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [heads, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"{{:{width}}}" for width in widths)
    print("\n".join(form.format(*row).rstrip() for row in lines))
