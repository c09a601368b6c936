"""Each guide has a picture, each picture has a page, and scripts/pictures.py makes them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docs_pages import FENCE, PAGES, ROOT
from PIL import Image

FOLDER = ROOT / "docs" / "pictures"
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
SCRIPT = (ROOT / "scripts" / "pictures.py").read_text(encoding="utf-8")


def find_pictures(page: Path) -> list[tuple[str, Path]]:
    """Return what a page says of its pictures, and their files."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [(said, (page.parent / link).resolve()) for said, link in SHOWN.findall(text)]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_has_a_picture(guide: Path) -> None:
    assert find_pictures(guide)


def test_the_readme_and_the_first_pages_have_a_picture() -> None:
    for name in ("README.md", "docs/index.md", "docs/tutorial.md"):
        assert find_pictures(ROOT / name), name


def test_all_pictures_are_shown_and_made_by_the_script() -> None:
    shown = {path for page in PAGES for _, path in find_pictures(page)}
    made = {FOLDER / f"{name}.png" for name in re.findall(r"^def draw_(\w+)", SCRIPT, re.M)}
    assert shown == set(FOLDER.iterdir()) == made


def test_pictures_are_described_in_words() -> None:
    """A sentence or a part of one, that is no other picture's."""
    said: dict[str, Path] = {}
    for page in PAGES:
        for text, path in find_pictures(page):
            assert len(text.split()) >= 4, (page, text)
            assert said.setdefault(text, path) == path, (page, text)


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.stem)
def test_a_picture_is_small_and_wide_enough(path: Path) -> None:
    assert path.stat().st_size <= 150_000
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert 1050 <= picture.width <= 1500  # 1.5 pixels for each of a page
        assert picture.height <= 1850
