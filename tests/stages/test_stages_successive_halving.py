"""Successive halving over names: who is tried, kept and dropped, with trials that take no time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mmx.errors import TransferError
from mmx.runs.search_record import SearchPlan, SearchRecord, Trial
from mmx.stages.selection.rungs import Rung
from mmx.stages.selection.successive_halving import SuccessiveHalving

NAMES = ["a", "b", "c", "d"]
RUNGS = (Rung(4, 1), Rung(2, 2))


def new_record(trials: Sequence[Trial] = (), seconds: float = 0.0) -> SearchRecord:
    plan = SearchPlan(
        budget={"steps": 8},
        eta=2,
        metric="accuracy",
        epochs=2,
        steps_per_epoch=1,
        candidates=NAMES,
        refused={},
    )
    return SearchRecord(
        format=1,
        plan=plan,
        order=NAMES,
        scores={},
        trials=list(trials),
        rungs=[],
        seconds=seconds,
        winner=None,
        verdict="",
        source_cached=False,
        controls=[],
        left_out={},
    )


class Trainer:
    """Each candidate has an accuracy; an epoch takes a second, but for those that are fitted."""

    def __init__(self, failing: Sequence[str] = (), fitted: Sequence[str] = ()) -> None:
        self.accuracy = {"a": 0.1, "b": 0.4, "c": 0.3, "d": 0.4}
        self.failing, self.fitted = failing, fitted
        self.calls: list[tuple[str, int, int]] = []

    def count_epochs(self, name: str, epochs: int) -> int:
        return 0 if name in self.fitted else epochs

    def train(self, name: str, epochs: int, done: int) -> Trial:
        self.calls.append((name, epochs, done))
        fails, own = name in self.failing, self.count_epochs(name, epochs)
        value = self.accuracy[name]
        return Trial(
            candidate=name,
            epochs=own,
            val={} if fails else {"accuracy": value},
            score=None if fails else [value, 0.0],
            steps=own,
            seconds=float(own),
            error="it diverged" if fails else "",
        )


Halve = Callable[..., SearchRecord]


@pytest.fixture
def written() -> list[SearchRecord]:
    return []


@pytest.fixture
def halve(written: list[SearchRecord]) -> Halve:
    """Return ``halve(trainer, record, …)``: the record of all rungs."""

    def run(
        trainer: Trainer,
        record: SearchRecord | None = None,
        rungs: Sequence[Rung] = RUNGS,
        seconds: float | None = None,
    ) -> SearchRecord:
        def write(found: SearchRecord) -> SearchRecord:
            written.append(found)
            return found

        record = record or new_record()
        return SuccessiveHalving(
            record, rungs, trainer, write, lambda text: None, seconds=seconds
        ).run()

    return run


def test_the_best_are_trained_for_longer(halve: Halve, written: list[SearchRecord]) -> None:
    trainer = Trainer()
    record = halve(trainer)
    first, second = record.rungs
    assert first.tried == NAMES
    assert first.kept == ["b", "d"]  # of equals the earlier one first
    assert first.dropped == {
        "c": "rung 1: accuracy 0.300, place 3 of 4; 2 are kept",
        "a": "rung 1: accuracy 0.100, place 4 of 4; 2 are kept",
    }
    assert second.dropped == {"d": "rung 2: accuracy 0.400, place 2 of 2; 1 is kept"}
    assert record.best == "b"
    assert record.winner is None  # which the caller states, with its verdict
    # The epochs of the rungs that are over, for the progress bar.
    assert [done for *_, done in trainer.calls] == [0, 1, 2, 3, 4, 6]
    assert [(name, epochs) for name, epochs, _ in trainer.calls[4:]] == [("b", 2), ("d", 2)]
    assert [(len(each.trials), len(each.rungs)) for each in written] == [
        (1, 0), (2, 0), (3, 0), (4, 0), (4, 1), (5, 1), (6, 1), (6, 2)
    ]  # fmt: skip
    assert record.seconds == 8.0


def test_no_record_changes(halve: Halve, written: list[SearchRecord]) -> None:
    record = new_record()
    halve(Trainer(), record)
    assert record == new_record()
    assert len(written[0].trials) == 1


@pytest.mark.parametrize("count", range(7))
def test_a_search_that_goes_on_trains_only_what_is_missing(halve: Halve, count: int) -> None:
    whole = halve(Trainer())
    trainer = Trainer()
    known = new_record(whole.trials[:count], sum(t.seconds for t in whole.trials[:count]))
    assert halve(trainer, known) == whole
    assert len(trainer.calls) == len(whole.trials) - count


def test_a_fitted_head_is_fitted_once_and_stays_in(halve: Halve) -> None:
    trainer = Trainer(fitted=["b"])
    record = halve(trainer)
    assert [name for name, *_ in trainer.calls] == ["a", "b", "c", "d", "d"]
    assert record.rungs[1].tried == ["b", "d"]


def test_one_that_fails_makes_room(halve: Halve) -> None:
    record = halve(Trainer(failing=["b"]))
    assert record.rungs[0].kept == ["d", "c"]
    assert record.rungs[0].dropped["b"] == "rung 1: failed: it diverged"


def test_all_that_fail_end_the_search(halve: Halve) -> None:
    with pytest.raises(TransferError) as error:
        halve(Trainer(failing=NAMES))
    head, *reasons = str(error.value).splitlines()
    assert head == "no candidate could be trained"
    assert reasons == [f"  {name}: rung 1: failed: it diverged" for name in NAMES]


def test_one_that_is_left_is_not_trained_again(halve: Halve) -> None:
    trainer = Trainer(failing=["a", "b", "c"])
    record = halve(trainer)
    assert (record.best, len(record.rungs), len(trainer.calls)) == ("d", 1, 4)


def test_without_rungs_the_first_in_order_is_the_best(halve: Halve) -> None:
    record = halve(Trainer(), rungs=())
    assert (record.best, record.rungs, record.trials) == ("a", [], [])


def test_a_rung_that_is_not_reached_keeps_the_best_of_the_one_before(halve: Halve) -> None:
    record = halve(Trainer(), seconds=5.0)  # 2.5 for each rung: two candidates, then one epoch
    first, second = record.rungs
    assert first.tried == ["a", "b"]
    assert first.dropped == dict.fromkeys(
        ["c", "d"], "rung 1: no time, its share of the seconds has room for 2 of 4"
    )
    assert first.kept == ["b", "a"]
    assert (second.tried, second.kept) == ([], ["b"])
    assert second.dropped == {"a": "rung 2: no time, its share of the seconds has room for 0 of 2"}


@pytest.mark.parametrize("seconds", [1.0, 3.0, 5.0, 6.0, 7.5, 8.0, 20.0])
def test_seconds_are_kept_and_decide_the_same_when_it_goes_on(halve: Halve, seconds: float) -> None:
    whole = halve(Trainer(), seconds=seconds)
    assert sum(trial.seconds for trial in whole.trials) <= seconds
    for count in range(len(whole.trials)):
        known = new_record(whole.trials[:count], sum(t.seconds for t in whole.trials[:count]))
        assert halve(Trainer(), known, seconds=seconds) == whole
