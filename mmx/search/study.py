"""The study of a search: proposes settings, prunes and remembers, by Optuna's ask and tell.

What it proposes depends on its seed and on the results of earlier batches alone, not on the order
in which trials of one batch end. So a study that was killed and goes on equals one that was not,
and so does one with other workers.

Source: Akiba, Sano, Yanase, Ohta and Koyama 2019, "Optuna"; Li, Jamieson, DeSalvo, Rostamizadeh and
Talwalkar 2018, "Hyperband".
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmx.extras import import_extra
from mmx.search.journal_lock import JournalLock
from mmx.search.space import Dimension, Value

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

NAME = "mmx"
Rungs = Mapping[str, float]
"""Name of a rung of successive halving to the score of a trial at it."""
WHY = "why"
"""What is kept with a trial that failed: the reason."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run: its number and the values of its dimensions."""

    number: int
    values: dict[str, Value]


@dataclass(frozen=True)
class TrialRow:
    """A trial, ended or not.

    Attributes:
        number: Counted from 0.
        values: Dimension to value.
        state: ``done``, ``pruned``, ``failed`` or ``running``.
        score: What the search maximises; None without a result.
        why: Why it failed.
        epochs: How many epochs it was validated after.
    """

    number: int
    values: dict[str, Value]
    state: str
    score: float | None = None
    why: str = ""
    epochs: int = 0


@dataclass(frozen=True)
class StudySettings:
    """How a study proposes and prunes.

    Attributes:
        seed: Of its proposals.
        sampler: ``tpe`` or ``random``.
        pruner: ``hyperband`` or ``none``.
        batch: Trials that are proposed together, on the results of those before.
        epochs: Of a whole trial.
    """

    seed: int = 0
    sampler: str = "tpe"
    pruner: str = "hyperband"
    batch: int = 1
    epochs: int = 15


class Study:
    """A study in a file.

    Args:
        path: Its journal; made if it does not exist.
        dimensions: The space.
        settings: How it proposes and prunes.

    Raises:
        EncoderError: Optuna is not installed.
    """

    def __init__(
        self, path: Path, dimensions: Sequence[Dimension], settings: StudySettings
    ) -> None:
        self.dimensions, self.settings = tuple(dimensions), settings
        self._optuna = _import_optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        lock: Any = JournalLock(path)
        self._storage = JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
        self._study = self._optuna.create_study(
            storage=self._storage,
            study_name=NAME,
            direction="maximize",
            load_if_exists=True,
        )
        self._distributions = {each.key: each.to_distribution() for each in self.dimensions}

    def list_trials(self) -> list[TrialRow]:
        """Return all trials in their order."""
        return [_make_row(each) for each in self._study.get_trials(deepcopy=False)]

    def propose(self, trials: int) -> list[Proposal]:
        """Return the trials to run next: what has not ended of a batch, or the next batch.

        Args:
            trials: How many the study has in the end.
        """
        known, size = self._study.get_trials(deepcopy=False), self.settings.batch
        begun = next((each.number for each in known if not each.state.is_finished()), len(known))
        end = min(trials, begun - begun % size + size)
        for number in range(len(known), end):
            self._add(number)
        batch = self._study.get_trials(deepcopy=False)[begun:end]
        return [Proposal(t.number, dict(t.params)) for t in batch if not t.state.is_finished()]

    def _add(self, number: int) -> None:
        """Add a trial with values that were chosen by the trials of earlier batches."""
        study = self._optuna.create_study(direction="maximize", sampler=self._make_sampler(number))
        study.add_trials(list_earlier(self._study, number, self.settings.batch))
        chosen = study.ask(self._distributions)
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=self._optuna.trial.TrialState.RUNNING,
                params=chosen.params,
                distributions=self._distributions,
            )
        )

    def _make_sampler(self, number: int) -> Any:
        seed = _derive_seed(self.settings.seed, number)
        if self.settings.sampler == "random":
            return self._optuna.samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some of these are experimental
            return self._optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=False, constant_liar=False
            )

    def tell(self, number: int, score: float, scores: Mapping[int, float], rungs: Rungs) -> None:
        """Record that a trial was trained to its end.

        Args:
            number: Of the trial.
            score: What is maximised, on validation.
            scores: The same after each epoch.
            rungs: What its judge kept.
        """
        self._report(number, scores, rungs)
        self._study.tell(number, score, skip_if_finished=True)

    def tell_pruned(self, number: int, scores: Mapping[int, float], rungs: Rungs) -> None:
        """Record that a trial was stopped early."""
        self._report(number, scores, rungs)
        state = self._optuna.trial.TrialState.PRUNED
        self._study.tell(number, state=state, skip_if_finished=True)

    def tell_failed(self, number: int, why: str) -> None:
        """Record that a trial has no result, and why."""
        if (trial := self._find_open(number)) is not None:
            trial.set_user_attr(WHY, why)
        state = self._optuna.trial.TrialState.FAIL
        self._study.tell(number, state=state, skip_if_finished=True)

    def _report(self, number: int, scores: Mapping[int, float], rungs: Rungs) -> None:
        if (trial := self._find_open(number)) is not None:
            for epoch, score in scores.items():
                trial.report(score, epoch)
            for name, value in rungs.items():
                self._storage.set_trial_system_attr(trial._trial_id, name, value)

    def _find_open(self, number: int) -> optuna.trial.Trial | None:
        found = self._study.get_trials(deepcopy=False)[number]
        if found.state.is_finished():
            return None
        return self._optuna.trial.Trial(self._study, found._trial_id)  # type: ignore[no-any-return]

    def make_judge(self, number: int) -> TrialPruner:
        """Return who decides whether a trial is pruned."""
        known = list_earlier(self._study, number, self.settings.batch)
        return TrialPruner(self._optuna, known, number, self.settings)


class TrialPruner:
    """Decides after each epoch whether a trial is stopped, by the trials of earlier batches.

    Args:
        optuna: The library.
        known: The trials of earlier batches.
        number: Of the trial.
        settings: Of the study.
    """

    def __init__(
        self, optuna: Any, known: Sequence[FrozenTrial], number: int, settings: StudySettings
    ) -> None:
        self._trial: Any = None
        self._epochs = settings.epochs
        if settings.pruner == "none":
            return
        pruner = optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=settings.epochs, reduction_factor=3
        )
        self._storage = optuna.storages.InMemoryStorage()
        study = optuna.create_study(
            storage=self._storage, study_name=NAME, direction="maximize", pruner=pruner
        )
        study.add_trials(list(known))
        state = optuna.trial.TrialState.FAIL
        for _ in range(len(known), number):  # those of the same batch, of which nothing is known
            study.add_trial(optuna.trial.create_trial(state=state))
        self._trial = study.ask()

    @property
    def rungs(self) -> dict[str, float]:
        """Return the scores at which the trial was compared, with which later ones are."""
        if self._trial is None:
            return {}
        return dict(self._storage.get_trial_system_attrs(self._trial._trial_id))

    def is_hopeless(self, epoch: int, score: float) -> bool:
        """Return whether a trial with this score after this epoch is stopped."""
        if self._trial is None or epoch >= self._epochs:  # its end is a result like any other
            return False
        self._trial.report(score, epoch)
        return bool(self._trial.should_prune())


def list_earlier(study: optuna.Study, number: int, batch: int) -> list[FrozenTrial]:
    """Return the trials of the batches before that of a trial."""
    return study.get_trials(deepcopy=False)[: number - number % batch]


def _make_row(trial: FrozenTrial) -> TrialRow:
    names = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
    return TrialRow(
        trial.number,
        dict(trial.params),
        names.get(trial.state.name, "running"),
        trial.value if trial.state.name == "COMPLETE" else None,
        str(trial.user_attrs.get(WHY, "")),
        len(trial.intermediate_values),
    )


def find_best(rows: Sequence[TrialRow]) -> TrialRow | None:
    """Return the trial with the highest score, of equal ones the first; None without a result."""
    done = [row for row in rows if row.score is not None]
    return max(done, key=lambda row: (row.score, -row.number), default=None)


def _derive_seed(seed: int, number: int) -> int:
    text = f"search\x1f{seed}\x1f{number}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


def _import_optuna() -> Any:
    optuna = import_extra("optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
