"""``mmx cache ls|rm|verify``: artifacts that are kept so that nothing is computed twice.

  mmx cache ls                     all artifacts; what goes first when there is no room is on top
  mmx cache rm KEY... | --all | --older-than DAYS
                                   remove artifacts, by the first digits of their keys, all,
                                   or those that were not used for so many days
  mmx cache verify [--remove]      read every artifact; exit 1 if one is damaged

The cache lies in MMX_CACHE_DIR, or in your cache directory; --dir names another one.
"""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from rich.table import Table

from mmx.errors import RunError, UsageError, closest
from mmx.printable import printable
from mmx.runs.cache import Artifact, Cache, location, readable_bytes
from mmx.terminal import Console
from mmx.verbs.arguments import Parser

SUMMARY = "list, remove or verify results of stages that are kept"
PLACE = 100
COMPLETES = {"words": ("ls", "rm", "verify")}

ACTIONS = COMPLETES["words"]
COLUMNS = ("key", "kind", "what", "made", "last used")
KEY_SHOWN = 12
KEY_NEEDED = 4
"""Digits of a key that must be typed, so that a typing error removes little."""
DAY_SECONDS = 86400


def main(arguments: Sequence[str]) -> int:
    """List, remove or verify, and return the exit code."""
    action = arguments[0] if arguments else ""
    if action in ("-h", "--help"):
        print(__doc__)
        return 0
    if action not in ACTIONS:
        raise UsageError(
            f"mmx cache needs one of {', '.join(ACTIONS)}"
            + (f", not {action!r}" if action else ""),
            tip=f"mmx cache {closest(action, ACTIONS) or 'ls'}",
        )
    parser = Parser(f"cache {action}", description=__doc__)
    parser.add_argument("--dir", default="auto", metavar="DIR", help="default: MMX_CACHE_DIR")
    run = {"ls": _list, "rm": _remove, "verify": _verify}[action]
    if action == "ls":
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
    elif action == "rm":
        parser.add_argument("keys", nargs="*", metavar="KEY", help="the first digits are enough")
        parser.add_argument("--all", action="store_true", help="every artifact")
        parser.add_argument("--older-than", type=float, metavar="DAYS", help="since the last use")
    else:
        parser.add_argument("--remove", action="store_true", help="remove what is damaged")
    given = parser.parse_args(arguments[1:])
    path = location(given.dir)
    if path is None:
        raise UsageError(
            "the cache is off: MMX_CACHE_DIR or --dir says so", tip=f"mmx cache {action} --dir DIR"
        )
    return run(Cache(path, limit_bytes=0), given)


def _list(cache: Cache, given: Namespace) -> int:
    kept = cache.entries()
    if given.json:
        for artifact in kept:
            facts = {**asdict(artifact), "path": str(artifact.path)}
            print(json.dumps({"key": artifact.key, "kind": artifact.kind, **facts}))
        return 0
    if not kept:
        print(f"nothing is kept in {cache.path}")
        return 0
    console = Console()
    table = Table(*COLUMNS, box=None, header_style="bold")
    table.add_column("size", justify="right")
    table.add_column("seconds saved", justify="right")
    for artifact in kept:
        table.add_row(
            artifact.key[:KEY_SHOWN],
            artifact.kind,
            artifact.what or "(damaged)",
            artifact.created[:16].replace("T", " "),
            _day_and_time(artifact.used),
            readable_bytes(artifact.bytes),
            f"{artifact.seconds:.1f}",
        )
    if not console.is_terminal:
        console.width = 240
    console.print(table)
    print(f"{_count(kept)} in {cache.path}")
    return 0


def _day_and_time(seconds: float) -> str:
    """Return a file's time for people; "?" where it is outside the calendar's range."""
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "?"


def _remove(cache: Cache, given: Namespace) -> int:
    ways = bool(given.keys) + given.all + (given.older_than is not None)
    if ways != 1:
        raise UsageError(
            "mmx cache rm needs one of KEY..., --all, --older-than DAYS", tip="mmx cache ls"
        )
    if given.older_than is not None and not given.older_than >= 0:
        raise UsageError(f"--older-than {given.older_than:g} must be ≥ 0 days")
    kept = cache.entries()
    if given.keys:
        kept = list(
            {found.key: found for key in given.keys for found in _find_artifact(key, kept)}.values()
        )
    elif given.older_than is not None:
        latest = time.time() - given.older_than * DAY_SECONDS
        kept = [artifact for artifact in kept if artifact.used < latest]
    removed = _discard(cache, kept)
    print(f"removed {_count(removed)}")
    return 0 if len(removed) == len(kept) else 1


def _find_artifact(key: str, kept: Sequence[Artifact]) -> list[Artifact]:
    """Return the artifact with a key that begins with these digits, as a list of one.

    Raises:
        UsageError: None does, or several do.
    """
    if len(key) < KEY_NEEDED:
        raise UsageError(
            f"the key {key!r} is too short: {KEY_NEEDED} digits or more", tip="mmx cache ls"
        )
    found = [artifact for artifact in kept if artifact.key.startswith(key)]
    if not found:
        raise UsageError(f"no artifact's key begins with {key!r}", tip="mmx cache ls")
    if len(found) > 1:
        keys = ", ".join(artifact.key for artifact in found)
        raise UsageError(f"several keys begin with {key!r}: {keys}", tip="type more digits")
    return found


def _discard(cache: Cache, kept: Sequence[Artifact]) -> list[Artifact]:
    """Remove artifacts, say which are in use, and return those removed.

    Raises:
        RunError: The folder cannot be written.
    """
    removed = []
    for artifact in kept:
        try:
            gone = cache.remove(artifact)
        except OSError as error:
            raise RunError(f"cannot remove {artifact.path}: {error.strerror}") from error
        if gone:
            removed.append(artifact)
        else:
            print(printable(f"in use, not removed: {_label(artifact)}"), file=sys.stderr)
    return removed


def _verify(cache: Cache, given: Namespace) -> int:
    checked, damaged = [], []
    for artifact, damage in cache.verify():
        checked.append(artifact)
        if damage is not None:
            damaged.append(artifact)
            print(printable(f"damaged: {_label(artifact)}: {damage}"))
    print(f"{_count(checked)} read, {len(damaged)} damaged")
    if damaged and given.remove:
        print(f"removed {_count(_discard(cache, damaged))}")
    elif damaged:
        print("  tip: mmx cache verify --remove", file=sys.stderr)
    return 1 if damaged else 0


def _label(artifact: Artifact) -> str:
    words = (artifact.kind, artifact.what, artifact.key[:KEY_SHOWN])
    return " ".join(word for word in words if word)


def _count(kept: Sequence[Artifact]) -> str:
    plural = "artifact" if len(kept) == 1 else "artifacts"
    size = readable_bytes(sum(artifact.bytes for artifact in kept))
    return f"{len(kept)} {plural}, {size}"
