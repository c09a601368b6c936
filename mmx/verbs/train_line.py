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
            _add_place(line, flag, value if glued else _take_value(flag, rest))
        elif flag in ("--cfg", "-c", "--info", "-i", "--package", "-p"):
            line.flags.append(word)
            line.only_shows = True
            if not glued and _begins_with_value(rest):
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


def _add_place(line: CommandLine, flag: str, value: str) -> None:
    """Add a folder of configs, or a package whose classes they may name."""
    if flag == "--allow":
        line.allow.append(value)
    else:
        line.config_dirs.append(Path(value))


def _take_value(flag: str, rest: list[str]) -> str:
    """Return the word after a flag. Raises UsageError where there is none."""
    if not rest:
        raise UsageError(f"{flag} needs a value")
    return rest.pop(0)


def _begins_with_value(rest: Sequence[str]) -> bool:
    """Return whether the next word is a value, and no flag or override."""
    return bool(rest) and "=" not in rest[0] and not rest[0].startswith("-")
