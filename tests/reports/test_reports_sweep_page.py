"""The page of a sweep, from rows that were written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from html_pages import HtmlPage, read_rows

from mmx.json_object import Json
from mmx.reports.parallel_coordinates import Axis
from mmx.reports.sweep_gains import Gains
from mmx.reports.sweep_page import render_sweep, write_sweep
from mmx.runs.draw import Draw
from mmx.runs.sweep import DRAW, GROUP

NONE = Gains((), 0)
HOSTILE = "</script><script>document.title='owned'</script><b>"


def row(fusion: str, seed: int, val: float, test: float, **more: Any) -> Json:
    label = {"fusion": fusion, "transfer": "a b"}
    return {
        "job": f"fusion={fusion} seed={seed}",
        "run": f"runs/{fusion}{seed}",
        "status": "done",
        "error": "",
        **label,
        "seed": str(seed),
        GROUP: tuple(label.items()),
        DRAW: Draw(seed=seed),
        "val.accuracy": val,
        "test.accuracy": test,
        "seconds": 10.0 * seed + 1,
        **more,
    }


ROWS = [
    row("concat", 1, 0.5, 0.9),
    row("concat", 2, 0.7, 0.8),
    row("gmu", 1, 0.9, 0.25),
    row("gmu", 2, 0.8, 0.75),
    {
        **{key: row("gmu", 3, 0, 0)[key] for key in ("job", "fusion", "seed", GROUP, DRAW)},
        **{"run": "", "status": "failed", "error": HOSTILE},
    },
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
    more = [{**each, "lower_is_better": False} for each in rows]
    best = "Best by validation: fusion=concat transfer=a b, cost_of_errors 4.000 on test"
    assert best in HtmlPage(render_sweep("x", more, NONE)).text


@pytest.mark.parametrize("rows", [[], ROWS[4:], ROWS[:1], [{**ROWS[0], "val.accuracy": None}]])
def test_a_sweep_without_results_has_a_page_too(rows: list[Json], tmp_path: Path) -> None:
    write_sweep(tmp_path, rows, NONE)
    page = HtmlPage.read(tmp_path / "sweep.html")
    page.require_own()
    assert page.tags("h1")


def test_lower_is_better_where_it_is() -> None:
    rows = [
        {**{k: v for k, v in each.items() if "accuracy" not in k}, "val.mse": v, "test.mse": v}
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
