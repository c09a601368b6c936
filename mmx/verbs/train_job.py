"""One job of a sweep: skipped if the sweep has it, resumed if it was stopped, else run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mmx.config.chosen import find_chosen_names
from mmx.config.composed import Composed
from mmx.errors import BUDGET_USED
from mmx.experiment import Experiment, assemble
from mmx.experiment.config_fingerprint import fingerprint, list_places
from mmx.experiment.identify import identify, read_fingerprints
from mmx.reports.view import open_view
from mmx.runs.standing import Standing, Wanted
from mmx.runs.sweep import Sweep
from mmx.runs.sweep_process import CANCELLED, is_cancelled
from mmx.runs.variation import join_overrides
from mmx.terminal import Console
from mmx.verbs.train_single import Watch, continue_run, describe_failure, start_run
from mmx.workers.worker import Teller


@dataclass(frozen=True)
class Audience:
    """Who hears of a job: the console of this process, or another process.

    Attributes:
        say: Takes a line for people, and the style that rich gives it.
        watch: Opens a view of a run's events.
    """

    say: Callable[[str, str | None], None]
    watch: Watch

    @classmethod
    def on_console(cls) -> Audience:
        """Return the console of this process."""
        console = Console(stderr=True)

        def say(text: str, style: str | None = None) -> None:
            console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

        return cls(say, open_view)

    @classmethod
    def of(cls, teller: Teller) -> Audience:
        """Return the process that gave this worker its job."""
        return cls(teller.say, lambda: nullcontext(teller.hear))


@dataclass
class SweepJob:
    """Runs one job of a sweep; a class, so that a parallel launcher can pickle it.

    Args:
        sweep: The sweep.
        allowed: Packages whose classes configs may name.
        config_dirs: The user's folders of YAML.
        argv: The command line as it was typed.
        until: When the sweep's budget of time is used up, in seconds since 1970; None for none.
    """

    sweep: Sweep
    allowed: Sequence[str]
    config_dirs: Sequence[Path]
    argv: Sequence[str]
    until: float | None = None

    def __call__(self, composed: Composed, audience: Audience | None = None) -> None:
        """Run a job in a worker, which has only its config."""
        names = find_chosen_names(composed, self.config_dirs)
        self.run(composed, assemble(composed.config, self.allowed, names), audience)

    def run(
        self, composed: Composed, experiment: Experiment, audience: Audience | None = None
    ) -> bool:
        """Run the job unless the sweep has it already; return whether it was run.

        Args:
            composed: Its config.
            experiment: Its experiment.
            audience: Who hears of it; None for the console of this process.

        Raises:
            SystemExit: The run was interrupted, or no job is to begin any more.
        """
        audience = audience or Audience.on_console()
        if is_cancelled(self.sweep.path):
            sys.exit(CANCELLED)
        if self.until is not None and time.time() >= self.until:
            sys.exit(BUDGET_USED)
        wanted, label = describe_wanted(experiment), join_overrides(composed.overrides)
        with self.sweep.claim(wanted.key):
            # Under the lock: a process that waited for it finds what the other one has done.
            found = self.sweep.find_standing(wanted)
            for text in _announce(found, label):
                audience.say(text, None if found.done else "bold")
            if found.done is not None:
                return False
            if found.unfinished is not None:
                outcome = continue_run(
                    found.unfinished, experiment, self.argv, audience.watch, self.until
                )
                directory = found.unfinished
            else:
                directory, outcome = start_run(
                    composed,
                    experiment,
                    self.sweep.runs,
                    None,
                    self.argv,
                    audience.watch,
                    self.until,
                )
        if outcome["status"] != "done":
            audience.say(describe_failure(directory, outcome), None)
        if outcome["status"] == "interrupted":
            sys.exit(int(str(outcome["exit_code"])))
        return True


def _announce(found: Standing, label: str) -> Iterator[str]:
    """Yield the line that announces a job, or says why it is skipped."""
    if found.done is not None:
        yield f"skipped {label}: done in {found.done.path}"
    elif found.unfinished is not None:
        yield f"resuming {label}: {found.unfinished.status().get('status')} in " + str(
            found.unfinished.path
        )
    elif found.outdated is not None:
        yield f"runs again {label}: {found.why}"
    else:
        yield f"job {label}"


def describe_wanted(experiment: Experiment) -> Wanted:
    """Return what a run of this job must match now to be counted as done."""
    return Wanted(
        key=fingerprint(experiment.config),
        fingerprint=experiment.fingerprint,
        identity=identify(experiment),
        places=list_places(experiment.config),
        data=partial(read_fingerprints, experiment),
    )
