"""The pages of real runs in a browser: a report, suites of one run and over seeds, a comparison."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from browser import Browser

from mmx.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.browser]
PAGES = {
    "report": "run/report.html",
    "missing": "run/eval/missing.html",
    "importance": "run/eval/importance.html",
    "noise": "run/eval/noise.html",
    "over seeds": "sweep/eval/missing.html",
    "sweep": "sweep/sweep.html",
    "comparison": "compare.html",
}
MARKS = """[...document.querySelectorAll('.plot svg')].map((each) =>
  each.querySelectorAll('.mark-rect path, .mark-symbol path, .mark-line path').length)"""
"""How many marks each chart has that is drawn; what is folded up is drawn when it is opened."""
FAILED = "document.querySelectorAll('figure.chart[data-drawn=no]').length"


@pytest.fixture(scope="module")
def pages(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a folder with a sweep of two fusions and two seeds, one of its runs, and pages."""
    folder = tmp_path_factory.mktemp("pages")
    words = overrides(None, tables["one"], ("image", "text", "tabular"), "fusion=concat,gated")
    words += ["seed=1,2", "control=unimodal", "trainer.threads=1", "device=cpu", "jobs=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "-m", *words, f"output_dir={folder}"]) == 0
        (sweep,) = (folder / "sweeps").iterdir()
        (folder / "sweep").symlink_to(sweep)
        run = min((sweep / "runs").iterdir())
        (folder / "run").symlink_to(run)
        assert main(["eval", str(run), "suite=missing,noise,importance"]) == 0
        assert main(["eval", str(sweep), "suite=missing"]) == 0
        with (folder / "compare.html").open("w", encoding="utf-8") as file, redirect_stdout(file):
            assert main(["compare", str(folder), "--format", "html"]) == 0
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_page_draws_its_charts_and_asks_for_nothing(
    name: str, pages: Path, browser: Browser
) -> None:
    for width, dark in ((1200, False), (400, True)):
        shown = browser.open(pages / PAGES[name], width=width, dark=dark)
        assert shown.errors == shown.requests == []
        marks = browser.evaluate(MARKS)
        assert marks
        assert min(marks) > 0
        assert browser.evaluate(FAILED) == 0
        assert browser.find_wide() == []
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("name", ["comparison", "over seeds"])
def test_a_click_on_a_head_sorts(name: str, pages: Path, browser: Browser) -> None:
    browser.open(pages / PAGES[name])
    table = "document.querySelector('table.sortable')"
    last = f"[...{table}.querySelectorAll('thead th')].at(-1)"
    cells = (
        f"[...{table}.tBodies[0].rows].map((x) => "
        "parseFloat([...x.cells].at(-1).textContent.replace(',', '')))"
    )
    browser.evaluate(f"{last}.querySelector('button').click()")
    up = browser.evaluate(cells)
    assert len(up) > 1
    assert up == sorted(up)
    browser.evaluate(f"{last}.querySelector('button').click()")
    assert browser.evaluate(cells) == sorted(up, reverse=True)
