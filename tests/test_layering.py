"""Imports point downward, Hydra stays in one package, files and functions stay readable."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "mmx"
FILES = sorted(ROOT.rglob("*.py"))
LAYERS = (  # top to bottom; parts of one layer do not import each other
    ("__main__",),
    ("cli", "api"),
    ("verbs",),
    ("execution", "export"),
    ("ranks",),
    ("stages", "reference"),
    ("experiment", "reports"),
    ("runs", "explanations"),
    ("evaluation", "workers", "search"),
    ("training",),
    ("contract",),
    ("model", "calibration"),
    ("metrics",),
    (
        "transfer",
        "controls",
        "sharing",
        "mapping",
        "missing",
        "fusion",
        "balance",
        "objectives",
        "encoders",
        "tasks",
        "trackers",
        "callbacks",
    ),
    ("modalities",),
    ("config",),
    ("untrusted", "terminal", "renamed_options", "hub_cache", "library_facts"),
    ("extras", "processes"),
    (
        "meta_model",
        "variants",
        "errors",
        "streams",
        "quoting",
        "csv_text",
        "yaml_text",
        "stage_id",
        "",
    ),
    ("printable", "json_object", "table_suffixes", "stand_ins"),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
MAY_IMPORT_CONFIG = {"cli", "verbs", "reference", "experiment", "config"}
LINES_OF_A_FILE = 450
LINES_OF_A_FUNCTION = 75


def part(name: str) -> str:
    """Return the part of mmx that a dotted name belongs to."""
    return [*name.split("."), ""][1]


def of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py").replace("__init__", "")


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every module or name that is imported, at any depth of the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names)


def breaches(path: Path, source: str) -> list[str]:
    """Return what a file must not import."""
    here, found = of(path), []
    for name in imports(ast.parse(source)):
        top = name.split(".")[0]
        if top in ("hydra", "omegaconf", "hydra_plugins") and here != "config":
            found.append(f"{name}: Hydra and OmegaConf belong to mmx.config")
        if top == "":
            found.append(f"{name}: relative")
        if top != "mmx" or part(name) == here:
            continue
        there = part(name) if part(name) in LEVEL else ""  # mmx.__version__
        if (here, there) == ("", "api"):  # named for type checkers; test_api sees what is loaded
            continue
        if LEVEL[there] <= LEVEL[here]:
            found.append(f"{name}: upward or sideways from {here}")
        if there == "config" and here not in MAY_IMPORT_CONFIG:
            found.append(f"{name}: config stops at experiment")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file(path):
    source = path.read_text(encoding="utf-8")
    assert breaches(path, source) == []
    assert len(source.splitlines()) <= LINES_OF_A_FILE
    tree = ast.parse(source)
    assert ast.get_docstring(tree), "a file says what it is for"
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: a bare assert"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LINES_OF_A_FUNCTION, f"{node.name} has {lines} lines"


def read_map() -> list[set[str]]:
    """Return the parts on each line of the map of the house in CONTRIBUTING."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## Where things are\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [{of(ROOT / name) for name in re.findall(r"`([\w./]+)`", row)} for row in rows]


def test_the_map_of_the_house_has_all_parts_and_imports_point_downward_in_it():
    rows = read_map()
    lines = {each: [i for i, row in enumerate(rows) if each in row] for each in LEVEL}
    assert set().union(*rows) == LEVEL.keys() - {"", "__main__"}
    upward = {
        (here, there)
        for path in FILES
        for name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if (here := of(path)) != (there := part(name)) and lines.get(here) and lines.get(there)
        if name.startswith("mmx.") and max(lines[here]) >= min(lines[there])
    }
    assert upward == set()


def read_blocks() -> list[list[str]]:
    """Return the lines of each indented block in the section with the map of the house."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("\n## Where things are\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^ {4}.+\n)+", section, re.MULTILINE)
    return [block.splitlines() for block in blocks]


def test_the_functions_that_a_run_passes_are_where_the_map_says():
    for line in read_blocks()[0]:
        path, function, _ = line.split(maxsplit=2)
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert function in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}, line


def test_the_rooms_of_stages_import_what_the_map_says():
    drawn = {}
    for line in read_blocks()[1]:
        here, there = line.split("→")
        drawn[here.strip(" /")] = {each.strip(" /") for each in there.split(",")}
    found: dict[str, set[str]] = {}
    for path in (ROOT / "stages").rglob("*.py"):
        here = path.relative_to(ROOT / "stages").parts[0]
        for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
            there = [*name.split("."), "", ""][2]
            if name.startswith("mmx.stages.") and there != here and here != "__init__.py":
                found.setdefault(here, set()).add(there)
    assert found == drawn


def name_module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def find_circles(sources: dict[str, str]) -> list[list[str]]:
    """Return the modules that import each other in a circle, also for a type checker alone."""
    graph = {
        module: {
            name if name in sources else name.rpartition(".")[0]
            for name in imports(ast.parse(source))
        }
        & (sources.keys() - {module})
        for module, source in sources.items()
    }
    # What nothing imports, and what imports nothing, is in no circle: take it away until all are.
    while True:
        imported = set().union(*graph.values())
        left = {module for module in graph if module in imported and graph[module]}
        if left == graph.keys():
            return [[module, *sorted(graph[module])] for module in sorted(graph)]
        graph = {module: graph[module] & left for module in left}


def test_no_files_import_each_other_in_a_circle():
    assert find_circles({name_module(path): path.read_text("utf-8") for path in FILES}) == []


def test_the_check_for_circles_itself_sees():
    sources = {
        "mmx.a": "from mmx.b import B",
        "mmx.b": "if TYPE_CHECKING:\n    from mmx.c import C",
        "mmx.c": "from mmx import a, d",
        "mmx.d": "import os",
        "mmx.e": "import mmx.a",
    }
    assert find_circles(sources) == [["mmx.a", "mmx.b"], ["mmx.b", "mmx.c"], ["mmx.c", "mmx.a"]]
    assert find_circles({**sources, "mmx.b": "from mmx.d import D"}) == []


def test_every_part_has_its_layer():
    assert {of(path) for path in FILES} == set(LEVEL)
    assert len(FILES) > 100


@pytest.mark.parametrize(
    ("file", "source", "said"),
    [
        ("fusion/concat.py", "from mmx.encoders import Encoder", "sideways"),
        ("tasks/base.py", "from mmx.training.data import Data", "upward"),
        ("modalities/base.py", "def f():\n    import mmx.tasks", "upward"),
        ("reports/view.py", "from mmx import stages", "upward"),
        ("verbs/train.py", "from mmx.cli import main", "upward"),
        ("verbs/train.py", "from mmx.api import train", "upward"),
        ("stages/run.py", "from mmx.config import compose", "config stops"),
        ("verbs/train.py", "import hydra.core", "belong to mmx.config"),
        ("experiment/assemble.py", "from omegaconf import OmegaConf", "belong to mmx.config"),
        ("tasks/base.py", "from . import splits", "relative"),
    ],
)
def test_the_check_itself_sees(file, source, said):
    (found,) = breaches(ROOT / file, source)
    assert said in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("cli.py", "from mmx import __version__"),
        ("__init__.py", "from mmx.api import train"),
        ("stages/run.py", "from mmx.experiment import Experiment"),
        ("training/fit.py", "from mmx.transfer import Start"),
        ("config/compose.py", "import hydra"),
    ],
)
def test_the_check_itself_lets_pass(file, source):
    assert breaches(ROOT / file, source) == []
