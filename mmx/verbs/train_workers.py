"""The jobs of a sweep in several workers of this machine."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from mmx.config.composed import Composed
from mmx.config.launch import find_launcher_of_all
from mmx.controls import find_control
from mmx.errors import ConfigError, Problem
from mmx.experiment import Experiment
from mmx.experiment.settings import Jobs
from mmx.quoting import format_value
from mmx.reports.sweep_view import open_sweep_view
from mmx.runs.sweep_process import request_cancel
from mmx.runs.variation import name_jobs
from mmx.stages.core.kept_sources import count_sources
from mmx.training.precision import choose_device
from mmx.verbs.preflight import Job
from mmx.verbs.train_job import Audience, SweepJob
from mmx.workers.plan import WorkerPlan, plan_workers
from mmx.workers.pool import Pool
from mmx.workers.remote import Follower, plan_remote
from mmx.workers.worker import Teller

NEEDED_BY_RUNS = ("sklearn.metrics", "torch.nn.attention", "mmx.training.fit")
"""Modules that a run imports when it comes to them, since they are slow to import."""


@dataclass
class _Work:
    """Runs the jobs of a sweep by their numbers; a worker that is no fork assembles them anew."""

    task: SweepJob
    composed: Sequence[Composed]
    experiments: Sequence[Experiment] | None

    def __call__(self, number: int, teller: Teller) -> None:
        audience = Audience.of(teller)
        if self.experiments is None:
            self.task(self.composed[number], audience)
        else:
            self.task.run(self.composed[number], self.experiments[number], audience)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process receives: experiments hold classes of one's own."""
        return {**self.__dict__, "experiments": None}


def plan_sweep_workers(found: Sequence[Job], keys: Sequence[str]) -> WorkerPlan:
    """Return how the jobs of a sweep share this machine.

    Args:
        found: The jobs.
        keys: What tells each from the others; equal ones share a run.

    Raises:
        ConfigError: They give different numbers of jobs at a time.
    """
    jobs = find_jobs(found)
    threads = {job.experiment.trainer.threads for job in found}
    given = max((each for each in threads if each is not None), default=None)
    cuda = any(choose_device(job.experiment.settings.device).type == "cuda" for job in found)
    size = max(job.experiment.settings.processes for job in found)
    return plan_workers(jobs, len(set(keys)), given, cuda=cuda, size=size)


def count_trained_stages(found: Sequence[Job]) -> list[int]:
    """Return how many stages each job trains in epochs; 0 where a search decides that."""
    counts = []
    for job in found:
        experiment = job.experiment
        controls = sum(find_control(name).trained for name in experiment.controls)
        count = 1 + bool(experiment.trains_source) + controls
        counts.append(count if experiment.transfer.search is None else 0)
    return counts


def describe_sources(found: Sequence[Job], plan: WorkerPlan) -> str:
    """Return from how many sources jobs start, and which the cache has; "" where none is trained.

    Args:
        found: The jobs.
        plan: How they share this machine.
    """
    alone = [job.experiment for job in found if job.experiment.settings.processes == 1]
    starting = [each for each in alone if each.trains_source and not each.joint]
    if not starting:
        return ""
    sources, kept = count_sources(starting, plan.threads or torch.get_num_threads())
    jobs = "1 job starts" if len(starting) == 1 else f"{len(starting)} jobs start"
    once = "1 source" if sources == 1 else f"{sources} sources, each trained once"
    same = ", if its data is the same" if kept == 1 else ", if their data is the same"
    there = f"{kept} in the cache{same}; " if kept else ""
    return f"{jobs} from {once}: {there}{sources - kept} to train"


def find_jobs(found: Sequence[Job]) -> Jobs:
    """Return ``jobs`` of a sweep, which is one for all of it."""
    given: list[Jobs] = [job.composed.config.get("jobs", "auto") for job in found]
    if any(each != given[0] for each in given):
        text = f"jobs={','.join(format_value(each) for each in dict.fromkeys(given))}"
        reason = "is how many jobs run at the same time, and a sweep has one such number"
        raise ConfigError([Problem(text, reason, type_this="jobs=auto")])
    return given[0]


def run_in_workers(task: SweepJob, found: Sequence[Job], plan: WorkerPlan) -> int:
    """Run the jobs of a sweep side by side.

    Args:
        task: Runs one of them.
        found: The jobs.
        plan: How they share this machine.

    Returns:
        0, or the exit code of a sweep that a signal stopped.
    """
    work = _Work(task, [job.composed for job in found], [job.experiment for job in found])
    names = name_jobs([job.overrides for job in found])
    if plan.forks:
        _import_for_all()
    with (
        open_sweep_view(names, plan, stages=count_trained_stages(found)) as view,
        Pool(work, plan, view.hear, view.tick) as pool,
    ):
        return pool.run(range(len(found)), task.until)


def _import_for_all() -> None:
    """Import what every run needs at some time, so that forks need not import it each."""
    for name in NEEDED_BY_RUNS:
        importlib.import_module(name)


def run_on_cluster(task: SweepJob, found: Sequence[Job]) -> int:
    """Run the jobs of a sweep on the cluster that their launcher names.

    Args:
        task: Runs one of them.
        found: The jobs.

    Returns:
        0, or the exit code of a sweep that was stopped.

    Raises:
        ConfigError: They name different launchers.
    """
    launcher = find_launcher_of_all([job.composed for job in found])
    work = _Work(task, [job.composed for job in found], None)
    jobs = range(len(found))
    plan, at_once = plan_remote(launcher.name, launcher.options, len(found))
    with open_sweep_view(name_jobs([job.overrides for job in found]), plan) as view:
        follow = partial(
            Follower,
            hear=view.hear,
            tick=view.tick,
            cancel=partial(request_cancel, task.sweep.path),
            at_once=at_once,
        )
        if launcher.name == "ray":
            from mmx.workers.ray_jobs import run_on_ray

            return run_on_ray(work, jobs, launcher.options, follow, task.until)
        from mmx.workers.submitit_jobs import run_on_submitit

        folder = task.sweep.path / ".submitit"
        return run_on_submitit(work, jobs, launcher.options, folder, follow, task.until)
