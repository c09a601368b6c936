"""One experiment in one run directory: status, signals, log, and what went wrong."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypedDict

from mmx import stages
from mmx.errors import Interrupted, MemoryExceededError, MmxError
from mmx.experiment import Experiment
from mmx.experiment.config_fingerprint import list_places
from mmx.experiment.followers import Followers
from mmx.experiment.identify import find_used_packages, record_identity, record_published
from mmx.experiment.task_names import find_source_name, find_target_name
from mmx.json_object import Json
from mmx.printable import shorten
from mmx.ranks.lead import find_threads, lead, require_processes
from mmx.reports import report
from mmx.runs import ending, index, recorded
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.runs.metrics_log import MetricsLog
from mmx.runs.surroundings import describe_surroundings, list_packages, read_code_patch
from mmx.runs.sweep_process import watch_for_cancel
from mmx.stage_id import StageId
from mmx.stages.selection.validated import Judge, train_validated
from mmx.training.events import Event, EventKind, Listener, StopRequest, stop_on_signals
from mmx.training.memory import is_out_of_memory, name_full_memory
from mmx.yaml_text import dump_yaml

Say = Callable[[str], None]
Write = Callable[[], Json]
RunWork = Callable[[Listener, StopRequest], Write]
"""Does what a run is for; returns what writes its results, and returns them."""
Limits = tuple[float | None, tuple[int, int] | None]
"""When a run's budget of time is used up, and the request to end that does not stop it."""

TRIAL_FILE = "trial.json"
"""What came out of a trial of a search."""
LOG_FILE = "run.log"
MEMORY_TEXT = 200
"""Characters shown of what a library says of memory that is full."""
LOG_FORMAT = logging.Formatter("%(asctime)s %(message)s")


class RunOutcome(TypedDict, total=False):
    """How a run has ended: its status and exit code and, if it failed, why.

    ``expected`` is false for an exception that is not an :class:`~mmx.errors.MmxError`.
    """

    status: str
    exit_code: int
    error: str
    expected: bool


def create(
    experiment: Experiment,
    where: Path,
    *,
    choices: dict[str, str],
    overrides: Sequence[str],
    unresolved: Json,
    parent: str | None = None,
    exactly: Path | None = None,
    argv: Sequence[str] | None = None,
) -> RunDirectory:
    """Make the run directory of an experiment.

    Args:
        experiment: What will run there.
        where: Folder of runs.
        choices: Config group to chosen option.
        overrides: As they were typed.
        unresolved: The config with its interpolations.
        parent: The run that this one reproduces.
        exactly: The directory to make, instead of one with a new name in ``where``.
        argv: The command line as it was typed; None for that of this process.
    """
    require_processes(experiment)
    typed = list(sys.argv if argv is None else argv)
    manifest = _make_manifest(experiment, choices, overrides, parent, typed)
    files = {
        ".hydra/overrides.yaml": dump_yaml(list(overrides), allow_unicode=False),
        ".hydra/choices.yaml": dump_yaml(choices, sort_keys=True, allow_unicode=False),
        ".hydra/unresolved.yaml": dump_yaml(unresolved),
        "env.txt": list_packages(),
    }
    if patch := read_code_patch():
        files["code.patch"] = patch
    names = find_source_name(experiment), find_target_name(experiment)
    return RunDirectory.create(
        where,
        label="-".join((*names, experiment.find_name("fusion"))),
        fingerprint=experiment.fingerprint,
        config=experiment.config,
        manifest=manifest,
        files=files,
        exactly=exactly,
    )


def _make_manifest(
    experiment: Experiment,
    choices: dict[str, str],
    overrides: Sequence[str],
    parent: str | None,
    argv: list[str],
) -> Manifest:
    """Return what a run must know of its surroundings; see :func:`create`."""
    around, used = describe_surroundings(), find_used_packages(experiment.config)
    machine = around.machine
    if experiment.trainer.threads is not None or experiment.settings.processes > 1:
        machine = machine.model_copy(update={"threads": find_threads(experiment)})
    manifest = Manifest(
        argv=argv,
        cwd=str(Path.cwd()),
        choices=choices,
        names=experiment.names,
        overrides=list(overrides),
        seed=experiment.settings.seed,
        parent=parent,
        data={},
        identity=record_identity(experiment),
        published=record_published(experiment),
        places=list_places(experiment.config),
        versions={**around.versions, **{each.distribution: each.version for each in used}},
        machine=machine,
        code=around.code,
    )
    if not used:
        return manifest
    packages = {each.package: each.distribution for each in used}
    return manifest.model_copy(update={"packages": packages})


def record_resumption(directory: RunDirectory, argv: Sequence[str]) -> None:
    """Add the command line that resumes a run to its manifest."""
    directory.write_manifest(directory.manifest().with_resumption(argv))


def execute(
    experiment: Experiment,
    directory: RunDirectory,
    listen: Listener,
    *,
    cached: bool = True,
    until: float | None = None,
    answered: tuple[int, int] | None = None,
) -> RunOutcome:
    """Run an experiment to its end and return how it ended, without raising what a run can raise.

    What went wrong is written to the run's ``status.json`` and ``traceback.txt``.

    Args:
        experiment: What to run.
        directory: Where its results go.
        listen: Receives the events of the run.
        cached: Whether the artifact cache may be used.
        until: When its budget of time is used up, in seconds since 1970; None for no budget.
        answered: An earlier request to end its sweep, which does not stop this run.
    """
    require_processes(experiment)

    def work(hear: Listener, stop: StopRequest) -> Write:
        with lead(experiment, directory, stop, cached=cached):
            summary = stages.run(experiment, directory, hear, stop, cached=cached)

        def write() -> Json:
            directory.write_json("summary.json", summary.to_json())
            report.write_report(directory)
            return summary.to_json()

        return write

    outcome = _carry_out(experiment, directory, listen, work, (until, answered))
    if outcome["status"] == "done":
        with contextlib.suppress(OSError):  # without an entry, its directory is read instead
            index.add(directory)
    return outcome


def execute_trial(
    experiment: Experiment, directory: RunDirectory, listen: Listener, judge: Judge
) -> RunOutcome:
    """Train an experiment as a trial of a search, which only validation judges.

    What came out is in ``trial.json``; see :class:`~mmx.stages.selection.validated.Validated`.
    Trackers and callbacks are told of the winner's run alone.

    Args:
        experiment: What to train.
        directory: Where its results go.
        listen: Receives the events of the run.
        judge: Asked after each epoch whether to stop early.
    """
    alone = replace(experiment, tracker=None, callbacks=())

    def work(hear: Listener, stop: StopRequest) -> Write:
        found = train_validated(alone, directory, hear, stop, judge)

        def write() -> Json:
            directory.write_json(TRIAL_FILE, asdict(found))
            return asdict(found)

        return write

    return _carry_out(alone, directory, listen, work)


def _carry_out(
    experiment: Experiment,
    directory: RunDirectory,
    listen: Listener,
    work: RunWork,
    limits: Limits = (None, None),
) -> RunOutcome:
    """Do the work of a run between its first status and its last one; return how it ended."""
    recorded.check_all(directory.path, checkpoints=False)
    directory.acquire()
    ending.remove_half_written(directory.path)  # left by a process that was killed
    log = _run_log(directory)
    try:
        followers = Followers(experiment, directory, _tell(directory, listen, log))
        outcome = _run_to_end(directory, work, (listen, log, followers), limits)
        _close(log)  # the digest of its file is recorded
        followers.end(outcome["status"])
        return outcome
    finally:
        _close(log)
        directory.release()


def _run_to_end(
    directory: RunDirectory,
    work: RunWork,
    heard: tuple[Listener, logging.Logger, Followers],
    limits: Limits,
) -> RunOutcome:
    """Do the work in an acquired directory; a signal stops it, but not the writing after it."""
    listen, log, followers = heard
    until, answered = limits
    try:
        recorded.go_on(directory.path)
        directory.set_status("running")
        with stop_on_signals(until) as stop:
            heed = watch_for_cancel(directory.path.parent.parent, stop, answered)
            write = work(_keep(directory, listen, log, followers, heed), stop)
        followers.tell_end(write())
        recorded.finish(directory.path)
        directory.set_status("done")
        return {"status": "done", "exit_code": 0}
    except Interrupted as error:
        told: dict[str, object] = {"error": error.message}
        if error.signal_number is not None:
            told["signal"] = error.signal_number
        ending.end_run(directory, "interrupted", trace=None, **told)
        return {"status": "interrupted", "error": error.message, "exit_code": error.exit_code}
    except KeyboardInterrupt:
        ending.end_run(directory, "interrupted", error="stopped at once", signal=2)
        return {"status": "interrupted", "error": "stopped at once", "exit_code": 130}
    except Exception as error:
        return _fail(directory, log, _explain(error, directory))


def _explain(error: Exception, directory: RunDirectory) -> Exception:
    """Return an error about a full disk or memory as one that says what to type."""
    again = f"mmx resume {shlex.quote(str(directory.path))}"
    if is_out_of_memory(error):
        text = shorten(" ".join(str(error).split()), MEMORY_TEXT) or type(error).__name__
        tip = f"end other programs, in a sweep type jobs=1, then {again}"
        return MemoryExceededError(f"{name_full_memory(error)} is out of memory: {text}", tip=tip)
    return ending.explain_full_disk(error, directory.path, again)


def _tell(directory: RunDirectory, listen: Listener, log: logging.Logger) -> Say:
    """Return what logs a text and shows it to people; nothing that it meets ends a run."""

    def say(text: str) -> None:
        with contextlib.suppress(OSError, SystemExit, MmxError):
            if log.handlers:
                log.info("%s", text)
            else:
                _add_to_ended_log(directory, text)
            listen(Event(EventKind.NOTE, StageId.TARGET, text=text))

    return say


def _add_to_ended_log(directory: RunDirectory, text: str) -> None:
    """Add a line to the log of a run that has ended, and to the record of its digest."""
    line = LOG_FORMAT.format(logging.makeLogRecord({"msg": text}))
    before = (directory.path / LOG_FILE).read_text(encoding="utf-8")
    recorded.rewrite(directory.path, LOG_FILE, f"{before}{line}\n")


def _fail(directory: RunDirectory, log: logging.Logger, error: Exception) -> RunOutcome:
    """Record why a run failed, and return how it ended."""
    expected = isinstance(error, MmxError)
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    trace = traceback.format_exc()
    ending.end_run(directory, "failed", trace=trace, error=text, expected=expected)
    with contextlib.suppress(OSError):
        log.error("%s\n%s", text, trace)
    code = error.exit_code if isinstance(error, MmxError) else 1
    return {"status": "failed", "error": text, "exit_code": code, "expected": expected}


class _Log(logging.FileHandler):
    """A log file that ends the run when it cannot be written, as any other file does."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Raise instead of printing a traceback for each line."""
        raise


def _run_log(directory: RunDirectory) -> logging.Logger:
    # A logger for each run: those of one process must not write into each other's file.
    log = logging.getLogger(f"mmx.run.{directory.path.name}.{os.getpid()}")
    log.propagate = False
    log.setLevel(logging.INFO)
    try:
        handler = _Log(directory.path / LOG_FILE, encoding="utf-8")
    except OSError:  # no space for another file: writing the status will report it
        log.addHandler(logging.NullHandler())
        return log
    handler.setFormatter(LOG_FORMAT)
    log.addHandler(handler)
    return log


def _close(log: logging.Logger) -> None:
    for handler in list(log.handlers):
        with contextlib.suppress(OSError):
            handler.close()
        log.removeHandler(handler)


def _keep(
    directory: RunDirectory,
    listen: Listener,
    log: logging.Logger,
    followers: Followers,
    heed: Callable[[], None],
) -> Listener:
    """Return a listener that records metrics and notes, and passes every event on.

    ``heed`` is called at each event.
    """
    began = time.perf_counter()
    metrics = MetricsLog(directory)
    unheard: list[Event] = []

    def keep(event: Event) -> None:
        with contextlib.suppress(OSError):  # a heartbeat that cannot be written ends no run
            directory.beat()
        heed()
        if event.kind in (EventKind.EPOCH, EventKind.VITALS):
            seconds = round(time.perf_counter() - began, 3)
            # A name such as "val.accuracy" is a split and a metric.
            named = [(*name.partition("."), value) for name, value in event.values.items()]
            lines = [
                {"step": event.step, "split": split, "name": name, "value": value}
                for split, _, name, value in named
            ]
            entries = [{**each, "seconds": seconds} for each in lines]
            metrics.add(str(event.stage), event.epoch, entries)
            log.info("%s epoch %d %s", event.stage, event.epoch, json.dumps(event.values))
            followers.add(event, entries)
        elif event.text:
            log.info("%s %s", event.stage, event.text)
        if not unheard:
            try:
                listen(event)
            except (OSError, SystemExit):  # nobody reads stderr any more; the run continues
                unheard.append(event)

    return keep
