"""The trials of a search: successive halving on validation, rung by rung."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mmx.errors import TrainingError, TransferError
from mmx.evaluation.metrics import score
from mmx.experiment import Experiment
from mmx.json_object import Json
from mmx.runs.cache import Cache
from mmx.runs.directory import RunDirectory
from mmx.runs.search_record import SCRATCH, SearchRecord, format_metric, format_table
from mmx.stage_id import StageId
from mmx.stages.core.context import Context
from mmx.stages.core.stage import Stage
from mmx.stages.pipeline.train import train
from mmx.stages.selection.prepare import Prepared
from mmx.training.events import Event, EventKind
from mmx.transfer.candidates import SearchCandidate
from mmx.transfer.rungs import Rung

PLACE = "search"
"""The folder of trials in a run directory, gone when the search is over; and what events say."""
SCRATCH_BYTES = 1 << 40
"""What the features that trials share may take: they are gone with the search."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class Choice:
    """A candidate with the experiment that it is."""

    candidate: SearchCandidate
    experiment: Experiment

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name


class Trials:
    """Trials of a search, rung by rung.

    Args:
        context: Of the run.
        prepared: The trained source, and the target without its test rows.
        record: What has been done already.
        rungs: The plan.
        seconds: The budget; None where it is one of steps, which the plan keeps.
        clock: Tells the seconds.
    """

    def __init__(
        self,
        context: Context,
        prepared: Prepared,
        record: SearchRecord,
        rungs: Sequence[Rung],
        seconds: float | None,
        clock: Clock,
    ) -> None:
        self.context, self.prepared, self.record, self.rungs = context, prepared, record, rungs
        self.seconds, self.clock = seconds, clock
        self.metric: str = record.data["plan"]["metric"]
        self.score = score(prepared.target.task.target.kind)
        self.cache = Cache(context.directory.path / PLACE / "features", SCRATCH_BYTES)
        self.planned = sum(rung.candidates * rung.epochs for rung in rungs)
        self.epochs_done = 0
        self.counted: list[Json] = []

    def find_winner(self, choices: Sequence[Choice]) -> str:
        """Return the name of the candidate that is best on validation in the last rung."""
        known = {choice.name: choice for choice in choices}
        alive = [known[name] for name in self.record.data["order"]]
        entering = self.rungs[0].candidates if self.rungs else 1
        left_out = {
            choice.name: f"not tried: the budget has room for {entering}, and the scores put "
            f"it in place {place} of {len(alive)}"
            for place, choice in enumerate(alive, 1)
            if place > entering
        }
        self.record.write(left_out=left_out, rungs=[])
        self._say_plan(len(alive))
        alive = alive[:entering]
        for number_of, rung in enumerate(self.rungs, 1):
            if len(alive) > 1:  # all but one may have failed
                alive = self._rung(number_of, rung, alive)
        verdict = self._verdict(alive[0])
        self.record.write(winner=alive[0].name, verdict=verdict)
        for line in format_table(self.record.data, self.metric):
            self._note(line)
        seconds = self.record.data["seconds"]
        text = f"chose {alive[0].name}; {verdict}"
        self.context.listen(Event(EventKind.DONE, StageId.SEARCH, seconds=seconds, text=text))
        return alive[0].name

    def _rung(self, place: int, rung: Rung, alive: list[Choice]) -> list[Choice]:
        """Try all that are left and return those that are kept, best first."""
        results: dict[str, Json] = {}
        dropped: dict[str, str] = {}
        tried: list[Choice] = []
        entering, rung = self._limit_to_budget(place, rung, alive)
        for choice in entering:
            known = self.record.trial(choice.name, _epochs(choice, rung.epochs))
            if results and known not in self.counted and self._is_late(place):
                continue
            entry = self._trial(place, choice, rung.epochs)
            tried.append(choice)
            if entry["error"]:
                dropped[choice.name] = f"rung {place}: failed: {entry['error']}"
            else:
                results[choice.name] = entry
        for choice in alive:
            if choice not in tried:
                dropped[choice.name] = (
                    f"rung {place}: no time, its share of the seconds has room for "
                    f"{len(tried)} of {len(alive)}"
                )
        if not results:
            return self._keep_from_last_rung(place, alive, dropped, tried)
        keep = self.rungs[place].candidates if place < len(self.rungs) else 1
        best = sorted(
            (choice for choice in tried if choice.name in results),
            key=lambda choice: results[choice.name]["score"],
            reverse=True,  # stable: of equals the one before them in the last rung, or by scores
        )
        for position, choice in enumerate(best[keep:], keep + 1):
            said = f"{self.metric} {format_metric(results[choice.name], self.metric)}"
            kept = f"{min(keep, len(best))} {'is' if keep == 1 else 'are'} kept"
            dropped[choice.name] = f"rung {place}: {said}, place {position} of {len(best)}; {kept}"
        self._close(place, rung, tried, best[:keep], dropped)
        return best[:keep]

    def _keep_from_last_rung(
        self, place: int, alive: list[Choice], dropped: dict[str, str], tried: list[Choice]
    ) -> list[Choice]:
        """Return the best of the rung before that there was no time to try for longer.

        Raises:
            TransferError: All were tried, and failed.
        """
        left = [choice for choice in alive if choice not in tried][:1]
        if not left:
            why = "".join(f"\n  {name}: {reason}" for name, reason in dropped.items())
            raise TransferError(f"no candidate could be trained{why}")
        del dropped[left[0].name]
        self._close(place, self.rungs[place - 1], tried, left, dropped)
        return left

    def _close(
        self,
        place: int,
        rung: Rung,
        tried: list[Choice],
        kept: list[Choice],
        dropped: dict[str, str],
    ) -> None:
        """Write down what a rung decided, and say it."""
        names = [choice.name for choice in kept]
        entry = {
            "epochs": rung.epochs,
            "tried": [choice.name for choice in tried],
            "kept": names,
            "dropped": dropped,
        }
        self.record.write(rungs=[*self.record.data["rungs"], entry])
        self._note(f"rung {place} of {len(self.rungs)} keeps {', '.join(names)}")

    def _limit_to_budget(
        self, place: int, rung: Rung, alive: list[Choice]
    ) -> tuple[list[Choice], Rung]:
        """Return who enters a rung, and the rung as long as its share of the seconds allows.

        What an epoch of each takes is known from the rung before. Rather fewer candidates enter
        than that none would train for longer than it has.
        """
        left = self._seconds_left(place)
        if left is None or place == 1:
            return alive, rung
        before = self.record.data["rungs"][-1]["epochs"]
        for count in range(len(alive), 1, -1):
            cost = sum(self._epoch_seconds(choice) for choice in alive[:count])
            whole = cost * rung.epochs <= max(0.0, left)
            fits = rung.epochs if whole else int(left / cost)
            if fits >= min(rung.epochs, before + 1):
                return alive[:count], replace(rung, epochs=fits)
        return [], rung

    def _is_late(self, place: int) -> bool:
        """Return whether there is no time left for one more trial.

        In the first rung one more is expected to take what those before took on average; in
        later ones it is known, and the rung is as long as it may be.
        """
        left = self._seconds_left(place)
        if left is None:
            return False
        mean = sum(entry["seconds"] for entry in self.counted) / len(self.counted)
        return left < mean if place == 1 else left <= 0

    def _seconds_left(self, place: int) -> float | None:
        """Return the seconds left for a rung; None where they are not counted.

        Only trials that came before count, so that a resumed search decides as it had.
        """
        if self.seconds is None:
            return None
        spent = sum(entry["seconds"] for entry in self.counted)
        return float(self.seconds * place / len(self.rungs) - spent)

    def _epoch_seconds(self, choice: Choice) -> float:
        """Return what an epoch of a candidate takes; nothing, where it has been fitted."""
        last = next(e for e in reversed(self.counted) if e["candidate"] == choice.name)
        return float(last["seconds"] / last["epochs"]) if last["epochs"] else 0.0

    def _trial(self, place: int, choice: Choice, epochs: int) -> Json:
        """Return a trial's entry, trained now unless it was before."""
        asked, epochs = epochs, _epochs(choice, epochs)
        entry = self.record.trial(choice.name, epochs)
        if entry is None:
            entry = self._train(choice, epochs, asked)
            self.record.add(entry)
            said = entry["error"] or f"{self.metric} {format_metric(entry, self.metric)}"
            length = f"{epochs} epoch{'' if epochs == 1 else 's'}" if epochs else "fitted"
            self._note(f"rung {place} of {len(self.rungs)}: {choice.name}, {length}: {said}")
        self.epochs_done += asked
        if entry not in self.counted:
            self.counted.append(entry)
        return entry

    def _train(self, choice: Choice, epochs: int, asked: int) -> Json:
        """Train a candidate for so many epochs and return what validation says."""
        order: list[str] = self.record.data["order"]
        where = RunDirectory(
            self.context.directory.path / PLACE / f"{order.index(choice.name)}-{epochs}"
        )
        where.path.mkdir(parents=True, exist_ok=True)
        trainer = replace(choice.experiment.trainer, epochs=max(1, epochs))
        context = replace(
            self.context,
            experiment=replace(choice.experiment, trainer=trainer),
            directory=where,
            listen=self._make_listener(asked),
            cache=self.cache,
        )
        began = self.clock()
        try:
            trained = train(context, self._stage(choice.experiment))
        except (TransferError, TrainingError) as error:
            val, steps, found, failure = {}, 0, None, " ".join(error.message.split())
        else:
            val, steps, failure = trained.fitted.val, trained.fitted.steps, ""
            found = list(self.score(val))
        shutil.rmtree(where.path, ignore_errors=True)
        return {
            "candidate": choice.name,
            "epochs": epochs,
            "val": val,
            "score": found,
            "steps": steps,
            "seconds": self.clock() - began,
            "error": failure,
        }

    def _stage(self, experiment: Experiment) -> Stage:
        """Return the target stage of a candidate."""
        prepared = self.prepared
        return Stage(
            StageId.TARGET,
            prepared.alone if experiment.source is None else prepared.target,
            experiment.transfer,
            prepared.given if experiment.trains_source else None,
            prepared.source if experiment.joint else None,
        )

    def _make_listener(self, epochs: int) -> Callable[[Event], None]:
        """Return who listens to a trial: its steps move the search's own bar, the rest is noise."""

        def listen(event: Event) -> None:
            if event.kind is EventKind.STEP and event.steps:
                part = epochs * event.step / event.steps
                done = round(self.epochs_done + part)
                self.context.listen(
                    replace(event, stage=StageId.SEARCH, step=done, steps=self.planned, epoch=0)
                )

        return listen

    def _say_plan(self, count: int) -> None:
        """Say what is going to be done."""
        plan = self.record.data["plan"]
        budget = ", ".join(f"{value:g} {unit}" for unit, value in plan["budget"].items())
        rungs = ", then ".join(
            f"{rung.candidates} for {rung.epochs} epoch{'' if rung.epochs == 1 else 's'}"
            for rung in self.rungs
        )
        self._note(f"{count} candidates, {budget} for all trials: {rungs or 'nothing to choose'}")
        for name, why in plan["refused"].items():
            self._note(f"left out {name}: {why}")
        if self.record.data["trials"]:
            self._note(f"{len(self.record.data['trials'])} trials had ended before")

    def _verdict(self, winner: Choice) -> str:
        """Return what the search says of transfer itself."""
        source = self.context.experiment.source
        name = source.name if source is not None else "none"
        tried = {entry["candidate"] for entry in self.record.data["trials"]}
        if not tried - {winner.name}:
            if len(self.record.data["order"]) > 1:
                return "the budget had room for no other: it was compared with nothing"
            return "there was nothing else to try"
        fine = {entry["candidate"] for entry in self.record.data["trials"] if not entry["error"]}
        if not fine - {winner.name}:
            return "no other candidate could be trained: whether transfer helps is not known"
        if winner.candidate.mode == "scratch":
            return (
                f"on validation no candidate that takes something from {name} did better "
                "than from scratch: this source does not help here"
            )
        if SCRATCH not in tried:
            return "scratch was not among the candidates: whether transfer helps is for the control"
        fresh = [e for e in self.record.data["trials"] if e["candidate"] == SCRATCH][-1]
        if fresh["error"]:
            return "from scratch could not be trained: whether transfer helps is not known"
        # They were compared while both were in: what scratch may do later is for the control.
        epochs = f"{fresh['epochs']} of {self.record.data['plan']['epochs']} epochs"
        return (
            f"on validation, with the help of {name}, it did better than from scratch "
            f"after {epochs}"
        )

    def _note(self, text: str) -> None:
        self.context.note(StageId.SEARCH, text)


def _epochs(choice: Choice, epochs: int) -> int:
    """Return the epochs of a trial: none where the head is fitted, the same in every rung."""
    return epochs if choice.experiment.transfer.uses_epochs else 0
