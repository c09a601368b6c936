"""Tables with long words on a narrow screen, in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import Browser

import mmx.reports

pytestmark = pytest.mark.browser
STYLE = (Path(mmx.reports.__file__).parent / "templates" / "page.css").read_text("utf-8")
LONG = "a_column_with_a_name_that_is_wider_than_what_a_narrow_screen_has_room_for"


def show(browser: Browser, folder: Path, kind: str, rows: list[tuple[str, ...]]) -> None:
    """Show a table of a class on a screen of 400 pixels."""
    lines = "".join(
        f"<tr><th scope='row'>{first}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for first, *cells in rows
    )
    table = f"<div class='scroll'><table class='{kind}'><tbody>{lines}</tbody></table></div>"
    file = folder / "page.html"
    head = "<!doctype html><meta name='viewport' content='width=device-width, initial-scale=1'>"
    page = f"{head}<style>{STYLE}</style><main>{table}</main>"
    file.write_text(page, encoding="utf-8")
    browser.open(file, width=400)


def count_lines(browser: Browser) -> list[int]:
    """Return on how many lines the words of each row's head stand."""
    lines: list[int] = browser.evaluate(
        """[...document.querySelectorAll('tbody th')].map((each) => {
          const words = document.createRange();
          words.selectNodeContents(each);
          return words.getClientRects().length;
        })"""
    )
    return lines


def fits(browser: Browser) -> bool:
    """Return whether the table needs no scrolling."""
    found: bool = browser.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)"
        "(document.querySelector('.scroll'))"
    )
    return found


def test_a_long_value_of_a_setting_is_broken_and_its_name_is_not(
    browser: Browser, tmp_path: Path
) -> None:
    show(browser, tmp_path, "words wrap", [("target.columns", f"{{tabular: [{LONG}]}}")])
    assert fits(browser)
    assert count_lines(browser) == [1]


def test_long_names_of_columns_are_broken(browser: Browser, tmp_path: Path) -> None:
    rows = [(LONG, "tabular", "numbers, 0.001 to 0.998, median 0.476"), ("b", "tabular", "words")]
    show(browser, tmp_path, "names words wrap", rows)
    assert fits(browser)
    first, second = count_lines(browser)
    assert first > 1
    assert second == 1


def test_captions_of_samples_stay_on_a_line_beside_a_wide_column(
    browser: Browser, tmp_path: Path
) -> None:
    rows = [("row 178: 1066.05", LONG, "u"), ("row 12: 622.02", "0.659", "v")]
    show(browser, tmp_path, "words captioned", rows)
    assert count_lines(browser) == [1, 1]
