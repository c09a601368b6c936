"""Fuzz ``mmx train``'s command line: compose, check and build each, read no data.

    python scripts/fuzz_overrides.py 2000 --seed 0

Real groups, keys and values of the configs are mixed with values that are extreme, of the wrong
type, quoted oddly or references. Only errors of mmx's own may be raised. Prints what was raised
else, what took longer than two seconds, and how many lines were accepted; exit 1 for a finding.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import yaml

from mmx.config.locate import builtin_directory, find_options, list_groups
from mmx.errors import MmxError
from mmx.verbs.preflight import preflight
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import CommandLine

SECONDS = 2.0
HANGS = 10
VALUES = (
    *("0", "-1", "1", "2147483648", "-2147483649", "9223372036854775808", "1e308", "1e309", "-1e5"),
    *("0.0", "1e-320", "nan", ".nan", "inf", ".inf", "-inf", "9" * 400, "0x10", "1_000", "007"),
    *("", "null", "true", "False", "yes", "~", "???", "[]", "{}", "[1,2]", "{a: 1}", "[[[[1]]]]"),
    *("{a:{b:{c:1}}}", "[nan]", "[a,b", "{a", "'", '"', "''", "'a", '"b', "a b", "ä", "名前", "🎲"),
    *("${seed}", "${nokey}", "${oc.env:HOME}", "${", "${trainer.${seed}}", "\\", "\\,", "a=b", "="),
    *("1,2", "a,", ",", "range(3)", "range(0,1e9)", "interval(0,1)", "choice(1,2)", "glob(*)"),
    *("shuffle(1,2)", "int(x)", "float(1)", "json_str(1)", "sort(2,1)", "@", "a/b", "../x", "/etc"),
    *("\x00", "\x1b[2J", "\u202e", "x" * 5000, "None", "%s", "{0}", "$(x)", "`x`", "!!int 3", "*a"),
)
PREFIXES = ("", "", "", "", "", "", "+", "++", "~", "-")


def keys_of(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from keys_of(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def settings() -> list[tuple[str, Any]]:
    """Return every key of every option, with its group's choice before it."""
    root = yaml.safe_load((builtin_directory() / "config.yaml").read_text(encoding="utf-8"))
    found = [("", key, value) for key, value in keys_of(root) if not key.startswith("defaults")]
    for group in list_groups():
        for option, path in find_options(group).items():
            if group == "experiment":
                continue
            for key, value in keys_of(yaml.safe_load(path.read_text(encoding="utf-8")) or {}):
                found.append((f"{group}={option}", f"{group.replace('/', '.')}.{key}", value))
    return found


def line_of(chance: random.Random, known: list[tuple[str, Any]]) -> list[str]:
    """Return the overrides of one command line."""
    words = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        choice, key, value = chance.choice(known)
        words += [choice] if choice and chance.random() < 0.9 else []
        if chance.random() < 0.1:
            position = chance.randrange(len(key) + 1)
            key = (
                key[:position] + chance.choice(("", ".", "x", "/", "@", "é", " ")) + key[position:]
            )
        text = str(value) if chance.random() < 0.15 else chance.choice(VALUES)
        equals = chance.choice(("=",) * 30 + ("", "==", ":"))
        words.append(f"{chance.choice(PREFIXES)}{key}{equals}{text}")
    return words


def attempt(words: list[str], multirun: bool) -> Any:
    """Compose and build a command line; return its jobs."""
    line = expand(CommandLine(overrides=list(words), multirun=multirun))
    return preflight(line, [])


def hangs(*_: object) -> None:
    raise TimeoutError("hangs")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accepted", action="store_true", help="print the accepted lines")
    given = parser.parse_args()
    chance, known = random.Random(given.seed), settings()
    counts: Counter[str] = Counter()
    for words in ([], ["encoder/image=resnet34"]):  # what is imported once counts for no line
        attempt(words, False)
    signal.signal(signal.SIGALRM, hangs)
    for _ in range(given.count):
        words, multirun = line_of(chance, known), chance.random() < 0.2
        began = time.process_time()
        signal.alarm(HANGS)
        try:
            attempt(words, multirun)
            counts["accepted"] += 1
            if given.accepted:
                print("accepted", words, flush=True)
        except MmxError as error:
            counts["refused"] += 1
            if error.exit_code != 2:
                counts["found"] += 1
                print("exit code", error.exit_code, words, error, flush=True)
        except Exception as error:
            counts["found"] += 1
            print(
                "raised",
                type(error).__name__,
                str(error)[:200],
                [w[:200] for w in words],
                flush=True,
            )
        signal.alarm(0)
        if (seconds := time.process_time() - began) > SECONDS:
            counts["found"] += 1
            print(f"slow: {seconds:.1f} s", [word[:200] for word in words], flush=True)
    print(dict(counts))
    return 1 if counts["found"] else 0


if __name__ == "__main__":
    sys.exit(main())
