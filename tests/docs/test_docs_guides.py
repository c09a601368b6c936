"""Each guide on adding a part is whole: class, YAML, test, check and a run, which are all run.

That they run is tested with all other pages, in test_docs_blocks.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from docs_pages import ROOT, read_blocks

from mmx.contract import KINDS

GUIDES = sorted((ROOT / "docs/guides").glob("add_*.md"))
PACKAGE = ROOT / "docs/guides/own_package.md"
EXAMPLE = ROOT / "examples/own_part"


def test_there_is_a_guide_for_the_parts_that_are_added_most() -> None:
    kinds = {path.stem.removeprefix("add_") for path in GUIDES}
    assert kinds == {"fusion", "encoder", "task", "metric", "regularizer"}
    assert kinds <= set(KINDS)


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_is_whole(path: Path) -> None:
    blocks = list(read_blocks(path))
    files = [block.file for block in blocks if block.file]
    folders = [Path(name).parts[0] for name in files]
    assert folders == ["my_parts", "my_configs", f"test_{Path(files[0]).name}"]
    (script,) = (block for block in blocks if block.marker == "run")
    commands = script.text.replace("\\\n", " ").splitlines()
    module = files[0].removesuffix(".py").replace("/", ".")
    assert commands[0].startswith(f"mmx check {module}:")
    assert commands[1] == f"python -m pytest -q {files[2]}"
    assert commands[-1].startswith("mmx train --config-dir my_configs --allow my_parts ")
    assert Path(files[1]).stem in commands[-1]
    (printed,) = (block for block in blocks if block.marker == "prints")
    assert printed.text.startswith(f"{module}:")
    assert "checks passed" in printed.text


def test_the_guide_on_packages_shows_the_example() -> None:
    """Every file of the example but its README and its empty module, as it is."""
    shown = {
        block.file: block.text.partition("\n")[2] for block in read_blocks(PACKAGE) if block.file
    }
    paths = [path for kind in ("py", "yaml", "toml") for path in EXAMPLE.rglob(f"*.{kind}")]
    there = {
        f"own_part/{path.relative_to(EXAMPLE).as_posix()}": path.read_text(encoding="utf-8")
        for path in paths
        if path.name != "__init__.py"
    }
    assert shown == there
