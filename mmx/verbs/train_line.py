"""The command line of ``mmx train`` and ``mmx rank``: flags and overrides, in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmx.errors import UsageError


@dataclass
class CommandLine:
    """A command line of ``train`` or ``rank``, sorted into flags and overrides."""

    overrides: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    config_dirs: list[Path] = field(default_factory=list)
    allow: list[str] = field(default_factory=list)
    multirun: bool = False
    only_shows: bool = False
    dry_run: bool = False


def parse_line(arguments: Sequence[str], verb: str = "train") -> CommandLine:
    """Sort a command line. Raises UsageError for a flag that the verb does not have."""
    line, rest = CommandLine(), list(arguments)
    while rest:
        word = rest.pop(0)
        flag, glued, value = word.partition("=")
        if not word.startswith("-"):
            line.overrides.append(word)
        elif word in ("-m", "--multirun"):
            line.multirun = True
        elif word == "--dry-run" and verb == "train":
            line.dry_run = True
        elif flag in ("--config-dir", "-cd", "--allow"):
            if not glued:
                if not rest:
                    raise UsageError(f"{flag} needs a value")
                value = rest.pop(0)
            if flag == "--allow":
                line.allow.append(value)
            else:
                line.config_dirs.append(Path(value))
        elif flag in ("--cfg", "-c", "--info", "-i", "--package", "-p"):
            line.flags.append(word)
            line.only_shows = True
            if not glued and rest and "=" not in rest[0] and not rest[0].startswith("-"):
                line.flags.append(rest.pop(0))
        elif word in ("--resolve", "--hydra-help"):
            line.flags.append(word)
            line.only_shows = line.only_shows or word == "--hydra-help"
        else:
            raise UsageError(
                f"mmx {verb} has no flag {word}",
                tip=f"mmx {verb} --help lists the flags; a setting is written key=value",
            )
    return line
