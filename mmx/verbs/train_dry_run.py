"""``mmx train --dry-run``: what a command line would run, without making or training anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmx.reports.sweep_view import format_time
from mmx.runs import sweep
from mmx.runs.earlier_times import estimate_seconds, find_earlier_seconds
from mmx.runs.standing import Standing
from mmx.runs.variation import join_overrides
from mmx.verbs.preflight import Job
from mmx.verbs.train_sweep import plan_jobs
from mmx.verbs.train_workers import describe_sources, plan_sweep_workers
from mmx.workers.plan import WorkerPlan


def show_dry_run(found: Sequence[Job], where: Path | None, *, multirun: bool) -> int:
    """Print what would run, and return the exit code.

    Args:
        found: The jobs of a command line, checked.
        where: The directory of the run or sweep, if the user named one.
        multirun: Whether it is a sweep.
    """
    output = Path(found[0].experiment.settings.output_dir)
    if not multirun:
        print(f"would run {_name(found[0])} in {where or output / 'runs'}")
        print(_describe_time(found, output, 1))
        return 0
    jobs = plan_jobs(found)
    planned = sweep.find_sweep(output, jobs, where)
    words: list[str] = []
    for job, wanted in zip(found, (each.wanted for each in jobs), strict=True):
        word, text = _describe(planned.find_standing(wanted), _name(job))
        words.append(word)
        print(text)
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    print(f"{len(found)} jobs in {planned.path}: {counts}")
    if found[0].composed.launcher.name != "basic":
        print(f"on hydra/launcher={found[0].composed.launcher.name}")
    else:
        workers = plan_sweep_workers(found, [each.wanted.key for each in jobs])
        print(_describe_workers(workers))
        left = [job for job, word in zip(found, words, strict=True) if word != "done"]
        if left:
            if sources := describe_sources(left, workers):
                print(sources)
            print(_describe_time(left, output, workers.processes))
    return 0


def _name(job: Job) -> str:
    return join_overrides(job.composed.overrides) or "the default experiment"


def _describe(standing: Standing, name: str) -> tuple[str, str]:
    """Return what would happen to a job, as one word and as a line."""
    if standing.done is not None:
        return "done", f"done {name}: {standing.done.path}"
    if standing.unfinished is not None:
        return "to resume", f"would resume {name}: {standing.unfinished.path}"
    if standing.outdated is not None:
        return "to run again", f"would run again {name}: {standing.why}"
    return "to run", f"would run {name}"


def _describe_time(left: Sequence[Job], output: Path, at_once: int) -> str:
    """Return how long jobs will take by earlier runs, or why that is not known.

    Args:
        left: Those that are not done.
        output: Folder of all outputs, whose runs are looked at.
        at_once: How many run at the same time.
    """
    planned = [(job.experiment.names, job.experiment.config) for job in left]
    found = find_earlier_seconds(output, planned)
    known = [each for each in found if each]
    if not known:
        return (
            f"time: not known, since {output} has no finished run with these parts, controls, "
            "epochs and batch size; a sweep tells it after its first steps"
        )
    seconds = estimate_seconds(known, at_once)
    runs = sum({id(each): len(each) for each in known}.values())  # like jobs share their runs
    earlier = "1 earlier run" if runs == 1 else f"{runs} earlier runs"
    text = f"time: about {format_time(seconds)}, from {earlier} with the same parts and epochs"
    new = len(found) - len(known)
    return f"{text}; {new} of {len(found)} jobs have none, and are not in it" if new else text


def _describe_workers(plan: WorkerPlan) -> str:
    return "one after the other" if plan.processes == 1 else plan.describe()
