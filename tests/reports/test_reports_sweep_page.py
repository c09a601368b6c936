"""The page of a sweep, from rows that were written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from html_pages import HtmlPage, read_rows

from mmx.evaluation.verdict import Gain
from mmx.reports.group_gain import GroupGain
from mmx.reports.parallel_coordinates import Axis
from mmx.reports.sweep_gains import Gains
from mmx.reports.sweep_page import render_sweep, write_sweep
from mmx.runs.draw import Draw
from mmx.runs.sweep_row import SweepRow

NONE = Gains((), 0)
HOSTILE = "</script><script>document.title='owned'</script><b>"


def row(fusion: str, seed: int, val: float, test: float, **more: Any) -> SweepRow:
    label = {"fusion": fusion, "transfer": "a b"}
    numbers = {"val.accuracy": val, "test.accuracy": test, "seconds": 10.0 * seed + 1, **more}
    return SweepRow(
        f"fusion={fusion} seed={seed}",
        tuple(label.items()),
        Draw(seed=seed),
        f"runs/{fusion}{seed}",
        "done",
        cells={**label, "seed": str(seed), **numbers},
    )


def change(given: SweepRow, **more: Any) -> SweepRow:
    """Return a row with other numbers."""
    return replace(given, cells={**given.cells, **more})


def measure(given: SweepRow, **metrics: Any) -> SweepRow:
    """Return a row with other metrics than accuracy."""
    kept = {key: value for key, value in given.cells.items() if "accuracy" not in key}
    return replace(given, cells={**kept, **metrics})


ROWS = [
    row("concat", 1, 0.5, 0.9),
    row("concat", 2, 0.7, 0.8),
    row("gmu", 1, 0.9, 0.25),
    row("gmu", 2, 0.8, 0.75),
    replace(
        row("gmu", 3, 0, 0),
        run="",
        status="failed",
        error=HOSTILE,
        cells={"fusion": "gmu", "seed": "3"},
    ),
]


def test_without_a_control_the_best_by_validation_is_the_answer() -> None:
    page = HtmlPage(render_sweep("x", ROWS, NONE))
    page.require_own()
    # gmu is worse on test, which must not choose
    assert "Best by validation: fusion=gmu transfer=a b, accuracy 0.500 on test" in page.text
    assert "5 jobs, 4 done, in 2 groups" in page.text
    means, parallel = page.charts.values()
    rows = read_rows(means)
    assert list(rows) == ["fusion=concat transfer=a b", "fusion=gmu transfer=a b"]
    facts = [(each["x"], each["low"], each["high"], each["out"]) for each in rows.values()]
    assert facts[0] == (pytest.approx(0.85), 0.8, 0.9, False)
    assert facts[1] == (0.5, 0.25, 0.75, True)
    assert page.find_table("fusion", "transfer", "seed", "status")[0] == [
        *("concat", "a b", "1", "done", "0.5000", "0.9000", "11.0000"),
    ]
    assert "failed: fusion=gmu seed=3: </script>" in page.text
    assert "No run has a control" in page.text
    leading = [each for each in parallel["layer"] if each["mark"].get("strokeWidth") == 2]
    assert {point["line"] for each in leading for point in each["data"]["values"]} == {2, 3}


def test_the_least_is_the_best_of_an_own_metric_that_says_so() -> None:
    own = {"metric": "cost_of_errors", "lower_is_better": True}
    rows = [
        row(fusion, 1, 0, 0, **own, **{"val.cost_of_errors": cost, "test.cost_of_errors": cost + 1})
        for fusion, cost in (("concat", 3.0), ("gmu", 2.0))
    ]
    best = "Best by validation: fusion=gmu transfer=a b, cost_of_errors 3.000 on test"
    assert best in HtmlPage(render_sweep("x", rows, NONE)).text
    more = [change(each, lower_is_better=False) for each in rows]
    best = "Best by validation: fusion=concat transfer=a b, cost_of_errors 4.000 on test"
    assert best in HtmlPage(render_sweep("x", more, NONE)).text


def on(target: str, rows: list[SweepRow], **more: Any) -> list[SweepRow]:
    """Return rows as a sweep over targets has them."""
    found = []
    for each in rows:
        label = {"target": target, **dict(each.group)}
        moved = replace(each, run=target + each.run, group=tuple(label.items()))
        found.append(change(moved, **label, **more))
    return found


def test_each_target_has_a_best_of_its_own() -> None:
    easy = [change(each, **{"val.accuracy": 0.99, "test.accuracy": 0.98}) for each in ROWS[:2]]
    page = HtmlPage(render_sweep("x", [*on("a", ROWS[:4]), *on("b", easy)], NONE))
    page.require_own()
    assert (
        "Best by validation: fusion=gmu transfer=a b on a (accuracy 0.500 on test); "
        "fusion=concat transfer=a b on b (accuracy 0.980 on test)"
    ) in page.text
    assert "On validation, which chose them: accuracy 0.850 on a, accuracy 0.990 on b." in page.text
    means, parallel = page.charts.values()  # one group on b alone has nothing to be compared with
    assert list(read_rows(means)) == ["fusion=concat transfer=a b", "fusion=gmu transfer=a b"]
    leading = [each for each in parallel["layer"] if each["mark"].get("strokeWidth") == 2]
    assert {point["line"] for each in leading for point in each["data"]["values"]} == {2, 3}
    assert "blue is the best by validation on each target" in page.text


def test_one_group_on_each_target_is_the_best_of_nothing() -> None:
    page = HtmlPage(render_sweep("x", [*on("a", ROWS[:2]), *on("b", ROWS[2:4])], NONE))
    assert "a: accuracy 0.850 on test; b: accuracy 0.500 on test" in page.text
    assert "On validation: accuracy 0.600 on a, accuracy 0.850 on b." in page.text
    assert "Best by validation" not in page.text
    assert "blue" not in page.text


def test_targets_are_measured_in_metrics_of_their_own() -> None:
    numbers = [
        measure(each, **{"val.r2": r2, "test.r2": r2 / 2})
        for each, r2 in ((ROWS[0], 0.5), (ROWS[2], 0.25))
    ]
    page = HtmlPage(render_sweep("x", [*on("a", ROWS[:4]), *on("b", numbers)], NONE))
    assert "fusion=concat transfer=a b on b (r2 0.250 on test)" in page.text
    heads = ("target", "fusion", "transfer", "runs", "accuracy val", "accuracy test", "r2 val")
    lines = page.find_table(*heads)
    assert [line[4:8] for line in lines] == [
        ["0.600 (0.500 and 0.700)", "0.850 (0.900 and 0.800)", "", ""],
        ["0.850 (0.900 and 0.800)", "0.500 (0.250 and 0.750)", "", ""],
        ["", "", "0.500", "0.250"],
        ["", "", "0.250", "0.125"],
    ]


def test_the_command_that_ran_it_is_shown() -> None:
    words = ["mmx", "train", "-m", "fusion=concat,gmu", "target.path=my table.csv"]
    page = HtmlPage(render_sweep("x", ROWS, NONE, words))
    assert "mmx train -m fusion=concat,gmu 'target.path=my table.csv'" in page.text
    assert "Run it again" not in HtmlPage(render_sweep("x", ROWS, NONE)).text


@pytest.mark.parametrize(("low", "said"), [(-0.5, False), (-9.0, True)])
def test_arrows_are_explained_where_there_are_some(low: float, said: bool) -> None:
    gain = Gain("accuracy", 0.1, (low, 0.7), "scratch", True, False)
    found = GroupGain({"fusion": "gmu"}, (Draw(seed=1),), 0.6, 0.5, gain)
    text = HtmlPage(render_sweep("x", ROWS, Gains((found,), 1))).text
    assert ("An arrow: the interval goes on." in text) == said


@pytest.mark.parametrize(
    "rows", [[], ROWS[4:], ROWS[:1], [change(ROWS[0], **{"val.accuracy": None})]]
)
def test_a_sweep_without_results_has_a_page_too(rows: list[SweepRow], tmp_path: Path) -> None:
    write_sweep(tmp_path, rows, NONE)
    page = HtmlPage.read(tmp_path / "sweep.html")
    page.require_own()
    assert page.tags("h1")


def test_lower_is_better_where_it_is() -> None:
    rows = [
        measure(each, **{"val.mse": v, "test.mse": v})
        for each, v in ((ROWS[0], 2.0), (ROWS[2], 1.0))
    ]
    page = HtmlPage(render_sweep("x", rows, NONE))
    assert "Best by validation: fusion=gmu transfer=a b, mse 1.000 on test" in page.text


def test_axes_place_numbers_by_size_and_texts_by_choice() -> None:
    numbers = Axis("n", [1, 3, 2])
    assert [numbers.place(line) for line in range(3)] == [0.0, 1.0, 0.5]
    assert numbers.list_ticks() == [(0.0, "1"), (1.0, "3")]
    texts = Axis("t", ["a", "b", "a", "b"])
    assert [texts.place(line) for line in range(4)] == [0.75, 0.25, 0.75, 0.25]
    assert texts.list_ticks() == [(0.25, "b"), (0.75, "a")]
    assert Axis("same", [2, 2]).place(0) == 0.5


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (400, True)])
def test_the_table_sorts_and_filters(
    width: int, dark: bool, browser: Browser, tmp_path: Path
) -> None:
    write_sweep(tmp_path, ROWS, NONE)
    shown = browser.open(tmp_path / "sweep.html", width=width, dark=dark)
    assert shown.errors == shown.requests == []
    assert browser.evaluate("document.querySelectorAll('.plot svg').length") == 2
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.find_wide() == []
    rows = "[...document.querySelectorAll('#runs tbody tr')]"
    cells = f"{rows}.filter((x) => !x.hidden).map((x) => x.cells[5].textContent)"
    head = "[...document.querySelectorAll('#runs th[scope=col]')][5]"
    assert browser.evaluate(f"{head}.textContent") == "test.accuracy"
    browser.evaluate(f"{head}.querySelector('button').click()")
    assert browser.evaluate(cells) == ["0.2500", "0.7500", "0.8000", "0.9000", ""]
    browser.evaluate(
        "{const x = document.querySelector('.filters select'); x.value = 'gmu';"
        " x.dispatchEvent(new Event('input', {bubbles: true}))}"
    )
    assert browser.evaluate(cells) == ["0.2500", "0.7500", ""]
    browser.evaluate(
        "{const x = document.querySelector('.filters input'); x.value = 'done 0.8';"
        " x.dispatchEvent(new Event('input', {bubbles: true}))}"
    )
    assert browser.evaluate(cells) == ["0.7500"]
    assert browser.evaluate("document.querySelector('.filters output').textContent") == "1 of 5"


@pytest.mark.browser
def test_heads_are_repeated_on_each_page_of_paper(browser: Browser, tmp_path: Path) -> None:
    """A head with a box of its own in it, such as a button, is printed once."""
    write_sweep(tmp_path, ROWS, NONE)
    browser.open(tmp_path / "sweep.html")
    browser.emulate(media="print")
    display = "getComputedStyle(document.querySelector({}), null).display"
    assert browser.evaluate(display.format("'#runs thead'")) == "table-header-group"
    assert browser.evaluate(display.format("'#runs th button'")) == "contents"
