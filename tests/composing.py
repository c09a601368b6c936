"""How tests compose configs: choices once, and keys set in a copy of what they give.

A choice costs Hydra a third of a second, a key a hundredth of that. ``mmx train`` does the same;
``tests/config/test_config_compose.py`` compares both with Hydra.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, read_write

from mmx.config import compose
from mmx.config.hydra_node import is_hydra_key


def compose_whole(overrides: Sequence[str]) -> DictConfig:
    """Return what Hydra itself composes of a whole line."""
    return hydra_compose(compose.ROOT, overrides=list(overrides), return_hydra_config=True)


def is_choice(override: Override, text: str) -> bool:
    """Return whether an override chooses an option, or is of Hydra's own: neither is a key."""
    loader: Any = GlobalHydra.instance().config_loader()
    return (
        bool(override.package)
        or loader.repository.group_exists(override.key_or_group)
        or is_hydra_key(text)
        or override.is_sweep_override()
    )


def compose_by_choices(
    overrides: Sequence[str], choose: Callable[[Sequence[str]], DictConfig]
) -> DictConfig:
    """Return what Hydra composes: keys are set in a copy of what the choices alone give.

    The name that Hydra makes of a line, which mmx does not read, lacks the keys.
    A line with a mistake is composed as a whole, so that Hydra says what is wrong with it.

    Args:
        overrides: Choices and keys, as they were typed.
        choose: Composes choices; the keys are set in what it gives.
    """
    try:
        parsed = compose.parse(overrides)
        keys = [
            one for one, text in zip(parsed, overrides, strict=True) if not is_choice(one, text)
        ]
        typed = {one.input_line for one in keys}
        tree = choose([text for text in overrides if text not in typed])
        ConfigLoaderImpl._apply_overrides_to_config(keys, tree)
        with read_write(tree.hydra):
            tree.hydra.overrides.task = [
                one.input_line for one in parsed if not one.is_hydra_override()
            ]
    except Exception:
        return choose(overrides)
    return tree


class Composed:
    """What Hydra composes of choices, once for all workers of a session.

    A tree is kept as bytes, which are read eight times faster than a tree is copied, and of
    which the garbage collector has nothing to look through.

    Args:
        folder: Where workers find what others have composed.
        compose: Composes choices.
    """

    def __init__(self, folder: Path, compose: Callable[[Sequence[str]], DictConfig]) -> None:
        self.folder, self.compose = folder, compose
        self.known: dict[tuple[str, ...], bytes] = {}

    def __call__(self, choices: Sequence[str]) -> DictConfig:
        """Return a tree that nobody else has."""
        key = tuple(choices)
        if key not in self.known:
            path = self.folder / hashlib.sha256(repr(key).encode()).hexdigest()
            if not path.is_file():
                written = path.with_name(f"{path.name}.{os.getpid()}")
                written.write_bytes(pickle.dumps(self.compose(choices)))
                written.replace(path)
            self.known[key] = path.read_bytes()
        tree: DictConfig = pickle.loads(self.known[key])
        return tree
