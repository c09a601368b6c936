"""The site builds without a warning, and its pages open without an error or a request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import Browser
from docs_pages import ROOT

pytestmark = pytest.mark.slow
MADE = ("index", "keys", "transfer/parameter", "encoder/image/timm", "target/table")
"""Pages of options that are opened: all others are made by the same lines."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    found = subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return folder


def test_the_site_is_whole(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        shown = site / page.relative_to(ROOT / "docs").with_suffix(".html")
        assert shown.is_file(), page
    text = (site / "reference/parts.html").read_text(encoding="utf-8")
    assert "Largest" in text  # the example of a docstring


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_open_on_a_phone_without_an_error_or_a_request(
    site: Path, browser: Browser, dark: bool
) -> None:
    written = [
        (site / page.relative_to(ROOT / "docs")).with_suffix(".html")
        for page in sorted((ROOT / "docs").rglob("*.md"))
    ]
    assert len(written) > 30
    made = [site / "reference" / "options" / f"{name}.html" for name in MADE]
    for path in [*(written[::6] if dark else written), *made]:
        shown = browser.open(path, width=400, dark=dark)
        assert (path.name, shown.errors, shown.requests) == (path.name, [], [])
        assert browser.evaluate("document.documentElement.scrollWidth") <= 400


@pytest.mark.browser
def test_a_word_is_searched_in_a_site_that_is_opened_as_files(site: Path, browser: Browser) -> None:
    shown = browser.open(site / "index.html")
    browser.evaluate("document.querySelector('[data-md-component=search-query]').focus()")
    browser.ask("Input.insertText", text="distill")
    first = "document.querySelector('a.md-search-result__link')"
    browser.wait(f"!!{first}")
    found = browser.evaluate(f"{first}.href")
    assert "/reference/options/regularizer/" in found
    browser.ask("Page.navigate", url=found)
    browser.wait("document.readyState === 'complete'")
    assert "distill" in browser.evaluate("document.querySelector('article').innerText")
    assert (shown.errors, shown.requests) == ([], [])
