"""The gains of a sweep, from run directories that were written by hand."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from html_pages import HtmlPage, read_lines, read_rows
from rich.console import Console

from mmx.errors import DamagedFileError
from mmx.evaluation.faster import Faster
from mmx.evaluation.gain_intervals import (
    Differences,
    GainInterval,
    bonferroni_level,
    find_sample_interval,
)
from mmx.evaluation.sample_metric import SampleScores
from mmx.reports import gains_page
from mmx.reports.group_gain import GroupFaster
from mmx.reports.sweep_gains import Gains, compute_gains, find_less_data
from mmx.reports.sweep_page import render_sweep
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw

Array = npt.NDArray[np.float64]
SAMPLES = 400


def hits(values: Array) -> SampleScores:
    return SampleScores("accuracy", values[:, None], np.arange(len(values)))


def run(folder: Path, name: str, seed: int, target: Array, **controls: Array) -> Path:
    """Write what of a finished run its sweep reads."""
    path = folder / name
    path.mkdir(parents=True)
    summary: dict[str, Any] = {
        "seed": seed,
        "target": {"metrics": {"test": {"accuracy": float(target.mean()), "loss": 1.0}}},
    }
    if controls:
        summary["gain"] = {"metric": "accuracy"}
        summary["control"] = {
            control: {"metrics": {"test": {"accuracy": float(each.mean()), "loss": 2.0}}}
            for control, each in controls.items()
        }
    (path / "summary.json").write_text(json.dumps(summary))
    directory = RunDirectory(path)
    sample_scores.write_scores(
        directory, hits(target), {name: hits(each) for name, each in controls.items()}
    )
    return path


def drawn(seed: int, rate: float) -> Array:
    return (np.random.default_rng(seed).random(SAMPLES) < rate).astype(np.float64)


@pytest.fixture
def paths(tmp_path: Path) -> dict[tuple[tuple[str, str], ...], list[Path]]:
    """Three seeds of two fusions, one of which hurts; and a group that has no control."""
    found: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for fusion, rate in (("concat", 0.9), ("gmu", 0.1)):
        members = found.setdefault((("fusion", fusion),), [])
        for seed in range(3):
            extra = {"majority": drawn(seed + 40, 0.3)} if fusion == "gmu" else {}
            target, scratch = drawn(seed, rate), drawn(seed + 20, 0.5)
            members.append(run(tmp_path, f"{fusion}{seed}", seed, target, scratch=scratch, **extra))
    found[(("fusion", "none"),)] = [run(tmp_path, "none", 0, drawn(0, 0.5))]
    return found


def test_scores_come_back_as_they_were_written(tmp_path: Path) -> None:
    one, two = drawn(1, 0.5), drawn(2, 0.5)
    directory = RunDirectory(run(tmp_path, "a", 0, one, scratch=two))
    found = sample_scores.read_scores(directory)
    assert found is not None
    assert found[0].metric == found[1]["scratch"].metric == "accuracy"
    assert np.array_equal(found[0].statistics[:, 0], one)
    assert np.array_equal(found[1]["scratch"].statistics[:, 0], two)
    assert np.array_equal(found[1]["scratch"].rows, np.arange(SAMPLES))
    (directory.path / sample_scores.FILE).write_bytes(b"damaged")
    with pytest.raises(DamagedFileError):
        sample_scores.read_scores(directory)
    (directory.path / sample_scores.FILE).unlink()
    assert sample_scores.read_scores(directory) is None


def test_each_group_and_control_has_a_gain_with_a_simultaneous_interval(
    paths: dict[Any, list[Path]],
) -> None:
    found = compute_gains(paths)
    assert found.comparisons == 3
    assert found.level == bonferroni_level(3) == pytest.approx(1 - 0.05 / 3)
    assert [(each.label, each.gain.control, each.seeds) for each in found.found] == [
        ("fusion=concat", "scratch", (0, 1, 2)),
        ("fusion=gmu", "scratch", (0, 1, 2)),
        ("fusion=gmu", "majority", (0, 1, 2)),
    ]
    over_scratch, over_majority = (
        [
            Differences.of([(hits(drawn(s, rate)), hits(drawn(s + far, least))) for s in range(3)])
            for rate in rates
        ]
        for rates, far, least in (((0.9, 0.1), 20, 0.5), ((0.1,), 40, 0.3))
    )
    # The spread over seeds is shared by the groups over one control, and by no others.
    wanted = [
        *GainInterval.of(over_scratch, level=found.level),
        *GainInterval.of(over_majority, level=found.level),
    ]
    assert [each.gain.interval for each in found.found] == [each.interval for each in wanted]
    first = found.found[0]
    assert first.gain.value == pytest.approx(over_scratch[0].values.mean())
    assert [each.higher for each in found.found] == [3, 0, 0]
    assert first.target - first.control == pytest.approx(first.gain.value)
    assert [each.gain.verdict for each in found.found] == [
        "positive transfer",
        "negative transfer: the source hurts",
        "worse than the majority control",
    ]
    assert [each.gain.negative for each in found.found] == [False, True, False]


def test_one_seed_has_an_interval_over_samples(tmp_path: Path) -> None:
    one, two = drawn(1, 0.8), drawn(2, 0.5)
    found = compute_gains({(): [run(tmp_path, "a", 4, one, scratch=two)]})
    assert found.found[0].gain.interval == find_sample_interval((hits(one), hits(two)))
    assert gains_page.list_notes(found) == [gains_page.ONE_SEED]


def test_runs_without_scores_are_compared_by_their_metrics(
    paths: dict[Any, list[Path]],
) -> None:
    (group, members), *_ = paths.items()
    (members[0] / sample_scores.FILE).unlink()
    (each,) = compute_gains({group: members}).found
    low, high = each.gain.interval or (np.nan, np.nan)
    assert low < each.gain.value < high
    for path in members:
        (path / sample_scores.FILE).unlink(missing_ok=True)
    (again,) = compute_gains({group: members}).found
    assert again.gain.interval == each.gain.interval
    (alone,) = compute_gains({group: members[:1]}).found
    assert alone.gain.interval is None
    assert alone.gain.verdict == "one run, no interval"


def test_a_gain_says_in_how_many_seeds_it_was_higher_and_how_many_would_decide(
    tmp_path: Path,
) -> None:
    members = [
        run(tmp_path, str(seed), seed, drawn(seed, rate), scratch=drawn(seed + 20, 0.5))
        for seed, rate in enumerate((0.65, 0.75, 0.4))
    ]
    (each,) = compute_gains({(): members}).found
    assert each.gain.verdict == "no clear difference"
    assert each.higher == 2
    assert each.deciding is not None
    found = Gains((each,), 1)
    shown = dict(
        zip(gains_page.make_grid(found).columns, gains_page.make_grid(found).rows[0], strict=True)
    )
    assert shown["higher in"] == "2 of 3 seeds"
    assert shown["would decide"] == str(each.deciding)
    assert gains_page.DECIDING in gains_page.list_notes(found)
    numbers = each.numbers()
    assert numbers["higher_seeds"] == 2
    assert numbers["deciding_seeds"] == each.deciding.seeds
    assert numbers["deciding"] == str(each.deciding)


def test_two_seeds_keep_to_the_possible_range(tmp_path: Path) -> None:
    members = [
        run(tmp_path, str(seed), seed, drawn(seed, rate), scratch=drawn(seed + 20, 0.5))
        for seed, rate in enumerate((0.9, 0.2))
    ]
    (each,) = compute_gains({(): members}).found
    assert each.gain.interval == (-1.0, 1.0)


def test_a_metric_that_is_no_number_has_no_verdict(tmp_path: Path) -> None:
    members = [
        run(tmp_path, str(seed), seed, drawn(seed, 0.5), scratch=drawn(seed + 9, 0.5))
        for seed in range(2)
    ]
    summary = json.loads((members[0] / "summary.json").read_text())
    summary["target"]["metrics"]["test"]["accuracy"] = float("nan")
    (members[0] / "summary.json").write_text(json.dumps(summary))
    (members[0] / sample_scores.FILE).unlink()
    (each,) = compute_gains({(): members}).found
    assert each.gain.verdict == "no verdict: a metric is no number"


def test_a_sweep_without_controls_has_no_gains(tmp_path: Path) -> None:
    found = compute_gains({(): [run(tmp_path, "a", 0, drawn(0, 0.5))]})
    assert found.found == ()
    assert found.comparisons == 0


def at_chance(path: Path, accuracy: float) -> Path:
    """Say of a run's test split what the most frequent class has."""
    file = path / "summary.json"
    summary = json.loads(file.read_text())
    summary["target"]["chance"] = {"accuracy": accuracy, "samples": SAMPLES}
    file.write_text(json.dumps(summary))
    return path


@pytest.mark.parametrize(("least", "learned"), [(0.4, True), (0.5, False)])
def test_a_group_at_chance_has_no_answer(tmp_path: Path, least: float, learned: bool) -> None:
    members = [
        at_chance(
            run(
                tmp_path,
                str(seed),
                seed,
                drawn(seed, 0.1),
                scratch=drawn(seed + 9, 0.5),
                majority=drawn(seed + 20, 0.5),
            ),
            least,
        )
        for seed in range(3)
    ]
    found = compute_gains({(): members})
    over_scratch, over_majority = found.found
    assert over_majority.gain.verdict == "worse than the majority control"  # it is chance itself
    notes = gains_page.list_notes(found)
    if learned:
        assert over_scratch.gain.verdict == "negative transfer: the source hurts"
        assert notes == [gains_page.SEEDS]
    else:
        assert over_scratch.gain.verdict == "no answer: neither is better than chance"
        assert not over_scratch.gain.negative
        assert notes == [gains_page.SEEDS, gains_page.AT_CHANCE]
        assert "no answer: neither is better than chance" in {
            cell for row in gains_page.make_grid(found).rows for cell in row
        }


def soon(path: Path, steps: int | None, seconds: float | None, took: int) -> Path:
    """Say of a run when its target was as good as its control's best."""
    file = path / "summary.json"
    found = Faster("accuracy", 0.5, "scratch", took, took / 100, steps, seconds)
    file.write_text(json.dumps({**json.loads(file.read_text()), "faster": asdict(found)}))
    return path


def seeds_of(folder: Path, *reached: tuple[int | None, float | None, int]) -> list[Path]:
    """Write a run for each: steps and seconds of its target, steps of its control."""
    return [
        soon(
            run(folder, str(seed), seed, drawn(seed, 0.8), scratch=drawn(seed + 9, 0.5)),
            *each,
        )
        for seed, each in enumerate(reached)
    ]


def test_a_group_says_how_soon_its_targets_are_as_good(tmp_path: Path) -> None:
    (each,) = compute_gains(
        {(): seeds_of(tmp_path, (40, 0.5, 1300), (None, None, 1200), (80, 0.25, 900))}
    ).found
    # Never is longer than any: of 40, 80 and never the median is 80.
    assert each.faster == GroupFaster(2, 80, 0.5, 1200, 12.0)
    shown = gains_page.make_grid(Gains((each,), 1))
    assert shown.columns[-1] == "to the control's best"
    assert shown.rows[0][-1] == "2 of 3: 80 / 1,200 steps, 0.50 / 12.00 s"
    assert gains_page.FASTER.format(unit="seed") in gains_page.list_notes(Gains((each,), 1))
    numbers = each.numbers()
    assert {key: numbers[key] for key in numbers if key.startswith("faster")} == {
        "faster_reached": 2,
        "faster_target_steps": 80,
        "faster_control_steps": 1200,
        "faster_target_s": 0.5,
        "faster_control_s": 12.0,
    }


def test_a_median_seed_that_never_gets_there_has_no_number(tmp_path: Path) -> None:
    (each,) = compute_gains({(): seeds_of(tmp_path, (40, 0.5, 300), (None, None, 400))}).found
    assert each.faster == GroupFaster(1, None, None, 350, 3.5)
    found = Gains((each,), 1)
    assert gains_page.make_grid(found).rows[0][-1] == "1 of 2: – / 350 steps, – / 3.50 s"
    gains_page.write_gains(tmp_path, found)
    with (tmp_path / "gains.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["faster_reached"], line["faster_target_steps"]) == ("1", "")
    assert json.loads((tmp_path / "gains.json").read_text())["gains"][0]["faster_target_s"] is None
    page = HtmlPage(render_sweep("s", [], found))
    assert "1 of 2: – / 350 steps, – / 3.50 s" in page.text


def test_only_the_observed_control_has_a_speed(tmp_path: Path) -> None:
    one, two = drawn(1, 0.8), drawn(2, 0.5)
    path = soon(run(tmp_path, "a", 0, one, scratch=two, majority=two), 40, 0.5, 300)
    by_name = {each.gain.control: each.faster for each in compute_gains({(): [path]}).found}
    assert by_name == {"scratch": GroupFaster(1, 40, 0.5, 300, 3.0), "majority": None}
    silent = run(tmp_path, "b", 1, one, scratch=two)  # one that does not say
    (each,) = compute_gains({(): [run(tmp_path, "c", 2, one, scratch=two), silent]}).found
    assert each.faster is None
    assert "to the control's best" not in gains_page.make_grid(Gains((each,), 1)).columns


@pytest.mark.parametrize(("least", "stated"), [(0.3, True), (0.5, False)])
def test_to_be_as_good_as_chance_is_not_fast(tmp_path: Path, least: float, stated: bool) -> None:
    members = [at_chance(path, least) for path in seeds_of(tmp_path, (40, 0.5, 300), (9, 0.1, 60))]
    (each,) = compute_gains({(): members}).found
    assert each.gain.learned  # the target beats chance, its control may not
    assert (each.faster is not None) == stated


def fractions(folder: Path, rates: dict[str, float], seeds: int, wanted: float) -> Gains:
    """Return the gains of a curve whose control has ``wanted`` with all labels."""
    return compute_gains(
        {
            (("target.fraction", part),): [
                run(
                    folder,
                    f"{part}-{seed}",
                    seed,
                    drawn(seed, rate),
                    scratch=drawn(seed + 20, wanted if part == "1.0" else 0.2),
                )
                for seed in range(seeds)
            ]
            for part, rate in rates.items()
        }
    )


def test_less_data_has_a_paired_interval_against_the_control_with_all(tmp_path: Path) -> None:
    rates = {"0.1": 0.3, "0.25": 0.53, "0.5": 0.8, "1.0": 0.9}
    found = fractions(tmp_path, rates, 3, 0.5)
    (answer,) = found.less_data
    assert answer.level == bonferroni_level(3)  # three fractions are less than all
    assert list(answer.intervals) == [0.1, 0.25, 0.5]
    theirs = [hits(drawn(seed + 20, 0.5)) for seed in range(3)]
    parts = ("0.1", "0.25", "0.5")
    compared = [
        Differences.of([(hits(drawn(s, rates[part])), theirs[s]) for s in range(3)])
        for part in parts
    ]
    for part, sure in zip(parts, GainInterval.of(compared, level=bonferroni_level(3)), strict=True):
        assert answer.interval(float(part)) == sure.interval
    assert (answer.reached, answer.certain) == (0.25, 0.5)
    low, high = answer.interval(0.25) or (np.nan, np.nan)
    assert low < 0 < high
    wanted = float(np.mean([each.value for each in theirs]))
    had = float(np.mean([drawn(seed, 0.53).mean() for seed in range(3)]))
    assert answer.text == (
        "with 25 % of the labels the transfer reaches on average what the scratch control has with "
        f"100 % ({wanted:.3f} accuracy): {had:.3f}, {had - wanted:+.3f} with 98.33 % interval "
        f"{low:+.3f} … {high:+.3f}, which does not exclude that it falls short; that of 50 % of "
        "the labels does"
    )
    (line,) = found.data()["less_data"]
    assert line["reached"] == 0.25
    assert line["interval"] == (low, high)
    assert line["certain"] == 0.5
    assert line["level"] == answer.level


def test_less_data_that_is_enough_beyond_doubt(tmp_path: Path) -> None:
    (answer,) = fractions(tmp_path, {"0.5": 0.8, "1.0": 0.9}, 1, 0.5).less_data
    pair = (hits(drawn(0, 0.8)), hits(drawn(20, 0.5)))
    low, high = find_sample_interval(pair)
    assert low > 0
    assert (answer.reached, answer.certain) == (0.5, 0.5)
    ours, theirs = pair[0].value, pair[1].value
    assert answer.text == (
        "with 50 % of the labels the transfer reaches what the scratch control has with 100 % "
        f"({theirs:.3f} accuracy): {ours:.3f}, {ours - theirs:+.3f} with 95 % interval "
        f"{low:+.3f} … {high:+.3f}"
    )


def test_less_data_that_no_interval_confirms(tmp_path: Path) -> None:
    (answer,) = fractions(tmp_path, {"0.5": 0.6, "1.0": 0.6}, 1, 0.5).less_data
    assert (answer.reached, answer.certain) == (0.5, None)
    assert answer.text.endswith(", which does not exclude that it falls short")
    assert "reaches on average" in answer.text


def test_other_seeds_or_other_samples_make_no_pairs(tmp_path: Path) -> None:
    found = fractions(tmp_path, {"0.5": 0.8, "1.0": 0.9}, 2, 0.5).found
    assert find_less_data(found)[0].interval(0.5) is not None
    fewer = replace(found[1], draws=(Draw(),), pairs={Draw(): found[1].pairs[Draw()]})
    assert find_less_data([found[0], fewer])[0].interval(0.5) is None
    ours, theirs = found[1].pairs[Draw(seed=1)]
    moved = {
        Draw(): found[1].pairs[Draw()],
        Draw(seed=1): (ours, replace(theirs, rows=theirs.rows + 1)),
    }
    (answer,) = find_less_data([found[0], replace(found[1], pairs=moved)])
    assert answer.interval(0.5) is None
    assert answer.certain is None
    assert answer.reached == 0.5


def said(table: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_the_table_names_what_differs(paths: dict[Any, list[Path]]) -> None:
    text = said(gains_page.make_gains_table(compute_gains(paths)))
    title = "Gain over the control, 98.33 % intervals: all 3 hold together in 95 % of cases"
    assert title in text
    heads = ("fusion", "metric", "over", "seeds", "target mean", "control mean", "gain", "interval")
    assert all(head in text for head in heads)
    assert "negative transfer: the source hurts" in text


def test_one_comparison_needs_no_correction(paths: dict[Any, list[Path]]) -> None:
    (group, members), *_ = paths.items()
    text = said(gains_page.make_gains_table(compute_gains({group: members})))
    assert "Gain over the control, 95 % interval" in text
    assert " over " not in text.splitlines()[2]  # there is one control


def test_a_value_in_brackets_is_no_markup(tmp_path: Path) -> None:
    group = (("modalities", "[image,text]"), ("control", "[scratch,majority]"))
    path = run(tmp_path, "a", 0, drawn(1, 0.8), scratch=drawn(2, 0.5), majority=drawn(3, 0.1))
    text = said(gains_page.make_gains_table(compute_gains({group: [path]})))
    assert "[image,text]" in text
    assert "[scratch,majority]" in text


def test_the_files_hold_the_numbers_in_full(paths: dict[Any, list[Path]], tmp_path: Path) -> None:
    found = compute_gains(paths)
    folder = tmp_path / "sweep"
    folder.mkdir()
    gains_page.write_gains(folder, found)
    with (folder / "gains.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["fusion"] for line in lines] == ["concat", "gmu", "gmu"]
    assert [line["over"] for line in lines] == ["scratch", "scratch", "majority"]
    assert [line["negative_transfer"] for line in lines] == ["False", "True", "False"]
    for line, each in zip(lines, found.found, strict=True):
        assert float(line["gain"]) == each.gain.value
        assert (float(line["low"]), float(line["high"])) == each.gain.interval
        assert line["seeds"] == "3"
    data = json.loads((folder / "gains.json").read_text())
    assert data["comparisons"] == 3
    assert data["correction"] == "bonferroni"
    assert data["gains"][1]["group"] == {"fusion": "gmu"}
    assert data["gains"][1]["gain"] == found.found[1].gain.value
    assert data["less_data"] == []
    page = HtmlPage(render_sweep("s", [], found))
    (chart,) = page.charts.values()
    rows = read_rows(chart)
    assert len(rows) == 3
    for each in found.found:
        row = rows[f"{each.label} over {each.gain.control}"]
        assert (row["x"], row["low"], row["high"]) == (each.gain.value, *(each.gain.interval or ()))
        assert row["out"]  # all three intervals exclude zero
    assert "negative transfer: the source hurts" in page.text


def test_a_curve_is_drawn_and_told(tmp_path: Path) -> None:
    paths: dict[tuple[tuple[str, str], ...], list[Path]] = {
        (("target.fraction", part),): [
            run(tmp_path, part, 0, drawn(1, rate), scratch=drawn(2, rate - 0.3))
        ]
        for part, rate in (("0.1", 0.5), ("1.0", 0.9))
    }
    found = compute_gains(paths)
    folder = tmp_path / "sweep"
    folder.mkdir()
    gains_page.write_gains(folder, found)
    data = json.loads((folder / "gains.json").read_text())
    (curve,) = data["less_data"]
    assert curve["text"] in gains_page.list_notes(found)
    _, labels = HtmlPage(render_sweep("s", [], found)).charts.values()
    (small, large) = found.less_data[0].points
    assert read_lines(labels) == {
        "transfer": [(0.1, small.target), (1.0, large.target)],
        "scratch": [(0.1, small.control), (1.0, large.control)],
    }
