"""``hydra/launcher=ray``: the jobs of a sweep as tasks of a Ray cluster.

Without ``address``, a cluster of this machine alone is started and ended. A task whose worker or
machine is lost is started again by mmx, and goes on from what its run had saved.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmx.extras import import_extra
from mmx.workers.machine import count_cores
from mmx.workers.messages import Ended, Message
from mmx.workers.remote import Follower, LostJobError, RemoteJob, Submitted
from mmx.workers.worker import Work

LONGEST_FOLDER = 40
"""Bytes of the folder of Ray's sockets, whose whole paths must stay below 107."""


@dataclass(frozen=True)
class _Task:
    """A task of the cluster."""

    ray: Any
    reference: Any

    def poll(self) -> list[Message] | None:
        """Return what it told; None while it waits or runs. Raises LostJobError."""
        ready, _ = self.ray.wait([self.reference], timeout=0)
        if not ready:
            return None
        errors = self.ray.exceptions
        lost = (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError)
        try:
            found: list[Message] = self.ray.get(self.reference)
        except lost as error:
            raise LostJobError(f"its worker was lost ({type(error).__name__})") from error
        except Exception as error:
            return [Ended(1, f"{type(error).__name__}: {str(error).splitlines()[0]}")]
        return found

    def withdraw(self) -> None:
        """Nothing: a task that begins sees that the sweep is cancelled, and ends."""


def run_on_ray(
    work: Work,
    jobs: Sequence[int],
    options: Mapping[str, Any],
    follow: Callable[..., Follower],
    until: float | None,
) -> int:
    """Run jobs on a Ray cluster.

    Args:
        work: Runs a job by its number.
        jobs: Their numbers.
        options: Of the launcher.
        follow: Makes what follows the jobs, of ``submit``.
        until: When the budget of time is used up, in seconds since 1970; None for none.

    Returns:
        0, or the exit code of a sweep that was stopped.
    """
    cpus, gpus = int(options.get("num_cpus", 1)), float(options.get("num_gpus", 0))
    with _connect(options.get("address"), cpus) as ray:
        # mmx starts lost jobs again itself, and says so.
        job = RemoteJob(work, cpus)

        def run(number: int) -> list[Message]:
            return job(number)

        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(run)

        def submit(numbers: Sequence[int]) -> list[Submitted]:
            return [_Task(ray, task.remote(number)) for number in numbers]

        return follow(submit=submit).run(jobs, until)


@contextmanager
def _connect(address: object, cpus: int) -> Iterator[Any]:
    """Connect to a cluster, or start one of this machine for the time of the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to its makers
    if address is None:
        # Else Ray would leave one in the home directory.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray = import_extra("ray", "ray", "hydra/launcher=ray")
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if address is not None:
        ray.init(address=str(address), **quiet)
        try:
            yield ray
        finally:
            ray.shutdown()
        return
    place = tempfile.gettempdir()
    place = place if len(place) < LONGEST_FOLDER else "/tmp"
    folder = tempfile.mkdtemp(prefix="mmx-ray-", dir=place)
    try:
        ray.init(
            num_cpus=max(cpus, count_cores()),
            include_dashboard=False,
            _temp_dir=folder,
            **quiet,
        )
        yield ray
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
