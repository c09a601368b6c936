"""MkDocs hook: adds the pages of every option and key, which mmx writes from its own code."""

from __future__ import annotations

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from mmx.reference.pages import list_navigation, write_pages

_PAGES: dict[str, str] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation, at the end of the reference."""
    _PAGES.update(write_pages())
    section: dict[str, Any] = {"Every option and key": list_navigation(_PAGES)}
    for item in config.nav or []:
        if isinstance(item, dict) and "Reference" in item and section not in item["Reference"]:
            item["Reference"].append(section)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages; none of them is a file that could be edited."""
    for path, text in _PAGES.items():
        files.append(File.generated(config, path, content=text))
    return files
