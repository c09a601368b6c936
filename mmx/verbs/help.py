"""``mmx help WORD…``: explains a verb, a group, an option or a key.

    mmx help                       all verbs
    mmx help compare               a verb, as mmx compare --help does
    mmx help transfer              the options of a group
    mmx help transfer=parameter    an option, with its keys: type, range, default, meaning, paper
    mmx help trainer.batch_size    a key; mmx help trainer: all of them
    mmx help wise_ft               whatever has this name

With --config-dir DIR your own options are explained too, and with --allow PKG the keys of classes
of your own, from their signatures and docstrings.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from mmx.config.locate import list_groups
from mmx.terminal import Console
from mmx.verbs import find_verbs, train_help
from mmx.verbs.arguments import list_allowed_packages
from mmx.verbs.train_line import parse_line

SUMMARY = "explain a verb, a group, an option or a key"
PLACE = 115
COMPLETES = {
    "topics": True,
    "flags": {"--config-dir": (), "-cd": (), "--allow": (), "--help": None, "--debug": None},
}

ROOT_KEYS = ("cache",)
"""Verbs that are keys of a config too; a test keeps them complete."""


def main(arguments: Sequence[str]) -> int:
    """Explain each word, and return the exit code.

    Raises:
        UsageError: A word is no verb, group, option or key.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    line = parse_line(arguments, "help")
    allowed = list_allowed_packages(line.allow)
    for number, word in enumerate(_split(line.overrides)):
        if number:
            print()
        if word in find_verbs():
            _explain_verb(word, line.config_dirs)
            if word not in ROOT_KEYS:
                continue
            print(f"\n{word} is a key too:\n")
        _explain(word, line.config_dirs, allowed)
    return 0


def _split(words: Sequence[str]) -> list[str]:
    """Return the words, with ``transfer=parameter,feature`` as two."""
    found: list[str] = []
    for word in words:
        name, _, values = word.partition("=")
        chosen = values.split(",") if name.replace(".", "/") in list_groups() and values else []
        found += [f"{name}={value}" for value in chosen] or [word]
    return found


def _explain_verb(name: str, extra: Sequence[Path]) -> None:
    """Print the help of a verb."""
    if name == "train":
        print(train_help.page([f"--config-dir={folder}" for folder in extra]), end="")
        return
    try:
        importlib.import_module(find_verbs()[name].module).main(["--help"])
    except SystemExit:  # argparse ends the process after its help
        return


def _explain(word: str, extra: Sequence[Path], allowed: Sequence[str]) -> None:
    """Print what a word stands for."""
    from mmx.reference.prompt import write_topic  # imports the classes: slow
    from mmx.reference.topics import Catalog

    reference = Catalog(extra, allowed)
    console = Console()
    for text, style in write_topic(reference.find(word), reference):
        console.print(text, style=style, highlight=False, soft_wrap=True)
