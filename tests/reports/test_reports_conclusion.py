"""The sentence at the end of ``mmx train``, and the command that follows it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from mmx.evaluation.power import SeedsNeeded
from mmx.evaluation.verdict import Gain
from mmx.reports import next_command
from mmx.reports.conclusion import conclude_run, conclude_sweep, conclude_without_control
from mmx.reports.group_gain import GroupGain
from mmx.reports.next_command import Typed
from mmx.reports.sweep_gains import Gains
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw
from mmx.runs.summary import DataCard

KEPT = Path(__file__).parent.parent / "runs" / "kept" / "parameter"
ARGV = ["mmx", "train", "target=digits_av", "seed=3", "target.columns={text: t}", "budget=2h"]
SWEEP = Path("outputs/sweeps/x")


@pytest.fixture(scope="module")
def summary():
    return RunDirectory(KEPT).read_summary()


def conclude(summary, interval, argv=ARGV, **changes):
    gain = summary.gain.model_copy(update={"interval": interval, **changes})
    return conclude_run(summary.model_copy(update={"gain": gain, "gains": {}}), Typed(argv))


def test_helps(summary):
    answer, following = conclude(summary, (0.02, 0.1), value=0.05, learned=True)
    assert answer.startswith("answer: ")
    assert " helps on " in answer
    assert answer.endswith("the interval excludes zero for these test rows and this seed.")
    assert following.startswith(
        "next: mmx train -m target=digits_av 'target.columns={text: t}' seed=1,2,3   ("
    )


def test_not_clear(summary):
    answer, _ = conclude(summary, (-0.02, 0.1), value=0.05, learned=True)
    assert answer.endswith("and the interval includes zero.")


def test_hurts(summary):
    answer, following = conclude(summary, (-0.2, -0.1), value=-0.15, learned=True)
    assert " hurts on " in answer
    assert "transfer=parameter,feature seed=1,2,3" in following
    typed = [*ARGV, "transfer=feature"]
    _, following = conclude(summary, (-0.2, -0.1), typed, value=-0.15, learned=True)
    assert "transfer=feature seed=1,2,3" in following


@pytest.mark.parametrize(
    ("target", "changed"),
    [
        ({"fraction": 0.1, "per_class": None}, "target.fraction=null"),
        ({"fraction": None, "per_class": 10}, "target.per_class=null"),
        ({"fraction": None, "per_class": None}, "trainer.epochs=12"),
    ],
)
def test_at_chance_more_labels_or_epochs_are_advised(summary, target, changed):
    config = {"target": target, "trainer": {"epochs": 4}}
    argv = ["mmx", "train", "target=t", "trainer.epochs=4", "target.fraction=0.1", "seed=1"]
    changes = {"interval": (-0.2, -0.1), "learned": False}
    gain = summary.gain.model_copy(update=changes)
    found = summary.model_copy(update={"gain": gain, "gains": {}})
    answer, following = conclude_run(found, Typed(argv, config))
    assert answer.startswith("answer: No answer on digits_av: neither the target nor the scratch")
    command = following.removeprefix("next: ").split("   (")[0].split()
    assert command[-1] == changed
    assert [word.partition("=")[0] for word in command].count(changed.partition("=")[0]) == 1
    assert "seed=1" in command
    assert "-m" not in command


def test_a_metric_of_which_less_is_better_says_its_direction(summary):
    names = {"metric": "mse", "lower_is_better": True, "learned": True}
    answer, _ = conclude(summary, (0.02, 0.1), value=0.05, **names)
    assert "helps on digits_av: 0.050 lower mse (lower is better) than the scratch" in answer
    answer, _ = conclude(summary, (-0.1, -0.02), value=-0.05, **names)
    assert "hurts on digits_av: 0.050 higher mse (lower is better) than the scratch" in answer


def test_of_several_controls_each_has_its_verdict(summary):
    (answer, _) = conclude_run(summary, Typed(ARGV))
    verdict = "no answer: neither is better than chance"
    assert answer.endswith(
        f"; over other controls: unimodal ({verdict}), linear_probe ({verdict})."
    )


@pytest.mark.parametrize(
    ("source", "inputs", "control"),
    [("none", 2, "unimodal"), ("none", 1, "majority"), ("digits", 2, "scratch")],
)
def test_a_run_without_a_control_is_given_one(summary, source, inputs, control):
    card = DataCard(inputs={f"input{n}": 9 for n in range(inputs)})
    target = summary.target.model_copy(update={"every_metric": {"accuracy": 0.5}})
    changes = {"gain": None, "gains": {}, "target": target, "data_cards": {"target": card}}
    role = summary.source.model_copy(update={"task": source})
    found = summary.model_copy(update={**changes, "source": role})
    argv = ["mmx", "train", "target=t", "control=none", "seed=2"]
    answer, following = conclude_run(found, Typed(argv))
    assert "so no gain is stated" in answer
    assert following.startswith(f"next: mmx train target=t seed=2 control={control}   (")


def test_a_run_without_labels_has_no_control_that_fits(summary):
    answer, following = conclude_run(summary.model_copy(update={"gain": None}), Typed(ARGV))
    assert "so no gain is stated" in answer
    assert "control=" not in following


def group(value, interval, deciding=None, **changes):
    gain = Gain("accuracy", value, interval, **changes)
    draws = (Draw(seed=1), Draw(seed=2))
    return GroupGain({"fusion": "concat"}, draws, 0.9, 0.8, gain, deciding=deciding)


def conclude_groups(summary, *found, argv=ARGV, inputs=1):
    card = DataCard(inputs={f"input{n}": 9 for n in range(inputs)})
    one = summary.model_copy(update={"data_cards": {"target": card}})
    config = {"target": {"fraction": None}, "trainer": {"epochs": 4}}
    return conclude_sweep(Gains(found, len(found)), SWEEP, Typed(argv, config), one)


def test_one_group_is_not_compared(summary):
    clear = group(0.1, (0.05, 0.15))
    said = "answer: positive transfer (+0.100 accuracy over the scratch control, over 2 seeds)."
    noise = "next: mmx eval outputs/sweeps/x suite=noise   (how it does with noisy inputs)"
    assert conclude_groups(summary, clear) == [said, noise]
    assert conclude_groups(summary, clear, inputs=2) == [
        said,
        "next: mmx eval outputs/sweeps/x suite=missing   (how it does without some inputs)",
    ]


@pytest.mark.parametrize(
    ("deciding", "seeds", "why"),
    [
        (None, 4, "more"),
        (SeedsNeeded(7), 7, "about 7 seeds"),
        (SeedsNeeded(None), 4, "more than 50 seeds"),
    ],
)
def test_an_interval_with_zero_asks_for_more_seeds(summary, deciding, seeds, why):
    answer, following = conclude_groups(summary, group(0.1, (-0.05, 0.15), deciding))
    assert answer == (
        "answer: no clear difference (+0.100 accuracy over the scratch control, over 2 seeds)."
    )
    assert following == (
        "next: mmx train -m target=digits_av 'target.columns={text: t}' seed=1 "
        f"seeds={seeds} hydra.sweep.dir=outputs/sweeps/x   "
        f"(a narrower interval over the scratch control; {why} would decide)"
    )


def test_seeds_are_not_advised_where_none_would_decide(summary):
    few_rows = group(0.1, (-0.05, 0.15), SeedsNeeded(None, samples=True))
    _, following = conclude_groups(summary, few_rows)
    assert "suite=noise" in following
    _, following = conclude_groups(summary, few_rows, inputs=2)
    assert "suite=missing" in following


def test_a_group_at_chance_has_no_answer(summary):
    answer, following = conclude_groups(summary, group(0.1, (-0.1, 0.3), learned=False))
    assert answer == (
        "answer: no answer: neither is better than chance "
        "(target 0.900, scratch control 0.800 accuracy over 2 seeds)."
    )
    assert "trainer.epochs=12" in following


def test_each_control_has_an_answer(summary):
    over_one = group(0.1, (0.05, 0.15), control="unimodal")
    lines = conclude_groups(summary, group(-0.1, (-0.2, -0.05)), over_one)
    assert lines[0].startswith("answer: negative transfer: the source hurts (-0.100 accuracy over")
    assert lines[1].startswith("answer: better than the unimodal control (+0.100 accuracy over")


def test_several_groups_are_compared_where_they_can_be(summary, monkeypatch):
    found = (
        group(0.1, (0.05, 0.15)),
        group(-0.1, (-0.2, -0.05)),
        group(0, (-1, 1)),
        group(0, None),
        group(0.2, (0.1, 0.3), learned=False),
    )
    answer, following = conclude_groups(summary, *found)
    assert answer == (
        "answer: of 5 groups, 1 clearly better than the scratch control, 1 clearly worse, "
        "2 not clear, and 1 without an answer: neither is better than chance."
    )
    assert "compare" not in following
    monkeypatch.setattr(next_command, "can_be_compared", lambda path: path == SWEEP)
    _, following = conclude_groups(summary, *found)
    assert following == "next: mmx compare outputs/sweeps/x   (groups side by side)"


def test_gains_on_several_targets_are_seen_as_a_matrix(summary):
    found = [
        dataclasses.replace(group(0.1, ends), group={"target": target})
        for target, ends in (("digits", (0.05, 0.15)), ("fsdd", (-0.1, 0.3)))
    ]
    _, following = conclude_groups(summary, *found)
    matrix = "mmx matrix outputs/sweeps/x   (every source on every target)"
    assert following == f"next: {matrix}"
    role = summary.source.model_copy(update={"task": "none"})
    alone = summary.model_copy(update={"source": role})
    assert "matrix" not in conclude_groups(alone, *found)[-1]
    argv = ["mmx", "matrix", "source=digits", "target=digits_av,fsdd"]
    assert "matrix" not in conclude_groups(summary, *found, argv=argv)[-1]


def make_run(summary, target, val, test, *, source="none", inputs=1, metric="accuracy"):
    """Return the summary of a run without a control."""
    metrics = {"val": {"loss": 1.0, metric: val}, "test": {"loss": 1.0, metric: test}}
    role = summary.target.model_copy(
        update={"task": target, "metrics": metrics, "every_metric": {metric: test}}
    )
    changes = {
        "gain": None,
        "gains": {},
        "target": role,
        "source": summary.source.model_copy(update={"task": source}),
        "data_cards": {"target": DataCard(inputs={f"input{n}": 9 for n in range(inputs)})},
    }
    return summary.model_copy(update=changes)


PLAIN = ["mmx", "train", "-m", "target=digits", "control=none", "seed=1,2", "budget=1h"]


def test_without_a_control_the_best_by_validation_is_named(summary):
    groups = {
        (("fusion", "concat"),): [make_run(summary, "digits", 0.6, 0.9)],
        (("fusion", "gmu"),): [
            make_run(summary, "digits", 0.7, 0.5),
            make_run(summary, "digits", 0.8, 0.7),
        ],
    }
    assert conclude_without_control(groups, SWEEP, Typed(PLAIN)) == [
        "answer: digits: fusion=gmu is best by validation of 2 groups, accuracy 0.600 on test, "
        "mean of 2 runs; there is no source and no other control, so no gain is stated.",
        "next: mmx train -m target=digits seed=1,2 control=majority   "
        "(whether it is better than a control)",
    ]
    for label, metric in ((("fusion", "gmu"), "accuracy"), (("fusion", "concat"), "mse")):
        scored = {
            key: [make_run(summary, "digits", val, 0.5, metric=metric)]
            for key, val in (((("fusion", "concat"),), 0.1), ((("fusion", "gmu"),), 0.2))
        }
        answer, _ = conclude_without_control(scored, SWEEP, Typed(PLAIN))
        assert f"{'='.join(label)} is best" in answer


def test_each_target_without_a_control_has_an_answer(summary):
    groups = {
        (("target", "digits"),): [make_run(summary, "digits", 0.6, 0.9, source="fsdd")],
        (("target", "fsdd"),): [make_run(summary, "fsdd", 0.1, math.nan, inputs=2)],
    }
    assert conclude_without_control(groups, SWEEP, Typed(PLAIN)) == [
        "answer: digits: accuracy 0.900 on test; no control was trained, so no gain is stated.",
        "answer: fsdd: accuracy nan on test; no control was trained, so no gain is stated.",
        "next: mmx train -m target=digits seed=1,2 control=scratch   "
        "(whether it is better than a control)",
    ]


def test_without_a_validation_metric_no_group_is_the_best(summary):
    groups = {(("fusion", name),): [make_run(summary, "digits", math.nan, 0.5)] for name in "ab"}
    answer, _ = conclude_without_control(groups, SWEEP, Typed(PLAIN))
    assert answer.startswith("answer: digits: none of 2 groups has accuracy on validation; ")


def test_a_sweep_that_no_control_fits_is_measured_with_worse_inputs(summary):
    run = make_run(summary, "digits", 0.5, 0.5, inputs=2)
    run.target.every_metric.clear()
    _, following = conclude_without_control({(): [run]}, SWEEP, Typed(PLAIN))
    assert following.startswith("next: mmx eval outputs/sweeps/x suite=missing   (")
