"""What ``mmx doctor`` says of installed packages that add options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from mmx.config.clashes import describe_namesake, find_clash
from mmx.config.part_packages import CONFIGS, find_part_packages
from mmx.verbs.finding import Finding


def find_packages() -> list[Finding]:
    """Return what installed packages add, and what of it cannot be used."""
    findings = []
    for package in find_part_packages():
        if package.folder is None:
            why = f"{package.module} has no folder {CONFIGS}: none of its options can be used"
            advice = f"pip uninstall {shlex.quote(package.distribution)}, or tell who wrote it"
            findings.append(Finding(str(package), "note", why, advice))
            continue
        options = list(_list_options(package.folder))
        notes = [text for each in options if (text := _describe_shared(*each))]
        offers = ", ".join(f"{group}={name}" for group, name in options) or "no option"
        findings.append(Finding(str(package), "ok", f"adds {offers}   (--allow {package.package})"))
        findings += [Finding(str(package), "note", text) for text in notes]
    return findings


def _describe_shared(group: str, name: str) -> str | None:
    """Return what there is to know of an option that somebody else has too; None of others."""
    clash = find_clash(group, name, f"{group}={name}")
    return f"{clash.given} {clash.reason}" if clash else describe_namesake(group, name)


def _list_options(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the groups and names of the options in a folder of YAML."""
    for path in sorted(folder.rglob("*.yaml")):
        group = path.relative_to(folder).parent.as_posix()
        if group != ".":
            yield group, path.stem
