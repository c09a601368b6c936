"""Where Hydra finds YAML: mmx's own folder, and others, which may be untrusted.

The others are the user's folders and those of installed packages. A file of them is read within
bounds, must lie in its folder and may not configure Hydra. Files that break this are refused here,
before Hydra merges or resolves anything.
"""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmx.config.allowed import hide_working_directory
from mmx.config.hydra_node import HYDRA, refuse_in_file
from mmx.config.locate import ALIASES, FILE_BYTES, builtin_directory, find_alias
from mmx.config.part_packages import list_part_directories
from mmx.config.references import refuse_calls
from mmx.errors import ConfigError, Problem, UnreadableFileError
from mmx.printable import shorten
from mmx.quoting import format_value
from mmx.untrusted import check_yaml, make_yaml_error, read_text, unusable_path

ROOT = "config"
"""mmx's own config, at the root of its folder."""
FILE_DEPTH = 32
FILE_NODES = 20_000
SHOWN = 80
"""Characters of a value in a message."""
USER = "user"
"""Hydra's provider of a user's config directory."""
PARTS = "parts"
"""Hydra's provider of the config directory of an installed package."""
OUTSIDE = (USER, PARTS)
"""Providers of files that may be anybody's."""
_OWN: dict[tuple[str, str], ConfigResult] = {}
"""Parsed files of mmx's own, by folder and path."""


class AliasSource(FileConfigSource):
    """Config files, where some groups also offer the options of another (source those of task)."""

    @staticmethod
    def _alias(path: str) -> str | None:
        return find_alias(path, UserConfigs.directories)

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a file's config.

        Raises:
            ConfigError: A user's file cannot be read, or is not a plain config.
        """
        alias = self._alias(config_path)
        if alias is not None and not self._is_file(config_path):
            config_path = alias
        return self._read(config_path) if self.provider in OUTSIDE else self._load_own(config_path)

    def _load_own(self, config_path: str) -> ConfigResult:
        """Return the config of one of mmx's own files; each is parsed once in a process."""
        key = self.path, config_path
        if key not in _OWN:
            _OWN[key] = super().load_config(config_path)
        return copy.deepcopy(_OWN[key])  # Hydra removes the defaults list from it

    def is_group(self, config_path: str) -> bool:
        """Return whether there is such a folder."""
        alias = self._alias(config_path)
        return self._is_folder(config_path) or (alias is not None and self._is_folder(alias))

    def is_config(self, config_path: str) -> bool:
        """Return whether there is such a file."""
        alias = self._alias(config_path)
        return self._is_file(config_path) or (alias is not None and self._is_file(alias))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Return what lies in a folder."""
        found: set[str] = set()
        for path in (config_path, self._alias(config_path)):
            if path is not None and self._is_folder(path):
                found.update(super().list(path, results_filter))
        if config_path.strip("/") == "":
            found.update(name for name, group in ALIASES.items() if group in found)
        return sorted(found)

    def _is_folder(self, config_path: str) -> bool:
        return self._is_inside(config_path) and super().is_group(config_path)

    def _is_file(self, config_path: str) -> bool:
        """Return whether a file may be there; what is wrong with it is reported when it is read."""
        if self.provider not in OUTSIDE:
            return super().is_config(config_path)
        if not self._is_inside(config_path):
            return False
        path = Path(self.path, self._normalize_file_name(config_path))
        return os.path.lexists(path) and not path.is_dir()

    def _is_inside(self, config_path: str) -> bool:
        """Return whether a path may lead to a file of this folder."""
        parts = config_path.strip("/").split("/")
        return ".." not in parts and "\0" not in config_path and parts[0] != "hydra"

    def _read(self, config_path: str) -> ConfigResult:
        """Return the config of a user's file."""
        path = _shorten_path(Path(self.path, self._normalize_file_name(config_path)))
        try:
            if not path.resolve().is_relative_to(Path(self.path).resolve()):
                raise UnreadableFileError(path, "is a link that leads out of its folder")
            text = read_text(path, limit=FILE_BYTES)
            check_yaml(text, path, depth=FILE_DEPTH, nodes=FILE_NODES)
            config = _parse(text, path)
        except UnreadableFileError as error:
            raise ConfigError([Problem(error.path, error.reason)]) from error
        header = ConfigSource._get_header_dict(text[:512])
        plain: Any = OmegaConf.to_container(config, resolve=False)
        problems = refuse_in_file(plain, header.get("package") or "")
        problems += refuse_calls(_drop_hydra(plain), "")
        if header.get("package") == "_global_" and isinstance(plain, dict):
            problems += _refuse_other_containers(plain)
        if problems:
            raise ConfigError([_place_in_file(problem, path) for problem in problems])
        return ConfigResult(
            config=config, path=f"file://{self.path}", provider=self.provider, header=header
        )


def _parse(text: str, path: Path) -> Any:
    """Return what a user's file holds.

    Raises:
        UnreadableFileError: It has a key twice, a tag, or a value that no config has.
    """
    try:
        return OmegaConf.load(io.StringIO(text))
    except yaml.YAMLError as error:
        raise make_yaml_error(path, error) from error
    except (OmegaConfBaseException, ValueError, TypeError, OSError) as error:
        what = str(error).partition("\n")[0]
        raise UnreadableFileError(path, f"is no plain config ({what})") from error


def _refuse_other_containers(content: dict[Any, Any]) -> list[Problem]:
    """Return the keys that are a list where mmx's own config has a mapping, or the reverse.

    Hydra cannot merge the two, and names neither file nor key.
    """
    own = yaml.safe_load(Path(builtin_directory(), f"{ROOT}.yaml").read_text(encoding="utf-8"))
    groups = [key for item in own["defaults"] if isinstance(item, dict) for key in item]
    expected = {group.partition("/")[0]: "a mapping" for group in groups if group != "experiment"}
    expected |= {key: _name_container(value) for key, value in own.items() if key != "defaults"}
    return [
        Problem(
            f"{key}={shorten(format_value(value), SHOWN)}",
            f"is {_name_container(value)}",
            accepted=expected[key],
        )
        for key, value in content.items()
        if expected.get(key) and _name_container(value) not in ("", expected[key])
    ]


def _name_container(value: Any) -> str:
    """Return what a value is in words; empty for one that is no container."""
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else ""


def _drop_hydra(content: Any) -> Any:
    """Return a file's content without the ``hydra`` node, which was checked separately."""
    if not isinstance(content, dict):
        return content
    return {key: value for key, value in content.items() if key != HYDRA}


def _shorten_path(path: Path) -> Path:
    """Return a path relative to the working directory, where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _place_in_file(problem: Problem, path: Path) -> Problem:
    return Problem(
        f"{path}: {problem.given}",
        problem.reason,
        accepted=problem.accepted,
        closest=problem.closest,
        type_this=problem.type_this,
    )


class UserConfigs(SearchPathPlugin):
    """The user's config directories before the built-in one, so that they win; packages' last."""

    directories: tuple[Path, ...] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the directories first."""
        for path in reversed(self.directories):
            search_path.prepend(provider=USER, path=f"file://{path.resolve()}")
        for path in list_part_directories():
            search_path.append(provider=PARTS, path=f"file://{path}")

    @classmethod
    def list_outside(cls) -> list[Path]:
        """Return all config directories but mmx's own."""
        return [*cls.directories, *list_part_directories()]


class _Sources(dict[str, type[ConfigSource]]):
    """Hydra's table of config sources, pickled for a launcher's workers with Hydra's own source.

    A worker registers Hydra's sources before it unpickles this table, and refuses two sources for
    one scheme.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return (dict, ({**self, "file": FileConfigSource},))


def register(extra: Sequence[Path] = ()) -> None:
    """Register the source above and the user's directories with Hydra.

    Raises:
        ConfigError: A directory does not exist, or has files named as mmx's or Hydra's root.
    """
    for path in extra:
        if reason := unusable_path(path):
            raise ConfigError([Problem(f"--config-dir {path}", reason)])
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
        for name in ("hydra", "hydra.yaml"):
            if os.path.lexists(path / name):
                reason = "has the name of Hydra's own configs, which a folder does not replace"
                raise ConfigError([Problem(f"{path}/{name}", reason)])
    UserConfigs.directories = tuple(extra)
    with hide_working_directory():
        plugins = Plugins.instance()  # imports every plugin on the path
    if UserConfigs not in plugins.discover(SearchPathPlugin):
        plugins.register(UserConfigs)
    registry = SourcesRegistry.instance()
    registry.types = _Sources({**registry.types, "file": AliasSource})
