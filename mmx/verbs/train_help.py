"""``mmx train --help``: every group and option, one line each, read from the YAML headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmx.config.locate import (
    builtin_directory,
    find_options,
    list_groups,
    read_config_directories,
    read_headline,
)
from mmx.config.part_packages import find_package_of
from mmx.printable import one_line
from mmx.stage_id import Role

HEAD = """\
mmx train [flags] [group=option ...] [key=value ...]

Trains on a source task, transfers to a target task, trains there, and states the gain
over a control that was trained from scratch with the same budget. Progress goes to
stderr; stdout carries one line, the run directory:  RUN=$(mmx train target=fsdd source=none)

flags, in any place:
  -m, --multirun      run every combination of comma-separated values
  --dry-run           say what would run, and make nothing
  --config-dir DIR    add your own YAML (DIR/task/mine.yaml serves as source=mine and target=mine)
  --allow PKG         let configs name classes of your own package (also MMX_ALLOW=PKG,PKG)
  --cfg job           print the config instead of running it (--resolve fills in references)
  --info              what Hydra knows (searchpath, plugins, defaults)
  --debug             show tracebacks
"""


def page(words: Sequence[str]) -> str:
    """Return the help page; the options of ``--config-dir`` and of packages are listed too."""
    extra = read_config_directories(words)
    lines = [HEAD]
    for group in list_groups(extra):
        found = find_options(group, extra)
        if group == Role.TARGET:
            lines.append("target=   the same tasks as source\n")
            continue
        if not found:
            continue
        lines.append(f"{one_line(group)}=")  # names of files, which may be anybody's
        shown = {one_line(name): path for name, path in found.items()}
        width = max(len(name) for name in shown)
        lines.extend(f"  {name:{width}s}  {_describe(path)}" for name, path in shown.items())
        lines.append("")
    lines.append("keys, with their defaults:")
    root = (builtin_directory() / "config.yaml").read_text(encoding="utf-8")
    body = root[root.index("\nseed:") :].split("\nhydra:", 1)[0].strip("\n")
    lines.extend(f"  {line}".rstrip() for line in body.splitlines())
    lines.append(
        "\nEvery option has keys of its own: mmx help target=table explains them, and\n"
        "mmx train --cfg job target=table shows them with their values."
    )
    return "\n".join(lines) + "\n"


def _describe(path: Path) -> str:
    """Return the line of an option, with the installed package that it comes from."""
    package = find_package_of(path)
    added = f" [{package}, --allow {package.package}]" if package else ""
    return one_line(read_headline(path) + added)
