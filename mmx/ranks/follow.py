"""The inside of a follower: it takes part in one run, in a copy of its directory."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path

import torch

from mmx import stages
from mmx.errors import Interrupted, ProcessError
from mmx.experiment import Experiment, assemble
from mmx.ranks import torchrun
from mmx.ranks.connection import Connection, RankEnd, RankJob, connect_by_torchrun, connect_in
from mmx.runs.directory import RunDirectory
from mmx.training.events import Event, StopRequest, release_signals, stop_on_signals
from mmx.training.precision import choose_device

NEVER = 1e9
"""Seconds between two saves of a follower, which has nothing to save."""
KILLED_SECONDS = 0.5
"""Time in which a process that is killed ends after its files are closed."""
REMOVE_SECONDS = 5.0
"""Time in which the folder of a leader that was killed is removed."""
LEFT_ALONE = 1
"""The exit code where the connection to the other processes is closed."""


def follow() -> None:
    """Follow the process that has started this one; its arguments are folder, rank and size."""
    folder, rank, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    watch = _end_with_leader(folder)
    code = take_part(connect_in(folder, rank, size), rank, folder / f"rank-{rank}")
    if code == LEFT_ALONE:  # perhaps since the leader was killed: then its folder is removed first
        watch.join(REMOVE_SECONDS)
    sys.exit(code)


def follow_by_torchrun() -> int:
    """Follow the first process that torchrun has started, and return the exit code.

    It is 0 however the run ends: the first process says that. Where one process returns another
    code, torchrun stops all others, and so the first one while it saves its state.
    """
    connection = connect_by_torchrun()
    with tempfile.TemporaryDirectory(prefix="mmx-rank-") as folder:
        try:
            take_part(connection, torchrun.find_local_rank(), Path(folder) / "run")
        except Exception:
            traceback.print_exc()
    return 0


def take_part(connection: Connection, place: int, copy: Path) -> int:
    """Take part in the run that the first process gives; return the exit code.

    Args:
        connection: To the other processes.
        place: The number of this process among those of its machine.
        copy: Where the copy of the run directory is made.
    """
    try:
        with stop_on_signals() as stop:
            release_signals()
            job = connection.wait_for_job(stop)
            if job is not None:
                _run(job, connection, place, copy, stop)
    except Interrupted as error:
        connection.say_end(RankEnd(error.message, error.signal_number))
        return error.exit_code
    except KeyboardInterrupt:
        connection.say_end(RankEnd("stopped at once", signal.SIGINT))
        return 130
    except ProcessError:  # the first process knows, or has ended itself
        return LEFT_ALONE
    except BaseException as error:
        connection.say_end(RankEnd(str(error) or type(error).__name__))
        raise
    return 0


def _run(job: RankJob, connection: Connection, place: int, copy: Path, stop: StopRequest) -> None:
    experiment = _make_silent(assemble(job.config, job.allowed, job.names))
    device = choose_device(experiment.settings.device)
    if device.type == "cuda":
        torch.cuda.set_device(place)
    # The lock is the leader's: it alone holds the run.
    shutil.copytree(job.directory, copy, ignore=shutil.ignore_patterns(".lock"))
    connection.say_ready()
    with connection.open_group(device, job.threads, _say_closed):
        stages.run(experiment, RunDirectory(copy), _hear_nothing, stop, cached=job.cached)


def _make_silent(experiment: Experiment) -> Experiment:
    """Return an experiment of which nobody is told, and that saves no states."""
    trainer = replace(experiment.trainer, checkpoint_seconds=NEVER)
    return replace(experiment, trainer=trainer, tracker=None, callbacks=())


def _hear_nothing(event: Event) -> None:
    """Do nothing: the first process tells of the run."""


def _say_closed(error: Exception) -> Exception:
    return ProcessError(f"the connection to the other processes is closed: {error}")


def _end_with_leader(folder: Path) -> threading.Thread:
    """End this process at once when the one that started it has, and has closed its end.

    Returns:
        The thread that waits for that.
    """
    leader = os.getppid()

    def watch() -> None:
        # Not through sys.stdin: a process that is forked meanwhile could never close it.
        while os.read(0, 4096):
            pass
        # The system closes the files of a process that is killed before it ends the process.
        until = time.monotonic() + KILLED_SECONDS
        while os.getppid() == leader and time.monotonic() < until:
            time.sleep(0.01)
        if os.getppid() != leader:  # it was killed, and removes nothing any more
            _remove(folder)
        # sys.exit would end this thread alone, and the main one may wait for the leader in torch.
        os._exit(LEFT_ALONE)

    thread = threading.Thread(target=watch, daemon=True, name="mmx-leader")
    thread.start()
    return thread


def _remove(folder: Path) -> None:
    """Remove a folder into which another thread may still write for a moment."""
    until = time.monotonic() + REMOVE_SECONDS
    while folder.exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)
