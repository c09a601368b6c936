"""The frame that all pages share: escaping, policy, charts, tables, themes."""

from __future__ import annotations

import gzip
import json
import math
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from jinja2 import DictLoader

from mmx.errors import RunError
from mmx.reports import chart_library, page
from mmx.reports.chart_library import ChartLibrary, hash_script
from mmx.reports.chart_specs import (
    MeasuredRow,
    Series,
    draw_bars,
    draw_curves,
    draw_measured,
)
from mmx.reports.heat_map import HeatCell, draw_heat_map
from mmx.reports.page import Chart, Grid, embed_json, render_page

HOSTILE = "</script><script>document.title='owned'</script><!--<b>&\u2028${x}'\""
TEMPLATE = """{% extends "base.html.jinja" %}
{% from "parts.html.jinja" import figures, table, command %}
{% block answer %}<h1>{{ title }}</h1>{% endblock %}
{% block content %}
{{ figures(charts) }}{{ table(grid, "sortable") }}{{ command(text) }}
{% endblock %}
"""
ROWS = (("b", "2", "+0.10 (low)"), ("a", "10", "-0.30"), ("c", "1,000", ""))


@pytest.fixture
def templates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a template named ``try`` to those of the package."""
    found = page._open_templates().overlay()
    names = ("base.html.jinja", "parts.html.jinja")
    texts = {name: page._read(name) for name in names}
    found.loader = DictLoader({**texts, "try": TEMPLATE})
    monkeypatch.setattr(page, "_open_templates", lambda: found)


def draw_all(name: str) -> list[Chart]:
    """Return a chart of each kind, with a name in every place where a name can stand."""
    grid = Grid(name, ("", name), ((name, "1"),))
    line = Series(name, [(1, 0.2), (2, math.nan), (3, 0.9)], marked=3)
    rows = [MeasuredRow(name, 0.2, (0.1, 0.3)), MeasuredRow(f"{name} 2", -0.1, stands_out=False)]
    cells = [HeatCell(name, "x", 0.5, name, name), HeatCell("y", "x", -0.25, "-0.25")]
    specs = [
        draw_curves([line], x=name, marked=name, reference=(0.1, name)),
        draw_measured(rows, x=name, signed=True),
        draw_bars(rows, x=name),
        draw_heat_map(cells, rows=[name, "y"], columns=["x"], x=name, y=name),
    ]
    return [Chart(name, spec, grid, note=name) for spec in specs]


def render(charts: list[Chart], name: str = "a") -> str:
    rows = tuple((f"{name}{first}", *rest) for first, *rest in ROWS)
    grid = Grid(name, ("name", "count", "gain"), rows)
    return render_page("try", title=name, charts=charts, grid=grid, text=f"mmx {name}")


def list_texts(node: Any) -> list[str]:
    """Return all texts in plain data."""
    if isinstance(node, dict):
        node = [*node.values()]
    if isinstance(node, list):
        return [text for each in node for text in list_texts(each)]
    return [node] if isinstance(node, str) else []


def read_scripts(html: str) -> list[tuple[str, str]]:
    """Return type and text of each script, as a browser delimits them."""
    return re.findall(r"<script(?: type=\"([^\"]*)\")?[^>]*>(.*?)</script", html, re.S)


@pytest.mark.usefixtures("templates")
def test_texts_stay_texts_also_in_the_data_of_charts() -> None:
    html = render(draw_all(HOSTILE), HOSTILE)
    scripts = read_scripts(html)
    assert [kind for kind, _ in scripts] == [*["application/json"] * 4, "text/plain", ""]
    specs = [json.loads(text) for kind, text in scripts if kind == "application/json"]
    shown = HOSTILE.replace("\u2028", "\\u2028")  # its number is shown, as on a terminal
    assert all(shown in list_texts(spec) for spec in specs)
    assert "<b>" not in html
    assert html.count("<!--") == 0


@pytest.mark.usefixtures("templates")
def test_characters_that_a_terminal_obeys_are_shown_by_their_number() -> None:
    name = "a\x1b[201~\u202eb\r"  # copied with a command, it would end a paste
    html = render(draw_all(name), name)
    assert not {"\x1b", "\u202e", "\r"} & set(html)
    assert html.count(r"mmx a\x1b[201~\u202eb\x0d") == 1
    assert render(draw_all("a\tb"), "a\tb").count("mmx a\tb") == 1


def test_embedded_data_come_back_as_they_were_and_hold_no_markup() -> None:
    text = HOSTILE.replace("\u2028", "")
    data = {"text": text, "numbers": [1.5, None, True], "deep": {text: [text]}}
    embedded = embed_json(data)
    assert json.loads(embedded) == data
    assert not set("<>&'") & set(embedded)
    assert json.loads(embed_json([math.nan, math.inf, 0.5])) == [None, None, 0.5]
    assert json.loads(embed_json(["a\u2028b\x1bc"])) == ["a\\u2028b\\x1bc"]


@pytest.mark.usefixtures("templates")
def test_the_policy_allows_the_scripts_of_the_page_and_nothing_else() -> None:
    html = render(draw_all("a"))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";"))
    *_, (_, packed), (_, own) = read_scripts(html)
    library = gzip.decompress(b64decode(packed)).decode()
    wanted = {f"'sha256-{hash_script(script)}'" for script in (own, library)}
    assert set(rules["script-src"].split()) == wanted
    assert rules["default-src"] == "'none'"
    assert "vega" in library
    assert len(html) < 600_000
    without = render([])
    assert 'id="library"' not in without
    assert len(without) < 20_000


@pytest.mark.usefixtures("templates")
def test_without_the_library_a_page_has_its_tables_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail() -> ChartLibrary:
        raise RunError("it is not installed")

    monkeypatch.setattr(page, "load_library", fail)
    html = render(draw_all("a"))
    assert "Charts are not drawn: it is not installed. The tables hold the numbers." in html
    assert html.count("<details open>") == 4
    assert 'id="library"' not in html


def test_the_library_is_made_once_and_a_damaged_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make() -> str:
        made.append(f"script {len(made)}")
        return made[-1]

    def load() -> ChartLibrary:
        chart_library.load_library.cache_clear()
        return chart_library.load_library()

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(chart_library, "_make_script", make)
    first = load()
    assert first == load() == ChartLibrary.of("script 0")
    (file,) = (tmp_path / "mmx").iterdir()
    whole = json.loads(file.read_text())
    damaged: list[Any] = [
        {**whole, "digest": hash_script("another")},
        {**whole, "packed": whole["packed"][:-8]},
        {**whole, "packed": "é"},
        {"digest": ""},
        [],
    ]
    for count, content in enumerate(damaged, 1):
        file.write_text(json.dumps(content))
        assert load() == ChartLibrary.of(f"script {count}")
    file.unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")  # where nothing can be kept
    assert load() == ChartLibrary.of(f"script {len(damaged) + 1}")
    monkeypatch.undo()
    chart_library.load_library.cache_clear()


@pytest.mark.browser
@pytest.mark.usefixtures("templates")
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (400, True)])
def test_charts_are_drawn_and_nothing_leaves_the_screen(
    width: int, dark: bool, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(render(draw_all(HOSTILE), HOSTILE), encoding="utf-8")
    shown = browser.open(file, width=width, dark=dark)
    assert shown.errors == shown.requests == []
    assert browser.evaluate("document.title") == HOSTILE.replace("\u2028", "\\u2028")
    drawn = browser.evaluate(
        "[...document.querySelectorAll('.plot')].map((x) => x.querySelectorAll('svg path').length)"
    )
    assert len(drawn) == 4
    assert min(drawn) > 2
    assert browser.evaluate("document.querySelectorAll('details[open]').length") == 0
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.find_wide() == []
    ground = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 23, 26)" if dark else "rgb(255, 255, 255)")
    # Charts follow the system, and are light on paper, without being drawn again.
    ink = "getComputedStyle(document.querySelector('.plot svg text')).fill"
    before = browser.evaluate(ink)
    browser.emulate(dark=not dark)
    assert browser.evaluate(ink) != before
    browser.emulate(dark=True, media="print")
    assert browser.evaluate(ink) == "rgb(92, 96, 102)"


@pytest.mark.browser
@pytest.mark.usefixtures("templates")
def test_a_table_is_sorted_by_keyboard_and_numbers_as_numbers(
    browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text(render([]), encoding="utf-8")
    browser.open(file)

    def column(place: int) -> list[str]:
        rows = "[...document.querySelectorAll('table.sortable tbody tr')]"
        found: list[str] = browser.evaluate(f"{rows}.map((row) => row.cells[{place}].textContent)")
        return found

    browser.evaluate("document.querySelectorAll('th button')[1].focus()")
    browser.press("Enter")
    assert column(1) == ["2", "10", "1,000"]
    assert browser.evaluate("document.querySelectorAll('th')[1].ariaSort") == "ascending"
    browser.press("Enter")
    assert column(1) == ["1,000", "10", "2"]
    browser.press("Tab", "Enter")
    assert column(2) == ["-0.30", "+0.10 (low)", ""]  # what is empty stands last
    browser.press("Enter")
    assert column(2) == ["+0.10 (low)", "-0.30", ""]


@pytest.mark.browser
@pytest.mark.usefixtures("templates")
def test_without_scripts_the_tables_of_charts_are_open(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(render(draw_all("a")), encoding="utf-8")
    browser.open(file, scripts=False)
    tables = "[...document.querySelectorAll('figure table')].filter((x) => x.offsetHeight > 20)"
    assert browser.evaluate(f"{tables}.length") == 4
    assert browser.evaluate("document.querySelector('button.copy').hidden")
