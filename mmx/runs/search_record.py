"""``auto.json``: what a search has done so far, written whole after each trial.

A :class:`SearchRecord` never changes: ``with_trial``, ``with_rung`` and ``with_winner`` return the
next one. ``docs/reference/auto.schema.json`` is the JSON schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmx.controls import find_control
from mmx.errors import RunError
from mmx.runs.atomic import read_json_file, write_json
from mmx.runs.directory import RunDirectory
from mmx.runs.records import Count, Metrics, Record, read_record
from mmx.runs.summary import Number, RungResult, SearchFacts, Tried

SEARCH_FILE = "auto.json"
SEARCH_FORMAT = 1
"""Of the file; those of before say none."""
SCRATCH = "transfer=scratch"
"""How a search names the candidate that takes nothing from a source."""


class SearchPlan(Record):
    """What a search depends on: it is continued where its plan is the same, and repeated if not.

    Attributes:
        budget: Its unit, ``steps`` or ``seconds``, to how many all trials may take.
        eta: One candidate in so many is kept after a rung.
        metric: The validation metric that is shown of each trial.
        epochs: Of the run that the winner becomes.
        steps_per_epoch: Optimiser steps.
        candidates: The names of those that can start.
        refused: The name of each other candidate to why it cannot.
    """

    budget: dict[str, Number]
    eta: Number
    metric: str
    epochs: Count
    steps_per_epoch: Count
    candidates: list[str]
    refused: dict[str, str]


class Trial(Record):
    """One training of one candidate.

    Attributes:
        candidate: Its name.
        epochs: For how long; 0 where a head was fitted without epochs.
        val: Metrics on the validation rows; empty where it failed.
        score: What trials are compared by, the larger the better: the first number that differs
            decides. None where it failed.
        steps: Optimiser steps.
        seconds: That it took.
        error: Why it failed; empty where it did not.
    """

    candidate: str
    epochs: Count
    val: Metrics
    score: list[float] | None = None
    steps: Count
    seconds: float
    error: str = ""


class SearchRecord(Record):
    """A search as far as it has got.

    Attributes:
        format: Of the file.
        plan: What it depends on.
        order: The candidates in the order in which they are tried.
        scores: Features to score to value, which led to that order.
        trials: Those that have ended.
        rungs: Those that have ended, with who was tried, kept and dropped.
        seconds: Of the scores and all trials.
        winner: The chosen candidate; None while the search goes on.
        verdict: What the search says of transfer itself.
        source_cached: Whether the source was trained in an earlier run.
        controls: Those that the run was asked for.
        left_out: The name of each candidate for which the budget has no room to why.
    """

    format: Count = 0
    plan: SearchPlan
    order: list[str]
    scores: dict[str, dict[str, float]]
    trials: list[Trial]
    rungs: list[RungResult]
    seconds: float
    winner: str | None
    verdict: str
    source_cached: bool
    controls: list[str]
    left_out: dict[str, str]

    def with_trial(self, trial: Trial) -> SearchRecord:
        """Return the record with one more trial; its seconds count for the search."""
        seconds = self.seconds + trial.seconds
        return self.model_copy(update={"trials": [*self.trials, trial], "seconds": seconds})

    def with_rung(self, rung: RungResult) -> SearchRecord:
        """Return the record with one more rung."""
        return self.model_copy(update={"rungs": [*self.rungs, rung]})

    def without_rungs(self) -> SearchRecord:
        """Return the record without rungs: a resumed search repeats them from its trials."""
        return self.model_copy(update={"rungs": []})

    def with_winner(self, winner: str, verdict: str) -> SearchRecord:
        """Return the record of the search as it ends."""
        return self.model_copy(update={"winner": winner, "verdict": verdict})

    @property
    def best(self) -> str:
        """The best candidate of the last rung; without rungs the first in order."""
        return self.rungs[-1].kept[0] if self.rungs else self.order[0]

    def find_trial(self, candidate: str, epochs: int) -> Trial | None:
        """Return a trial that has ended; None where it has not."""
        same = (t for t in self.trials if (t.candidate, t.epochs) == (candidate, epochs))
        return next(same, None)

    def find_fate(self, name: str) -> str:
        """Return why a candidate was dropped, or that it won."""
        if name == self.winner:
            return "won"
        if name in self.plan.refused:
            return self.plan.refused[name]
        for rung in reversed(self.rungs):
            if name in rung.dropped:
                return rung.dropped[name]
        return self.left_out.get(name, "")

    def find_longest_trials(self) -> list[Trial]:
        """Return the longest trial of each candidate: those that got furthest first."""
        longest: dict[str, Trial] = {}
        for trial in self.trials:
            if trial.epochs >= longest.get(trial.candidate, trial).epochs:
                longest[trial.candidate] = trial
        last_rung = {name: k for k, rung in enumerate(self.rungs, 1) for name in rung.tried}
        return sorted(
            longest.values(),
            # Of one rung the best first: scores are negated, since the sort is ascending.
            key=lambda t: (-last_rung.get(t.candidate, 0), [-value for value in t.score or ()]),
        )

    def find_untried(self) -> list[str]:
        """Return the names of the candidates without a trial."""
        tried = {trial.candidate for trial in self.trials}
        return [name for name in (*self.order, *self.plan.refused) if name not in tried]

    def format_table(self) -> Sequence[str]:
        """Return what the search did as lines of equal columns."""
        metric = self.plan.metric
        rows = [
            (
                t.candidate,
                str(t.epochs),
                format_trial_metric(t, metric),
                self.find_fate(t.candidate),
            )
            for t in self.find_longest_trials()
        ]
        rows += [(name, "", "", self.find_fate(name)) for name in self.find_untried()]
        every = [("candidate", "epochs", metric, ""), *rows]
        widths = [max(len(row[column]) for row in every) for column in range(3)]
        return [
            f"{name:{widths[0]}s}  {epochs:>{widths[1]}s}  {value:>{widths[2]}s}  {fate}".rstrip()
            for name, epochs, value, fate in every
        ]


def format_trial_metric(trial: Trial, metric: str) -> str:
    """Return a trial's validation metric, as people write it."""
    value = trial.val.get(metric)
    return "" if value is None else f"{value:.3f}"


def write_search(directory: RunDirectory, record: SearchRecord) -> SearchRecord:
    """Write a run's search, whole or not at all, and return it."""
    write_json(directory.path / SEARCH_FILE, record.to_json())
    return record


def read_search(directory: RunDirectory) -> SearchRecord | None:
    """Return what a run's search has done; None where the file is not what a search writes."""
    path = directory.path / SEARCH_FILE
    try:
        return read_record(read_json_file(path), SearchRecord, path)
    except RunError:  # absent or damaged: the search is repeated
        return None


@dataclass(frozen=True)
class SearchEnd:
    """What a summary says of the search that its run began with.

    Attributes:
        facts: For ``transfer.auto``.
        seconds: Of all trials.
        source_cached: Whether the source was trained in an earlier run.
        notes: What a reader should know.
    """

    facts: SearchFacts
    seconds: float
    source_cached: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, record: SearchRecord, winner: str) -> SearchEnd:
        """Return the same of a search that has ended."""
        longest, metric = record.find_longest_trials(), record.plan.metric
        tried = [
            Tried.from_json(
                {
                    "candidate": trial.candidate,
                    "epochs": trial.epochs,
                    metric: trial.val.get(metric),
                    "fate": record.find_fate(trial.candidate),
                }
            )
            for trial in longest
        ]
        facts = SearchFacts(
            winner=winner,
            verdict=record.verdict,
            rungs=record.rungs,
            seconds=record.seconds,
            budget=record.plan.budget,
            eta=record.plan.eta,
            steps=sum(trial.steps for trial in record.trials),
            tried=tried,
            not_tried={name: record.find_fate(name) for name in record.find_untried()},
        )
        plural = "candidate" if len(longest) == 1 else "candidates"
        said = f"transfer=auto chose {winner}, {len(longest)} {plural} tried; {record.verdict}"
        seconds = round(record.seconds, 3)
        return cls(facts, seconds, record.source_cached, (said, *_note_missing_probe(record)))


def read_search_end(directory: RunDirectory) -> SearchEnd | None:
    """Return what a run's search did; None where it had none."""
    record = read_search(directory)
    if record is None or record.winner is None:
        return None
    return SearchEnd.of(record, record.winner)


def _note_missing_probe(record: SearchRecord) -> list[str]:
    """Return a note on each requested control that needs a source, where scratch has none."""
    if record.winner != SCRATCH:
        return []
    names = [name for name in record.controls if find_control(name).needs_source_weights]
    why = "not trained, since the search chose scratch: there is no source"
    return [f"control {name}: {why}" for name in names]
