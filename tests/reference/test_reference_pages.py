"""The generated pages of the documentation: complete, and each key can be linked to."""

from __future__ import annotations

import re

import pytest
from catalogue import GROUPS, folder, keys, root_keys

from mmx.reference.pages import FOLDER, list_navigation, write_pages


@pytest.fixture(scope="module")
def pages():
    return write_pages()


@pytest.mark.parametrize("group", [*GROUPS, "experiment"])
def test_every_option_has_a_page_with_every_key(group, pages):
    assert f"{FOLDER}/{group}/index.md" in pages
    files = folder("task") if group == "target" else folder(group)
    for path in files:
        text = pages[f"{FOLDER}/{group}/{path.stem}.md"]
        if group != "experiment":
            anchors = re.findall(r"^## .* \{ #(\S+) \}$", text, re.MULTILINE)
            assert len({*anchors}) == len(anchors)
            prefix = group.replace("/", ".")
            assert {f"{prefix}.{key}" for key in keys(group, path.stem)} <= {*anchors}


def test_the_default_of_a_source(pages):
    said = "The default is `source=digits`, and `none` where the target reads data of your own."
    assert said in pages[f"{FOLDER}/source/index.md"].splitlines()
    assert "The default is `fusion=concat`." in pages[f"{FOLDER}/fusion/index.md"].splitlines()


def test_root_keys(pages):
    anchors = re.findall(r"\{ #(\S+) \}", pages[f"{FOLDER}/keys.md"])
    assert [each for each in anchors if not each.startswith("trainer.")] == root_keys()


def test_links_lead_to_pages(pages):
    for path, text in pages.items():
        for link in re.findall(r"\]\(([^)]+\.md)\)", text):
            parts = path.split("/")[:-1]
            for step in link.split("/"):
                parts = parts[:-1] if step == ".." else [*parts, step]
            assert "/".join(parts) in pages, f"{path}: {link}"


def test_navigation_has_every_page_once(pages):
    def walk(item):
        if isinstance(item, str):
            yield item
        for each in (
            item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        ):
            yield from walk(each)

    found = list(walk(list_navigation(pages)))
    assert sorted(found) == sorted(pages)
