"""Every block of code in README and the documentation is run, or checked as far as it can be."""

from __future__ import annotations

import ast
import doctest
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from docs_pages import BLOCKS, LANGUAGES, ROOT, Block, split_commands
from shell_commands import find_problems

SHELL = [block for block in BLOCKS if block.language == "sh" and not block.marker]
PYTHON = [block for block in BLOCKS if block.language == "python" and not block.marker]
DATA = [block for block in BLOCKS if block.language in ("yaml", "json", "toml")]
PROMPTED = sorted({block.page for block in PYTHON if block.text.startswith(">>> ")})
BUILT = ("README.md", "docs/guides/own_data.md")
"""Pages of which the parts of every experiment are built too."""
RUN = sorted({block.page for block in BLOCKS if block.marker == "run"})


def write_files(page: str, folder: Path) -> None:
    """Write the files that a page shows, where its commands find them."""
    for block in BLOCKS:
        if block.page == page and block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def test_blocks_are_counted() -> None:
    """Few blocks are not run, each with its reason; a language without a check is refused."""
    assert {block.language for block in BLOCKS} <= LANGUAGES
    assert [str(block) for block in BLOCKS if not block.language] == []
    markers = Counter(block.marker for block in BLOCKS)
    assert markers["not run"] <= 8
    assert all(block.reason for block in BLOCKS if block.marker == "not run")
    assert len(BLOCKS) > 70
    assert markers["run"] >= 7


@pytest.mark.filterwarnings("ignore")  # of libraries that encoders bring
@pytest.mark.parametrize("block", SHELL, ids=str)
def test_commands_are_those_that_mmx_takes(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(block.page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    commands = split_commands(block.text)
    assert commands
    builds = block.page in BUILT
    problems = [found for words in commands for found in find_problems(words, builds=builds)]
    assert problems == []


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        ("mmx train fusion=concatt", "concatt"),
        ("mmx train trainer.epoch=3", "trainer.epoch"),
        ("mmx trian", "trian"),
        ("mmx eval RUN --spilt val", "--spilt"),
        ("mmx cache list", "list"),
        ("pip install 'mmx[publish]'", "publish"),
        ("python scripts/benhc.py", "benhc"),
        ("mmx search fusion=concat,gatd 'optimizer.lr=log(1e-4,1e-2)' trials=3", "gatd"),
    ],
)
def test_a_wrong_command_is_found(command: str, wrong: str) -> None:
    (words,) = split_commands(command)
    assert any(wrong in problem for problem in find_problems(words))


@pytest.mark.parametrize("block", [b for b in PYTHON if b.page not in PROMPTED], ids=str)
def test_python_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = block.file or len(ast.parse(block.text).body) > 1
    elsewhere = block.file and (block.page in RUN or "/tests/" in block.file)
    if whole and not elsewhere:  # files of a page that runs, and tests, run with all of its files
        exec(compile(block.text, str(block), "exec"), {"__name__": "page"})
    else:
        compile(block.text, str(block), "exec")  # a class without what it needs around it


@pytest.mark.parametrize("page", PROMPTED)
def test_prompts_answer_as_shown(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    text = (ROOT / page).read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    assert examples.examples
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert said == []


@pytest.mark.parametrize("block", DATA, ids=str)
def test_data_can_be_read(block: Block) -> None:
    if block.language == "json":
        assert json.loads(block.text)
    elif block.language == "toml":
        assert pytest.importorskip("tomllib").loads(block.text)  # from Python 3.11 on
    else:
        assert isinstance(yaml.safe_load(block.text), dict)


def mask(text: str) -> list[str]:
    """Return the words of a text; numbers, which differ between processors, are masked."""
    plain = re.sub(r"[┃│┏┡└━─┳╇╈┻┴┓┩┘]", " ", text)
    return re.sub(r"[+−-]?\d[\d.e-]*", "0", plain).split()


def is_printed(line: str, printed: str) -> bool:
    """Return whether the words of a line follow each other in what was printed."""
    return f" {' '.join(mask(line))} " in f" {' '.join(mask(printed))} "


def test_numbers_are_masked() -> None:
    assert is_printed("  test   0.5415  0.872", "│ test │ 0.61 │ 0.9 │")
    assert not is_printed("test 0.5 0.8", "│ val │ 0.61 │ 0.9 │")


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_a_page_runs_from_beginning_to_end(page: str, tmp_path: Path) -> None:
    """The blocks of a page are run in one folder, and print what the page says they do."""
    write_files(page, tmp_path)
    script = ["set -e"]
    for block in (each for each in BLOCKS if each.page == page):
        if block.marker == "run":
            script.append(block.text)
        elif block.language == "python" and not block.file:
            script.append(f"python - <<'PAGE'\n{block.text}PAGE")
    folder = Path(sys.executable).parent
    found = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "MMX_CACHE_DIR": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "300",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    printed = found.stdout + found.stderr
    for block in BLOCKS:
        if block.page == page and block.marker == "prints":
            lines = filter(None, map(str.strip, block.text.splitlines()))
            missing = [line for line in lines if not is_printed(line, printed)]
            assert missing == [], printed[-6000:]
