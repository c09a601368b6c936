"""Composition: from overrides to plain, resolved data."""

from __future__ import annotations

import copy
import functools
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
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mmx.config import hydra_node, references
from mmx.config.bracketed import read_bracketed
from mmx.config.composed import Composed
from mmx.config.file_places import place_in_files
from mmx.config.hydra_node import Launcher, is_hydra_key
from mmx.config.locate import builtin_directory
from mmx.config.nodes import ConfigNode
from mmx.config.option_problems import refuse_path
from mmx.config.owner import refuse_owners_keys
from mmx.config.sources import ROOT, UserConfigs, register
from mmx.config.sweep_values import refuse_missing_values, refuse_too_many_values
from mmx.errors import ConfigError, MmxError, Problem
from mmx.quoting import quote_for_shell, quote_value
from mmx.stage_id import Role

LENGTH = 20_000
"""Characters of one override, at most."""
COMPOSE_ERRORS = (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError)


@contextmanager
def composer(extra: Sequence[Path] = ()) -> Iterator[None]:
    """Let :func:`compose_job` and :func:`parse` be called inside the ``with`` block."""
    directories = UserConfigs.directories
    register(extra)
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(builtin_directory()), version_base="1.3", job_name="mmx"):
            yield
    finally:
        GlobalHydra.instance().hydra = before
        UserConfigs.directories = directories


def parse(overrides: Sequence[str]) -> list[Override]:
    """Parse overrides by Hydra's grammar; raise ConfigError with those that cannot be read."""
    if (divided := _find_divided(overrides)) is not None:
        raise ConfigError([divided])
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    parsed: list[Override] = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            found = parser.parse_overrides([text]) if _is_readable(text) else []
            problems.extend(refuse_too_many_values(found))
            parsed.extend(found)
        except (*COMPOSE_ERRORS, ArithmeticError, RecursionError, TypeError):
            found = []
        if not found:
            problems.append(_override_problem(text, parser))
    if problems:
        raise ConfigError(problems)
    return parsed


def _find_divided(texts: Sequence[str]) -> Problem | None:
    """Return the problem of a value in brackets that the shell has divided at its spaces."""
    for number, text in enumerate(texts):
        whole = text
        for more in texts[number + 1 :] if "=" in text else ():
            if not _is_open(whole):
                break
            whole = f"{whole} {more}"
        if whole != text and not _is_open(whole):
            reason = "the shell has divided it at its spaces, since it is not in quotes"
            return Problem(whole, reason, type_this=quote_for_shell(whole))
    return None


def _is_open(text: str) -> bool:
    """Return whether a text opens more brackets than it closes."""
    return any(text.count(one) > text.count(other) for one, other in ("{}", "[]"))


def _is_readable(text: str) -> bool:
    """Return whether a text is short and flat enough for Hydra's slow, recursive parser."""
    # An upper bound of the nesting depth, without parsing.
    deepest = max(text.count("["), text.count("{"), text.count("("))
    return len(text) <= LENGTH and deepest <= LENGTH // 50 and "\0" not in text


def _override_problem(text: str, parser: OverridesParser) -> Problem:
    key, equals, value = text.partition("=")
    if equals and re.fullmatch(r"[+~]*\w[\w./]*", key) and _is_readable(text):
        meant = f"{key}={quote_value(read_bracketed(value) or value)}"
        if (value[:1] not in "{[" or read_bracketed(value)) and _can_read(meant, parser):
            reason = "the value holds a character that wants quotes"
            return Problem(text, reason, type_this=quote_for_shell(meant))
    path = None if equals else refuse_path("target", text, text)
    accepted = "key=value, group=option, +key, ~key"
    typed = None if path is None else path.type_this
    return Problem(text, "is not an override", accepted=accepted, type_this=typed)


def _can_read(text: str, parser: OverridesParser) -> bool:
    """Return whether Hydra's grammar reads an override."""
    try:
        return bool(parser.parse_overrides([text]))
    except (*COMPOSE_ERRORS, ArithmeticError, RecursionError, TypeError):
        return False


def list_jobs(parsed: Sequence[Override]) -> list[list[str]]:
    """Return the override lists of a sweep, one for each job, as Hydra's sweeper makes them.

    Raises:
        ConfigError: An override is a sweep without a list of values.
    """
    if problems := list(refuse_missing_values(parsed)):
        raise ConfigError(problems)
    return [job for batch in BasicSweeper.split_arguments(list(parsed), None) for job in batch]


@dataclass(frozen=True)
class ChosenOptions:
    """A config with all options chosen, in which keys can be set without composing again.

    Composing takes most of the time; the jobs of a sweep that differ in keys alone share it.

    Attributes:
        composed: The config before any key is set; only what :meth:`set_keys` returns may run.
        tree: The same, as Hydra composed it, without Hydra's own node.
        texts: The overrides that chose the options.
        problems: What is wrong with the launcher's keys.
    """

    composed: Composed
    tree: DictConfig
    texts: tuple[str, ...]
    problems: tuple[Problem, ...] = ()

    def set_keys(self, keys: Sequence[Override], texts: Sequence[str]) -> Composed:
        """Return the config with keys set as Hydra sets them.

        Args:
            keys: Overrides that set keys and choose no options.
            texts: The same, as they were typed.

        Raises:
            ConfigError: It calls a function, or sets what only a command line may set.
        """
        every = (*self.texts, *texts)
        loader: Any = GlobalHydra.instance().config_loader()
        if any(each.package or loader.repository.group_exists(each.key_or_group) for each in keys):
            return compose_job(every)
        found = self.composed
        if keys:
            tree = copy.deepcopy(self.tree)  # shared by the jobs of a sweep
            try:
                ConfigLoaderImpl._apply_overrides_to_config(list(keys), tree)
            except Exception:  # compose the whole line, for Hydra's own message
                return compose_job(every)
            found = _read(tree, every, self.composed)
        problems = list(self.problems)
        if UserConfigs.list_outside():  # otherwise every key is mmx's own, or of the command line
            own = {**_own_config(), "data_dir": str(find_data_directory())}
            problems += refuse_owners_keys(found.config, found.overrides, own)
        if problems:
            raise ConfigError(place_in_files(problems, found, UserConfigs.directories))
        return found


def compose_job(overrides: Sequence[str]) -> Composed:
    """Compose one job. Hydra's own errors pass: :mod:`mmx.config.override_problems` rewords them.

    Raises:
        ConfigError: The config configures more of Hydra than the launcher, calls a function, or
            sets what only a command line may set.
    """
    return compose_options(overrides).set_keys((), ())


def compose_options(overrides: Sequence[str]) -> ChosenOptions:
    """Compose the options of one job, before keys are set; raise what :func:`compose_job` does."""
    if problems := hydra_node.refuse_typed(overrides):
        raise ConfigError(problems)
    of_launcher = [text for text in overrides if text.startswith(hydra_node.OF_LAUNCHER)]
    tree = _hydra_compose([text for text in overrides if text not in of_launcher])
    everything: Any = OmegaConf.to_container(tree, resolve=False)
    node = everything.pop(hydra_node.HYDRA, None)
    task = [text for text in overrides if not is_hydra_key(text)]
    typed = [text for text in overrides if text not in {*task, *of_launcher}]
    name = _read_choices(node).get(hydra_node.LAUNCHER_GROUP, "")
    is_own = isinstance(node, dict) and _only_own_files(overrides)
    own = node if is_own else _own_node(name if name in hydra_node.LAUNCHERS else "basic")
    problems = hydra_node.refuse_composed(node, own, task, typed)
    if problems := [*problems, *_refuse_references(everything)]:
        raise ConfigError(problems)
    values = {
        each.key_or_group.removeprefix(hydra_node.OF_LAUNCHER): each.value()
        for each in parse(of_launcher)
    }
    launcher, problems = hydra_node.find_launcher(node, own, name, values)
    with open_dict(tree):
        tree.pop(hydra_node.HYDRA, None)  # most of the tree, which is copied for each job
    composed = _to_plain(copy.deepcopy(tree), _read_choices(node), task, launcher)
    return ChosenOptions(composed, tree, tuple(overrides), tuple(problems))


def _only_own_files(overrides: Sequence[str]) -> bool:
    """Return whether nothing but mmx's own files can have set Hydra's node.

    It need not be compared with mmx's own then, which would be composed for that alone.
    """
    return not UserConfigs.list_outside() and not any("hydra" in text for text in overrides)


def _read_choices(node: Any) -> dict[str, str]:
    """Return the option of each group, as a ``hydra`` node says."""
    choices = node["runtime"]["choices"] if isinstance(node, dict) else {}
    return {str(group): str(option) for group, option in choices.items()}


def _refuse_references(config: ConfigNode) -> list[Problem]:
    """Return function calls and oversized references of a config, before it is resolved."""
    return references.refuse_calls(config, "") or references.refuse_growth(config)


def _read(tree: DictConfig, overrides: Sequence[str], before: Composed) -> Composed:
    """Return a composed config in which keys have been set as plain data."""
    everything: Any = OmegaConf.to_container(tree, resolve=False)
    if problems := _refuse_references(everything):
        raise ConfigError(problems)
    task = [text for text in overrides if not is_hydra_key(text)]
    return _to_plain(tree, before.choices, task, before.launcher)


def _hydra_compose(overrides: Sequence[str]) -> DictConfig:
    """Return the config that Hydra composes; turn unexpected errors into one of Hydra's."""
    try:
        return hydra_compose(ROOT, overrides=list(overrides), return_hydra_config=True)
    except (*COMPOSE_ERRORS, MmxError):
        raise
    except Exception as error:  # some configs make Hydra fail with any exception
        raise ConfigCompositionException(f"{type(error).__name__}: {error}") from error


@functools.lru_cache(maxsize=8)
def _own_node(launcher: str) -> ConfigNode:
    """Return the ``hydra`` node of mmx's own root config, not resolved."""
    node: Any = OmegaConf.to_container(_compose_own(launcher).hydra, resolve=False)
    return dict(node)


@functools.cache
def _own_config() -> ConfigNode:
    """Return mmx's own root config, resolved; the data folder is that of the first call."""
    tree = copy.deepcopy(_compose_own("basic"))
    with open_dict(tree):
        tree.pop(hydra_node.HYDRA)
    return _to_plain(tree, {}, (), Launcher()).config


@functools.lru_cache(maxsize=8)
def _compose_own(launcher: str) -> DictConfig:
    """Compose mmx's own root config alone, to compare a user's with it."""
    with composer():
        return _hydra_compose([f"{hydra_node.LAUNCHER_GROUP}={launcher}"])


def _to_plain(
    tree: DictConfig, choices: dict[str, str], overrides: Sequence[str], launcher: Launcher
) -> Composed:
    """Return a composed tree without Hydra's own node, which this may change, as plain data."""
    OmegaConf.set_struct(tree, False)
    if tree.get("data_dir") is None:
        tree.data_dir = str(find_data_directory())
    if choices.get(Role.SOURCE) == "none":  # drop the options that an experiment set for its source
        tree.source = {}
    if isinstance(seed := tree.get("seed"), str) and seed.isdecimal():
        tree.seed = int(seed)  # "1" and 01 are no other seeds than 1, and no other runs
    unresolved = OmegaConf.to_container(tree, resolve=False)
    config = OmegaConf.to_container(tree, resolve=True)
    if not isinstance(config, dict) or not isinstance(unresolved, dict):
        raise ConfigError([Problem(ROOT, "is not a mapping")])
    return Composed(
        config={str(k): v for k, v in config.items()},
        unresolved={str(k): v for k, v in unresolved.items()},
        choices={k: v for k, v in choices.items() if not k.startswith("hydra/")},
        overrides=tuple(overrides),
        launcher=launcher,
    )


def find_data_directory() -> Path:
    """Return ``$MMX_DATA_DIR``, else the user's cache directory."""
    if given := os.environ.get("MMX_DATA_DIR"):
        return Path(given).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "mmx" / "data"
