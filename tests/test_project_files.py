"""What others need to carry on: files of the project agree with each other and with the code."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import mmx

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_said_in_one_place() -> None:
    assert "version" not in PROJECT["project"]
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "mmx/__init__.py"
    assert yaml.safe_load(read("CITATION.cff"))["version"] == mmx.__version__


def test_each_python_has_its_classifier() -> None:
    """From the oldest that is accepted on, without a gap; the tools read code as the oldest."""
    prefix = "Programming Language :: Python :: 3."
    minors = [
        int(text.removeprefix(prefix))
        for text in PROJECT["project"]["classifiers"]
        if text.startswith(prefix)
    ]
    oldest = int(PROJECT["project"]["requires-python"].removeprefix(">=3."))
    assert minors == list(range(oldest, oldest + len(minors)))
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py3{oldest}"
    assert read("scripts/pythons").count(" ".join(f"3.{minor}" for minor in minors)) == 1


def test_what_the_oldest_python_lacks_is_not_imported() -> None:
    """mypy reads code as the locked Python does, and would not notice."""
    lacks = {
        "typing": {
            "Self",
            "Never",
            "LiteralString",
            "Required",
            "NotRequired",
            "Unpack",
            "override",
        },
        "hashlib": {"file_digest"},
        "datetime": {"UTC"},
        "enum": {"StrEnum"},
        "contextlib": {"chdir"},
        "itertools": {"batched"},
    }
    found = []
    for path in [*ROOT.glob("mmx/**/*.py"), *ROOT.glob("scripts/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in lacks:
                found += [
                    (path.name, each.name) for each in node.names if each.name in lacks[node.module]
                ]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found += [(path.name, node.attr)] * (node.attr in lacks.get(node.value.id, ()))
    assert found == []


def test_the_citation_has_what_its_format_demands() -> None:
    found = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert found["cff-version"] == "1.2.0"
    assert found["license"] == PROJECT["project"]["license"]
    assert [each["name"] for each in found["authors"]] == [
        each["name"] for each in PROJECT["project"]["authors"]
    ]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_issue_forms_can_be_read(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert set(form) <= {"blank_issues_enabled", "contact_links"}
        return
    assert {"name", "description", "body"} <= set(form)
    names = [each["id"] for each in form["body"] if each["type"] != "markdown"]
    assert len(names) == len(set(names)) > 0
    for each in form["body"]:
        assert each["type"] in KINDS
        key = "value" if each["type"] == "markdown" else "label"
        assert each["attributes"][key]


def test_checks_before_a_commit_fetch_nothing() -> None:
    """All hooks are local, and call tools that scripts/install puts there."""
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    tools = {"ruff", "mypy", "python"}
    for hook in repository["hooks"]:
        program, *words = hook["entry"].split()
        assert hook["language"] == "system"
        assert program in {f".venv/bin/{tool}" for tool in tools}
        assert [word for word in words if "/" in word and not (ROOT / word).exists()] == []


def test_the_container_copies_what_is_there() -> None:
    text = read("Containerfile")
    words = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    copied = [word.removeprefix("./") for each in words for word in each]
    assert copied
    assert [word for word in copied if not (ROOT / word).exists()] == []
    kept = [line[1:] for line in read(".containerignore").splitlines() if line.startswith("!")]
    assert sorted(kept) == sorted(copied)
    assert read(".dockerignore") == read(".containerignore")


def test_the_changelog_is_sorted_by_kind() -> None:
    """Each version has its changes under Added, Changed, Fixed or the like, each at most once."""
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    first, *versions = re.split(r"^## ", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert "Keep a Changelog" in first
    assert versions[0].startswith("Unreleased\n")
    assert mmx.__version__ in versions[1].split("\n")[0]
    for each in versions:
        found = re.findall(r"^### (.+)$", each, re.MULTILINE)
        assert set(found) <= kinds
        assert len(found) == len(set(found)) > 0
        before = each.partition("\n### ")[0]
        assert "\n- " not in before, "a change stands under no kind"


def test_weaknesses_are_reported_in_private() -> None:
    text = read("SECURITY.md")
    assert "**Report a vulnerability**" in text
    assert "@" not in text  # no address that nobody reads
