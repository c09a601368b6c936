"""``mmx train``: check everything, then run one experiment or a sweep of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mmx.config.ahead import composing_ahead
from mmx.config.choose_all import choose_all
from mmx.verbs.train_line import parse_line

SUMMARY = "run an experiment, or with -m a sweep of them"
PLACE = 10
COMPLETES = {
    "overrides": True,
    "flags": {
        "--multirun": None,
        "--dry-run": None,
        "--config-dir": (),
        "-cd": (),
        "--allow": (),
        "--cfg": ("job", "hydra", "all"),
        "-c": ("job", "hydra", "all"),
        "--resolve": None,
        "--package": None,
        "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
        "--help": None,
        "--debug": None,
    },
}


def main(arguments: Sequence[str]) -> int:
    """Train, and return the exit code."""
    line = parse_line(arguments)
    compose = partial(choose_all, line.overrides, multirun=line.multirun)
    if line.only_shows or line.config_dirs:
        from mmx.verbs.train_checked import run_line

        return run_line(arguments, ["mmx", "train", *arguments])
    with composing_ahead(compose):
        from mmx.verbs.train_checked import run_line  # imports torch

        return run_line(arguments, ["mmx", "train", *arguments])
