"""The sentence at the end of ``mmx train``, and the command that follows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmx.evaluation.verdict import Gain
from mmx.reports.conclusion import conclude_run, conclude_sweep
from mmx.reports.group_gain import GroupGain
from mmx.reports.sweep_gains import Gains
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw

KEPT = Path(__file__).parent.parent / "runs" / "kept" / "parameter"
ARGV = ["mmx", "train", "target=digits_av", "seed=3", "target.columns={text: t}"]


@pytest.fixture(scope="module")
def summary():
    return RunDirectory(KEPT).read_summary()


def conclude(summary, interval, argv=ARGV, **changes):
    gain = summary.gain.model_copy(update={"interval": interval, **changes})
    return conclude_run(summary.model_copy(update={"gain": gain}), argv)


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


def test_no_gain(summary):
    answer, _ = conclude_run(summary.model_copy(update={"gain": None}), ARGV)
    assert "so no gain is stated" in answer


def group(value, interval):
    gain = Gain("accuracy", value, interval)
    return GroupGain({"fusion": "concat"}, (Draw(seed=1), Draw(seed=2)), 0.9, 0.8, gain)


def test_sweeps():
    path = Path("outputs/sweeps/x")
    one = conclude_sweep(Gains((group(0.1, (0.05, 0.15)),), 1), path)
    assert one == [
        "answer: the target is better than the scratch control: +0.100 accuracy over 2 seeds.",
        "next: mmx compare outputs/sweeps/x   (groups side by side)",
    ]
    found = (
        group(0.1, (0.05, 0.15)),
        group(-0.1, (-0.2, -0.05)),
        group(0, (-1, 1)),
        group(0, None),
    )
    assert conclude_sweep(Gains(found, 4), path)[0] == (
        "answer: of 4 groups, 1 clearly better than the scratch control, 1 clearly worse, "
        "and 2 not clear."
    )
