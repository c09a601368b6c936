"""What all HTML pages share: one template, tables, and charts that are drawn in the browser.

A page is one file that makes no request. To add one:

1. Write ``templates/<name>.html.jinja``, which extends ``base.html.jinja`` and fills its blocks:
   ``answer`` (the answer, in a sentence) and ``content``. Its building blocks are the macros of
   ``parts.html.jinja``: ``figure`` for a :class:`Chart`, ``table`` for a :class:`Grid`,
   ``command`` for what can be copied.
2. Make charts with the functions of :mod:`mmx.reports.chart_specs`, or write a Vega-Lite
   specification. Its data are ``values`` in it; its colours are tokens of ``page.css``
   (``var(--c1)``), which follow the system from light to dark; its ``width`` is ``"container"``.
   Give the same numbers as the chart's ``table``, for readers without JavaScript or sight.
3. Call ``render_page("<name>.html.jinja", title=…, …)`` and write the text that it returns.

Texts from data may be anything: templates escape what they show, with control characters by their
number, and specifications are escaped as JSON in HTML. A page's security policy allows no script
but those of this module.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from mmx.errors import RunError
from mmx.json_object import Json
from mmx.printable import printable
from mmx.reports.chart_library import ChartLibrary, hash_script, load_library

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Grid:
    """A table of text.

    Attributes:
        title: Its title.
        columns: Names of the columns.
        rows: One cell for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Chart:
    """A chart and its numbers.

    Attributes:
        title: What is drawn, as a short phrase above it.
        spec: A Vega-Lite specification with its data.
        table: The same numbers as text.
        note: How to read it, below it.
        small: Whether several stand side by side where there is room.
        width: Pixels that it has at most; 0 for the width of the page.
    """

    title: str
    spec: Json
    table: Grid
    note: str = ""
    small: bool = False
    width: int = 0


def render_page(template: str, *, title: str, extra: str = "", **content: Any) -> str:
    """Return a whole page.

    Args:
        template: Its file in ``templates``.
        title: Of the window.
        extra: A further script in ``templates``, of a page that asks the server it came from.
        content: What the template shows. Charts anywhere in it are drawn by the library, which is
            left out of a page that has none.
    """
    library, failure = None, ""
    if any(_has_chart(each) for each in content.values()):
        try:
            library = load_library()
        except RunError as error:
            failure = f"Charts are not drawn: {error.message}. The tables hold the numbers."
    script = _read("page.js") + (_read(extra) if extra else "")
    return (
        _open_templates()
        .get_template(template)
        .render(
            title=title,
            style=Markup(_read("page.css")),
            script=Markup(script),
            policy=_make_policy(script, library, asks=bool(extra)),
            library=library,
            failure=failure,
            **content,
        )
    )


def _has_chart(node: Any) -> bool:
    if isinstance(node, dict):
        return any(map(_has_chart, node.values()))
    if isinstance(node, list | tuple):
        return any(map(_has_chart, node))
    return isinstance(node, Chart)


def _make_policy(script: str, library: ChartLibrary | None, *, asks: bool = False) -> str:
    """Return what a page may do: run its own scripts, and ask its server if it has one."""
    digests = [hash_script(script), *([library.digest] if library else [])]
    scripts = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
        + ("; connect-src 'self'" if asks else "")
    )


def embed_json(node: Any) -> Markup:
    """Return data as JSON that may stand in a script element, whatever texts it holds.

    Control characters are shown by their number, as everywhere, and a number that is not finite
    is null.
    """
    return htmlsafe_json_dumps(_clean(node), allow_nan=False)


def _show(value: Any) -> Any:
    """Return what a template shows, text without control characters; markup stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _clean(node: Any) -> Any:
    if isinstance(node, dict):
        return {printable(str(key)): _clean(each) for key, each in node.items()}
    if isinstance(node, list | tuple):
        return [_clean(each) for each in node]
    if isinstance(node, str):
        return printable(node)
    return None if isinstance(node, float) and not math.isfinite(node) else node


@functools.cache
def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@functools.cache
def _open_templates() -> Environment:
    """Return the templates, which are compiled once a process."""
    found = Environment(
        loader=PackageLoader("mmx.reports", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_show,
    )
    found.filters["embed"] = embed_json
    return found
