"""Pages of the documentation, and the blocks of code that they show.

What a test does with a block follows from its language, and from a comment on the line before it:

    <!-- run -->             a shell block: it is run, with all others of its page, in one folder
    <!-- prints -->          a text block: its lines are printed by the shell blocks before it
    <!-- not run: REASON --> the block needs what a test has not

Without a comment, commands of a shell block are held against what mmx takes (groups, options, keys,
verbs and flags) and are not run; Python is executed; YAML, JSON and TOML are parsed. A block of
Python or YAML that begins with a comment that names a file is written to that file first.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if path.is_file()
)
LANGUAGES = {"sh", "python", "yaml", "json", "toml", "text", "html", "bibtex", "dockerfile"}
FENCE = re.compile(r"^( *)```([a-z]*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!-- (run|prints|not run)(?:: (.+?))? -->\s*\Z")
FILE = re.compile(r"# ([\w/.-]+\.(?:py|yaml|toml))\n")


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes:
        page: The path of its page from the root.
        line: Where it begins.
        language: What stands behind the fence; empty where nothing does.
        text: Its lines.
        marker: ``run``, ``prints``, ``not run``, or empty.
        reason: Why it is not run.
    """

    page: str
    line: int
    language: str
    text: str
    marker: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that its first line names."""
        found = FILE.match(self.text)
        return found[1] if found else None


def read_blocks(path: Path) -> Iterator[Block]:
    """Yield the blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        indent, language, body = found.groups()
        lines = (line.removeprefix(indent) for line in body.splitlines(keepends=True))
        comment = COMMENT.search(text, max(0, found.start() - 300), found.start())
        yield Block(
            page=path.relative_to(ROOT).as_posix(),
            line=text.count("\n", 0, found.start()) + 1,
            language=language,
            text="".join(lines),
            marker=comment[1] if comment else "",
            reason=(comment[2] or "") if comment else "",
        )


def split_commands(text: str) -> list[list[str]]:
    """Return the words of each command of a shell block; comments are left out."""
    whole = text.replace("\\\n", " ")
    commands = []
    for line in whole.splitlines():
        if words := shlex.split(line, comments=True):
            assigned = re.fullmatch(r"[A-Z_]+=\$\((.+)\)", line.split("#")[0].strip())
            commands.append(shlex.split(assigned[1]) if assigned else words)
    return commands


BLOCKS = [block for page in PAGES for block in read_blocks(page)]
