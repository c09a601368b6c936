"""What of a page tests read: its tags, its text as a reader sees it, its charts and tables."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "br", "img", "hr", "input", "link"}
UNSEEN = ("script", "style")
SCRIPTS = ("application/json", "text/plain", None)
"""Types of the scripts of a page: data of charts, the packed library, and the page's own."""


class HtmlPage(HTMLParser):
    """Collects tags, texts, charts and tables; complains of a tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    @classmethod
    def read(cls, path: Path) -> HtmlPage:
        return cls(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in UNSEEN:
            if self.open[-1] == "script":
                self.scripts.append(data)
            return
        self.words.append(data)
        if "td" in self.open[-2:] or "th" in self.open[-2:]:
            self.tables[-1][-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]

    @property
    def charts(self) -> dict[str, dict[str, Any]]:
        """The specifications of its charts, by what they are called."""
        names = [
            str(each["aria-label"]) for each in self.tags("div") if each.get("class") == "plot"
        ]
        kinds = [each.get("type") for each in self.tags("script")]
        specs = [
            json.loads(text)
            for text, kind in zip(self.scripts, kinds, strict=True)
            if kind == "application/json"
        ]
        return dict(zip(names, specs, strict=True))

    def find_table(self, *heads: str) -> list[list[str]]:
        """Return the rows of the first table whose first columns have these names."""
        for head, *rows in self.tables:
            if tuple(head[: len(heads)]) == heads:
                return rows
        raise AssertionError(f"no table begins with {heads}: {[each[0] for each in self.tables]}")

    @property
    def facts(self) -> dict[str, str]:
        """What stands in its lists of facts, by name."""
        parts = self.html.split("<dt>")[1:]
        pairs = [part.partition("</dt><dd>") for part in parts]
        return {name: rest.partition("</dd>")[0] for name, _, rest in pairs}

    def require_own(self) -> None:
        """Check that it runs no script but its own, and that nothing leads elsewhere."""
        kinds = [each.get("type") for each in self.tags("script")]
        assert [each for each in kinds if each not in SCRIPTS] == []
        assert kinds.count("text/plain") <= 1
        assert kinds.count(None) == 1
        for tag, attributes in self.found:
            assert tag not in ("link", "iframe", "object", "embed", "base")
            assert not [name for name in attributes if name.startswith("on")]
            for name in ("src", "href", "action", "srcset"):
                assert str(attributes.get(name) or "data:").startswith("data:")
        packed = {
            each for each in self.scripts if len(each) > 100_000
        }  # of which letters are chance
        rest = self.html
        for each in packed:
            rest = rest.replace(each, "")
        assert "http" not in rest.replace("http-equiv", "")


def read_lines(spec: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Return the points of the lines of a chart, by the names at their ends."""
    lines = [each for each in spec["layer"] if each["mark"]["type"] == "line"]
    names = [
        each["mark"]["text"]
        for each in spec["layer"]
        if each["mark"]["type"] == "text" and "encoding" not in each  # not a reference
    ]
    points = [[(row["x"], row["y"]) for row in each["data"]["values"]] for each in lines]
    return dict(zip(names, points[-len(names) :] if names else [], strict=True))


def read_rows(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of a chart of bars or intervals, by name."""
    return {row["row"]: row for row in spec["data"]["values"]}
