"""Successive halving on validation: rung by rung, the best candidates train for longer.

It knows candidates by name alone and leaves training to a :class:`CandidateTrainer`, so that a
search over anything can use it.

those that are left ─ fit the rung to the seconds ─ train each ─ rank on val rows ─ keep the best
        ▲                                                                             │
        └──────────────────────────────── next rung ──────────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mmx.errors import TransferError
from mmx.runs.search_record import SearchRecord, Trial, format_trial_metric
from mmx.runs.summary import RungResult
from mmx.stages.selection.rungs import Rung, fit_rung


class CandidateTrainer(Protocol):
    """Trains candidates by their names."""

    def count_epochs(self, name: str, epochs: int) -> int:
        """Return for how many epochs a candidate trains in a rung of ``epochs``."""

    def train(self, name: str, epochs: int, done: int) -> Trial:
        """Train a candidate in a rung of ``epochs``, of all planned epochs ``done`` being over.

        A candidate that cannot be trained is a trial with an error.
        """


class SuccessiveHalving:
    """The rungs of one search.

    Trials that a record holds already are not trained again. What is decided depends on trials
    in the order in which they are visited, so that a resumed search decides as before.

    Args:
        record: Of the search so far.
        rungs: The plan.
        trainer: Trains the candidates.
        write: Keeps each new record and returns it.
        note: Says what was done.
        seconds: The budget of all trials; None where it is one of steps, which the plan keeps.
    """

    def __init__(
        self,
        record: SearchRecord,
        rungs: Sequence[Rung],
        trainer: CandidateTrainer,
        write: Callable[[SearchRecord], SearchRecord],
        note: Callable[[str], None],
        seconds: float | None = None,
    ) -> None:
        self.record, self.rungs, self.trainer = record.without_rungs(), rungs, trainer
        self.write, self.note, self.seconds = write, note, seconds
        self.visited: list[Trial] = []
        self.epochs_done = 0

    def run(self) -> SearchRecord:
        """Return the record of all rungs; its ``best`` candidate has won.

        Raises:
            TransferError: No candidate could be trained.
        """
        alive = self.record.order[: self.rungs[0].candidates] if self.rungs else []
        for place, rung in enumerate(self.rungs, 1):
            if len(alive) > 1:  # all but one may have failed
                alive = self._run_rung(place, rung, alive)
        return self.record

    def _run_rung(self, place: int, rung: Rung, alive: Sequence[str]) -> list[str]:
        """Train all that are left and return those that are kept, the best first."""
        entering, epochs = self._fit_to_seconds(place, rung, alive)
        trials = self._train_each(place, entering, epochs)
        tried = [trial.candidate for trial in trials]
        keep = self.rungs[place].candidates if place < len(self.rungs) else 1
        kept = [trial.candidate for trial in rank_trials(trials)[:keep]]
        # Without a result the best of the rung before goes on that there was no time to try.
        kept = kept or [name for name in alive if name not in tried][:1]
        dropped = self._explain_dropped(place, alive, trials, kept)
        if not kept:
            why = "".join(f"\n  {name}: {reason}" for name, reason in dropped.items())
            raise TransferError(f"no candidate could be trained{why}")
        result = RungResult(epochs=epochs, tried=tried, kept=kept, dropped=dropped)
        self.record = self.write(self.record.with_rung(result))
        self.note(f"rung {place} of {len(self.rungs)} keeps {', '.join(kept)}")
        return kept

    def _explain_dropped(
        self, place: int, alive: Sequence[str], trials: Sequence[Trial], kept: Sequence[str]
    ) -> dict[str, str]:
        """Return why each candidate of a rung is not kept: it failed, had no time, or was worse."""
        ranked, metric = rank_trials(trials), self.record.plan.metric
        dropped = {t.candidate: f"failed: {t.error}" for t in trials if t.error}
        untried = [name for name in alive if all(name != t.candidate for t in trials)]
        room = f"{len(trials)} of {len(alive)}"
        no_time = f"no time, its share of the seconds has room for {room}"
        dropped |= dict.fromkeys(untried, no_time)
        count = f"{len(kept)} {'is' if len(kept) == 1 else 'are'} kept"
        for rank, trial in enumerate(ranked, 1):
            value = f"{metric} {format_trial_metric(trial, metric)}"
            dropped[trial.candidate] = f"{value}, place {rank} of {len(ranked)}; {count}"
        return {name: f"rung {place}: {why}" for name, why in dropped.items() if name not in kept}

    def _train_each(self, place: int, names: Sequence[str], epochs: int) -> list[Trial]:
        """Return the trials of a rung, as many as there is time for."""
        trials: list[Trial] = []
        for name in names:
            known = self.record.find_trial(name, self.trainer.count_epochs(name, epochs))
            any_good = any(not trial.error for trial in trials)
            if any_good and known not in self.visited and self._is_late(place):
                continue  # a later one may have been fitted before, which takes no time
            trials.append(known or self._train(place, name, epochs))
            self.epochs_done += epochs
            if trials[-1] not in self.visited:
                self.visited.append(trials[-1])
        return trials

    def _train(self, place: int, name: str, epochs: int) -> Trial:
        """Train a candidate, record the trial and say what validation says of it."""
        trial = self.trainer.train(name, epochs, self.epochs_done)
        self.record = self.write(self.record.with_trial(trial))
        metric, length = self.record.plan.metric, "fitted"
        if trial.epochs:
            length = f"{trial.epochs} epoch{'' if trial.epochs == 1 else 's'}"
        said = trial.error or f"{metric} {format_trial_metric(trial, metric)}"
        self.note(f"rung {place} of {len(self.rungs)}: {name}, {length}: {said}")
        return trial

    def _fit_to_seconds(
        self, place: int, rung: Rung, alive: Sequence[str]
    ) -> tuple[Sequence[str], int]:
        """Return who enters a rung and for how many epochs, as its share of the seconds allows.

        What an epoch takes is known from the rung before: the first rung is as planned.
        """
        left = self._count_seconds_left(place)
        if left is None or place == 1:
            return alive, rung.epochs
        each = [self._find_epoch_seconds(name) for name in alive]
        fitted = fit_rung(rung.epochs, self.record.rungs[-1].epochs, each, left)
        return alive[: fitted.candidates], fitted.epochs

    def _is_late(self, place: int) -> bool:
        """Return whether there is no time left for one more trial.

        In the first rung one more is expected to take what those before took on average; in
        later ones that is known, and the rung is as long as it may be.
        """
        left = self._count_seconds_left(place)
        if left is None:
            return False
        mean = sum(trial.seconds for trial in self.visited) / len(self.visited)
        return left < mean if place == 1 else left <= 0

    def _count_seconds_left(self, place: int) -> float | None:
        """Return the seconds left for a rung; None where they do not count.

        Each rung has an equal share, and the next inherits what one leaves. Only visited trials
        count, so that a resumed search decides as before.
        """
        if self.seconds is None:
            return None
        spent = sum(trial.seconds for trial in self.visited)
        return self.seconds * place / len(self.rungs) - spent

    def _find_epoch_seconds(self, name: str) -> float:
        """Return what an epoch of a candidate takes; nothing where its head has been fitted."""
        last = next(trial for trial in reversed(self.visited) if trial.candidate == name)
        return last.seconds / last.epochs if last.epochs else 0.0


def rank_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that did not fail, the best on validation first.

    Equals stay in their order, which is that of the last rung, or of the scores.
    """
    good = [trial for trial in trials if not trial.error]
    # A stable sort: reverse=True does not turn the order of equals round.
    return sorted(good, key=lambda trial: trial.score or [], reverse=True)
