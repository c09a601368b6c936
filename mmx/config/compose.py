"""Overrides in, plain resolved data out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmx.config.foreign import foreign
from mmx.config.locate import ALIASES, builtin_directory
from mmx.config.sweep_values import without_values
from mmx.errors import ConfigError, Problem

ROOT = "config"
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)


@dataclass(frozen=True)
class Composed:
    """A config as plain data.

    Attributes:
        config: Resolved; nothing of Hydra's own.
        unresolved: The same with its interpolations as they were written.
        choices: Group to chosen option.
        overrides: What was typed, without Hydra's own keys.
    """

    config: dict[str, Any]
    unresolved: dict[str, Any]
    choices: dict[str, str]
    overrides: tuple[str, ...]


class AliasSource(FileConfigSource):
    """YAML files in which some groups choose from another's too (source from task, …)."""

    @staticmethod
    def _alias(path: str) -> str | None:
        head, _, rest = path.strip("/").partition("/")
        return f"{ALIASES[head]}/{rest}".rstrip("/") if head in ALIASES else None

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a file's config."""
        alias = self._alias(config_path)
        if alias is None or super().is_config(config_path):
            return super().load_config(config_path)
        return super().load_config(alias)

    def is_group(self, config_path: str) -> bool:
        """Return whether there is such a folder."""
        alias = self._alias(config_path)
        return super().is_group(config_path) or (alias is not None and super().is_group(alias))

    def is_config(self, config_path: str) -> bool:
        """Return whether there is such a file."""
        alias = self._alias(config_path)
        return super().is_config(config_path) or (alias is not None and super().is_config(alias))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return what lies in a folder."""
        found: set[str] = set()
        for path in (config_path, self._alias(config_path)):
            if path is not None and super().is_group(path):
                found.update(super().list(path, results_filter))
        if config_path.strip("/") == "":
            found.update(name for name, group in ALIASES.items() if group in found)
        return sorted(found)


class UserConfigs(SearchPathPlugin):
    """A user's config directories, ahead of the built-in one, so that they win."""

    directories: tuple[Path, ...] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the directories first."""
        for path in reversed(self.directories):
            search_path.prepend(provider="user", path=f"file://{path.resolve()}")


class _Sources(dict[str, type[ConfigSource]]):
    """Hydra's table of config sources, which reaches a parallel launcher's workers as it was.

    A worker registers Hydra's own sources before it unpacks ours, and refuses two for one
    scheme; it gets its config composed, so it needs only Hydra's.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return (dict, ({**self, "file": FileConfigSource},))


def register(extra: Sequence[Path] = ()) -> None:
    """Teach Hydra about tasks with two roles and about the user's directories."""
    for path in extra:
        if not path.is_dir():
            raise ConfigError([Problem(f"--config-dir {path}", "is not a directory")])
        if (path / f"{ROOT}.yaml").exists():
            raise ConfigError(
                [
                    Problem(
                        f"{path}/{ROOT}.yaml",
                        "has the name of mmx's own root config, which is not replaced",
                        type_this=f"mv {path}/{ROOT}.yaml {path}/experiment/<name>.yaml   "
                        "(with '# @package _global_' as first line)",
                    )
                ]
            )
    UserConfigs.directories = tuple(extra)
    plugins = Plugins.instance()
    if UserConfigs not in plugins.discover(SearchPathPlugin):
        plugins.register(UserConfigs)
    registry = SourcesRegistry.instance()
    registry.types = _Sources({**registry.types, "file": AliasSource})


@contextmanager
def composer(extra: Sequence[Path] = ()) -> Iterator[None]:
    """Let :func:`compose` and :func:`parse` be called inside the ``with`` block."""
    register(extra)
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(builtin_directory()), version_base="1.3", job_name="mmx"):
            yield
    finally:
        GlobalHydra.instance().hydra = before


def parse(overrides: Sequence[str]) -> list[Override]:
    """Return the overrides by Hydra's grammar; raises ConfigError naming the bad ones."""
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed, problems = [], []
    for text in overrides:
        try:
            parsed.extend(parser.parse_overrides([text]))
        except COMPOSE_ERRORS:
            problems.append(_no_override(text))
    if problems:
        raise ConfigError(problems)
    return parsed


def _no_override(text: str) -> Problem:
    key, equals, value = text.partition("=")
    if equals and re.fullmatch(r"[+~]*\w[\w./]*", key) and not {"'", '"'} & set(value):
        reason = "the value holds a character that wants quotes"
        return Problem(text, reason, type_this=f"'{key}=\"{value}\"'")
    return Problem(text, "is not an override", accepted="key=value, group=option, +key, ~key")


def jobs(parsed: Sequence[Override]) -> list[list[str]]:
    """Return the override lists of a sweep, one for each job, as Hydra's sweeper makes them.

    Raises:
        ConfigError: An override sweeps over no list of values.
    """
    if problems := list(without_values(parsed)):
        raise ConfigError(problems)
    return [job for batch in BasicSweeper.split_arguments(list(parsed), None) for job in batch]


def compose(overrides: Sequence[str]) -> Composed:
    """Compose one job. Raises Hydra's own errors: :mod:`mmx.config.check` words them.

    Raises:
        ConfigError: Hydra's own node names code that Hydra would execute.
    """
    composed = hydra_compose(ROOT, overrides=list(overrides), return_hydra_config=True)
    node = OmegaConf.to_container(composed.hydra, resolve=False)
    if isinstance(node, dict) and (
        problems := foreign({str(k): v for k, v in node.items()}, overrides)
    ):
        raise ConfigError(problems)
    choices = {str(k): str(v) for k, v in composed.hydra.runtime.choices.items()}
    return plain(composed, choices, overrides)


def plain(composed: DictConfig, choices: dict[str, str], overrides: Sequence[str]) -> Composed:
    """Return what Hydra composed as plain data, without Hydra's own node."""
    with_hydra = OmegaConf.masked_copy(composed, [str(k) for k in composed if k != "hydra"])
    if with_hydra.get("data_dir") is None:
        with_hydra.data_dir = str(default_data_directory())
    if choices.get("source") == "none":  # whatever options an experiment has for its source
        with_hydra.source = {}
    unresolved = OmegaConf.to_container(with_hydra, resolve=False)
    config = OmegaConf.to_container(with_hydra, resolve=True)
    if not isinstance(config, dict) or not isinstance(unresolved, dict):
        raise ConfigError([Problem(ROOT, "is not a mapping")])
    return Composed(
        config={str(k): v for k, v in config.items()},
        unresolved={str(k): v for k, v in unresolved.items()},
        choices={k: v for k, v in choices.items() if not k.startswith("hydra/")},
        overrides=tuple(o for o in overrides if not is_hydra_key(o)),
    )


def is_hydra_key(override: str) -> bool:
    """Return whether an override speaks to Hydra and not to the experiment."""
    return override.lstrip("+~").startswith(("hydra.", "hydra/"))


def default_data_directory() -> Path:
    """Return ``$MMX_DATA_DIR``, else the user's cache directory."""
    if given := os.environ.get("MMX_DATA_DIR"):
        return Path(given).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "mmx" / "data"
