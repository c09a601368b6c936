"""Less data: what a sweep over label fractions says in a sentence."""

from __future__ import annotations

from mmx.evaluation.verdict import Gain
from mmx.reports.group_gain import GroupGain
from mmx.reports.sweep_gains import find_less_data
from mmx.runs.draw import Draw


def point(fraction: str, target: float, control: float, **group: str) -> GroupGain:
    gain = Gain("accuracy", target - control, (-1.0, 1.0))
    return GroupGain({**group, "target.fraction": fraction}, (Draw(),), target, control, gain)


def test_the_smallest_part_of_the_labels_that_is_enough() -> None:
    found = [
        point("1.0", 0.9, 0.7),
        point("0.1", 0.6, 0.2),
        point("0.5", 0.7, 0.6),
        point("0.25", 0.72, 0.5),
    ]
    (answer,) = find_less_data(found)
    assert answer.reached == 0.25
    assert [each.group["target.fraction"] for each in answer.points] == [
        "0.1",
        "0.25",
        "0.5",
        "1.0",
    ]
    assert answer.text == (
        "with 25 % of the labels the transfer reaches on average what the scratch control has with "
        "100 % (0.700 accuracy): 0.720, no interval, for want of the same seeds and test samples"
    )


def test_where_no_part_is_enough_the_best_one_is_told() -> None:
    found = [point("0.05", 0.2, 0.1, fusion="gmu"), point("0.5", 0.3, 0.8, fusion="gmu")]
    (answer,) = find_less_data(found)
    assert answer.reached is None
    assert answer.text == (
        "fusion=gmu: with no fraction of the labels tried does the transfer reach what the scratch "
        "control has with 50 % (0.800 accuracy): at best 0.300 with 50 %"
    )


def test_the_whole_of_the_labels_is_no_smaller_part() -> None:
    (answer,) = find_less_data([point("1.0", 0.7, 0.7), point("0.1", 0.6, 0.2)])
    assert answer.reached == 1.0
    assert answer.text == (
        "no smaller part of the labels brings the transfer to what the scratch control has with "
        "100 % (0.700 accuracy); with as many it has 0.700"
    )


def test_fractions_of_models_that_learned_nothing_say_nothing() -> None:
    last = point("1.0", 0.1, 0.1)
    gain = Gain("accuracy", 0.0, (-1.0, 1.0), learned=False)
    last = GroupGain(last.group, (Draw(),), 0.1, 0.1, gain)
    (answer,) = find_less_data([last, point("0.1", 0.2, 0.1)])
    assert answer.reached is None
    assert answer.text == (
        "no answer: with 100 % of the labels neither the transfer nor the scratch control does "
        "better than always saying the most frequent class"
    )


def test_one_fraction_is_no_curve() -> None:
    assert find_less_data([point("0.5", 0.3, 0.8)]) == []
    assert (
        find_less_data([GroupGain({"fusion": "gmu"}, (Draw(),), 0.1, 0.2, Gain("accuracy", -0.1))])
        == []
    )
