"""``hydra/launcher=submitit``: the jobs of a sweep as an array of jobs on SLURM.

A job that SLURM is about to take away (SIGUSR1 or SIGUSR2, which submitit asks for before a time
limit) saves its run, puts itself back into the queue and goes on exactly where it stopped.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmx.extras import import_extra
from mmx.workers.messages import Ended, Message
from mmx.workers.remote import TAKEN_AWAY, Follower, LostJobError, RemoteJob, Submitted
from mmx.workers.worker import Work

OF_SLURM = ("partition", "account", "qos", "constraint", "array_parallelism", "signal_delay_s")
"""Options that go to ``sbatch`` alone."""
DEFAULTS: dict[str, Any] = {"timeout_min": 240, "cpus_per_task": 1, "max_num_timeout": 100}
SHOWN = 300
"""Characters shown of why a job was lost."""


@dataclass
class SubmititJob(RemoteJob):
    """A job that puts itself back into the queue where it is taken away."""

    def __call__(self, number: int) -> list[Message]:
        """Run a job; see :class:`~mmx.workers.remote.RemoteJob`.

        Raises:
            SystemExit: The job is back in the queue.
        """
        submitit = import_extra("submitit", "submitit")
        requeue = _find_handler()
        found = super().__call__(number)
        last = found[-1]
        taken = last.code if isinstance(last, Ended) and last.code in TAKEN_AWAY else 0
        if taken and requeue is not None and submitit.JobEnvironment().cluster == "slurm":
            requeue(taken - 128, None)
        return found

    def checkpoint(self, number: int) -> Any:
        """Return what SLURM starts again: the same job, which finds what its run has saved."""
        submitit = import_extra("submitit", "submitit")
        return submitit.helpers.DelayedSubmission(self, number)


def _find_handler() -> Callable[[int, Any], Any] | None:
    """Return what submitit does on the signal before a machine is taken away."""
    for name in ("SIGUSR2", "SIGUSR1"):
        found = signal.getsignal(getattr(signal, name)) if hasattr(signal, name) else None
        if callable(found):
            return found
    return None


@dataclass(frozen=True)
class _Job:
    """A job in the queue."""

    job: Any
    uncompleted: type[Exception]

    def poll(self) -> list[Message] | None:
        """Return what it told; None while it waits or runs. Raises LostJobError."""
        if not self.job.done():
            return None
        try:
            found: list[Message] = self.job.result()
        except self.uncompleted as error:
            raise LostJobError(_shorten(error)) from error
        except Exception as error:
            return [Ended(1, _shorten(error))]
        return found

    def withdraw(self) -> None:
        """Take it out of the queue if it has not begun."""
        if self.job.state == "PENDING":
            with contextlib.suppress(Exception):
                self.job.cancel(check=False)


def _shorten(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:SHOWN]


def run_on_submitit(
    work: Work,
    jobs: Sequence[int],
    options: Mapping[str, Any],
    folder: Path,
    follow: Callable[..., Follower],
    until: float | None,
) -> int:
    """Run jobs on SLURM, or with ``cluster: local`` as processes of this machine.

    Args:
        work: Runs a job by its number.
        jobs: Their numbers.
        options: Of the launcher.
        folder: Where submitit keeps its files; every machine must see it.
        follow: Makes what follows the jobs, of ``submit``.
        until: When the budget of time is used up, in seconds since 1970; None for none.

    Returns:
        0, or the exit code of a sweep that was stopped.
    """
    submitit = import_extra("submitit", "submitit", "hydra/launcher=submitit")
    given = {**DEFAULTS, **options}
    cluster = str(given.pop("cluster", "slurm"))
    own = folder / secrets.token_hex(4)  # its files are pickles: none that lay there are read
    remote = SubmititJob(work, int(given["cpus_per_task"]))
    executor = _make_executor(submitit, cluster, own, given)

    def submit(numbers: Sequence[int]) -> list[Submitted]:
        made = executor.map_array(remote, list(numbers))
        return [_Job(job, submitit.core.utils.UncompletedJobError) for job in made]

    code = follow(submit=submit).run(jobs, until)
    if not code:
        shutil.rmtree(own, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
    return code


def _make_executor(submitit: Any, cluster: str, folder: Path, given: Mapping[str, Any]) -> Any:
    """Return submitit's executor with the options of the launcher.

    Raises:
        RuntimeError: There is no SLURM here.
    """
    most = given["max_num_timeout"]
    own = {"slurm_max_num_timeout": most} if cluster == "slurm" else {}
    executor = submitit.AutoExecutor(folder=str(folder / "%j"), cluster=cluster, **own)
    chosen = {"name": "mmx"}
    for key, value in given.items():
        if key == "max_num_timeout" or value is None:
            continue
        if key not in OF_SLURM:
            chosen[key] = value
        elif cluster == "slurm":
            chosen[f"slurm_{key}"] = value
    executor.update_parameters(**chosen)
    return executor
