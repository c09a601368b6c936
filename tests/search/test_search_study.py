"""A study proposes the same whatever happens to it: order, kills, more trials."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.search.space import Dimension
from mmx.search.study import Study, StudySettings, TrialRow, find_best

SPACE = (
    Dimension("lr", "lr=log(1e-5,1e-1)", 1e-5, 1e-1, log=True),
    Dimension("width", "width=8..256", 8, 256, whole=True),
    Dimension("fusion", "fusion=a,b", choices=("a", "b")),
)
EPOCHS = 9
Values = dict[str, str | int | float]


def curve(values: Values) -> dict[int, float]:
    """Return scores by epoch: best at lr 1e-3, width 128 and fusion b."""
    far = abs(math.log10(float(values["lr"])) + 3) + abs(float(values["width"]) - 128) / 128
    end = 1.0 - 0.2 * far + (0.1 if values["fusion"] == "b" else 0.0)
    return {epoch: end * (1 - 0.5**epoch) for epoch in range(1, EPOCHS + 1)}


def settings(**changes: object) -> StudySettings:
    given: dict[str, object] = {"seed": 3, "batch": 3, "epochs": EPOCHS, **changes}
    return StudySettings(**given)  # type: ignore[arg-type]


def train(study: Study, number: int, values: Values) -> None:
    """Train one trial, with the judge's word after each epoch."""
    judge, scores = study.make_judge(number), {}
    for epoch, score in curve(values).items():
        scores[epoch] = score
        if judge.is_hopeless(epoch, score):
            study.tell_pruned(number, scores, judge.rungs)
            return
    study.tell(number, scores[EPOCHS], scores, judge.rungs)


def search(
    path: Path,
    trials: int,
    given: StudySettings,
    order: Callable[[list[object]], object] = list,
    stops: float = 0.0,
) -> list[TrialRow]:
    """Run a study to its end; with ``stops`` it is often left in the middle of a batch."""
    drawn = random.Random(0)
    study = Study(path, SPACE, given)
    while proposals := study.propose(trials):
        for each in order(proposals):  # type: ignore[attr-defined]
            if drawn.random() < stops:
                study = Study(path, SPACE, given)  # as after a kill: only the file is left
                break
            train(study, each.number, each.values)
    return study.list_trials()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRow]:
    return search(tmp_path_factory.mktemp("unbroken") / "journal", 30, settings())


def test_a_study_finds_what_is_best_and_prunes(unbroken: list[TrialRow]) -> None:
    best = find_best(unbroken)
    assert best is not None
    assert best.score is not None
    assert best.score > 0.95
    assert best.values["fusion"] == "b"
    assert [row.number for row in unbroken] == list(range(30))
    pruned = [row for row in unbroken if row.state == "pruned"]
    assert pruned
    assert all(0 < row.epochs < EPOCHS and row.score is None for row in pruned)


@pytest.mark.parametrize("stops", [0.2, 0.5])
def test_a_study_that_is_killed_equals_one_that_is_not(
    unbroken: list[TrialRow], tmp_path: Path, stops: float
) -> None:
    assert search(tmp_path / "journal", 30, settings(), stops=stops) == unbroken


def test_the_order_in_which_a_batch_ends_does_not_count(
    unbroken: list[TrialRow], tmp_path: Path
) -> None:
    def backwards(batch: list[object]) -> list[object]:
        return batch[::-1]

    assert search(tmp_path / "journal", 30, settings(), backwards) == unbroken


def test_more_trials_go_on_from_those_that_there_are(
    unbroken: list[TrialRow], tmp_path: Path
) -> None:
    for trials in (1, 8, 10, 30):  # 8 and 10 end in the middle of a batch
        found = search(tmp_path / "journal", trials, settings())
        assert len(found) == trials
    assert found == unbroken


def test_seed_and_sampler_decide(unbroken: list[TrialRow], tmp_path: Path) -> None:
    other = search(tmp_path / "seed", 6, settings(seed=4))
    assert [row.values for row in other] != [row.values for row in unbroken[:6]]
    drawn = search(tmp_path / "random", 30, settings(sampler="random", pruner="none"))
    assert {row.state for row in drawn} == {"done"}
    assert [row.values for row in drawn] != [row.values for row in unbroken]


def test_guided_trials_are_better_than_random_ones(tmp_path: Path) -> None:
    def late(sampler: str) -> float:
        rows = [
            row.score
            for seed in range(5)
            for row in search(
                tmp_path / f"{sampler}{seed}",
                30,
                settings(seed=seed, sampler=sampler, pruner="none"),
            )[15:]
        ]
        return sum(score for score in rows if score is not None) / len(rows)

    assert late("tpe") > late("random") + 0.05


def test_a_trial_that_failed_says_why_and_counts_no_more(tmp_path: Path) -> None:
    study = Study(tmp_path / "journal", SPACE, settings(batch=2))
    one, two = study.propose(4)
    study.tell_failed(one.number, "no such width")
    study.tell_failed(one.number, "told twice")
    train(study, two.number, two.values)
    rows = study.list_trials()
    assert [(row.state, row.why) for row in rows] == [("failed", "no such width"), ("done", "")]
    assert [each.number for each in study.propose(4)] == [2, 3]
    assert find_best(rows[:1]) is None
