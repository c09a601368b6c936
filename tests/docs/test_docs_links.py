"""Every link of README and of the documentation leads to a page, an anchor or a file."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
import yaml
from docs_pages import FENCE, PAGES, ROOT

LINK = re.compile(r"(?<!\\)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
MENTION = re.compile(r"docs/[\w/]+\.(?:md|json|ipynb|png)")
OTHERS = ("*.py", "*.yaml", "*.jinja", "*.md", "*.toml")
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]


def find_links(page: Path) -> list[str]:
    """Return the addresses of a page's links and images, but for those in blocks of code."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return LINK.findall(re.sub(r"`[^`\n]*`", "", text))


def make_anchor(heading: str) -> str:
    """Return the anchor that a heading has on the site."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def find_anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {make_anchor(found) for found in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_anchors_are_those_of_the_site() -> None:
    assert make_anchor("summary.json, `all` of *it*") == "summaryjson-all-of-it"
    assert make_anchor("Cache: nothing twice") == "cache-nothing-twice"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for link in find_links(page):
        if re.match(r"https://[\w.-]+\.[a-z]+(/[\w./-]*)?$", link):
            continue  # elsewhere: its form is checked, and the network is not asked
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert ROOT in target.parents, link
        if anchor:
            assert anchor in find_anchors(target), link


def test_links_are_found() -> None:
    found = [link for page in PAGES for link in find_links(page)]
    assert len(found) > 100


def test_every_page_but_readme_has_a_line_in_the_navigation() -> None:
    def list_pages(node: object) -> list[str]:
        if isinstance(node, str):
            return [node]
        if isinstance(node, dict):
            node = list(node.values())
        assert isinstance(node, list)
        return [path for each in node for path in list_pages(each)]

    listed = list_pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(f"docs/{path}" for path in listed) == [n for n in NAMES if n != "README.md"]


def test_what_code_and_configs_say_of_the_documentation_is_there() -> None:
    folders = ("mmx", "configs", "scripts", "tests")
    files = [path for each in folders for kind in OTHERS for path in (ROOT / each).rglob(kind)]
    files += [ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
    mentions = {
        (path.relative_to(ROOT).as_posix(), found)
        for path in files
        if "outside" not in path.parts
        for found in MENTION.findall(path.read_text(encoding="utf-8"))
    }
    assert len(mentions) > 30
    assert [each for each in mentions if not (ROOT / each[1]).is_file()] == []
