"""What a config and a command line may set of Hydra: the launcher and its numbers.

Hydra's own node names code (callbacks, logging handlers, plugins), sets environment variables and
makes folders. mmx needs none of it and refuses all of it: a user's file may have only
``hydra.launcher``, a command line only that and the directories, and the composed node must equal
that of mmx's own root config, value by value, before anything is resolved. As a second
protection no job runs under a composed node: :mod:`mmx.config.launch` makes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from mmx.config import signature
from mmx.config.nodes import ConfigNode
from mmx.errors import Problem, closest
from mmx.quoting import format_value

HYDRA = "hydra"
LAUNCHER_GROUP = "hydra/launcher"
SEARCH_LINE = "mmx search 'optimizer.lr=log(1e-4,1e-2)' trials=20"
"""What a search looks like: the settings that vary have a range."""
SWEEPER_GROUP = "hydra/sweeper"
OF_LAUNCHER = "hydra.launcher."
DIRECTORY_KEYS = ("hydra.run.dir", "hydra.sweep.dir")
"""The directories of a run and of a sweep: a command line may set them, a file may not."""
_OF_HYDRA = (
    "runtime.choices",
    "runtime.cwd",
    "runtime.config_sources",
    "overrides.hydra",
    "overrides.task",
    "job.override_dirname",
)
"""Keys that Hydra itself sets for each command line."""
_SHOWN = 5


def _basic() -> None:
    """One job after the other, in this process."""


def _joblib(
    *,
    n_jobs: Annotated[int, Field(ge=-1, le=1024)] = -1,
    verbose: Annotated[int, Field(ge=0, le=100)] = 0,
    timeout: Annotated[float, Field(gt=0, le=1e9)] | None = None,
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["auto"] = "auto",
) -> None:
    if n_jobs == 0:
        raise ValueError("n_jobs=0: no job would run")


Name = Annotated[str, Field(pattern=r"^[\w.,:+@/-]{1,200}$")]
"""A name that cannot add a line to a script."""
Cpus = Annotated[int, Field(ge=1, le=1024)]


def _submitit(
    *,
    cluster: Literal["slurm", "local"] = "slurm",
    partition: Name | None = None,
    account: Name | None = None,
    qos: Name | None = None,
    constraint: Name | None = None,
    timeout_min: Annotated[int, Field(ge=1, le=1_000_000)] = 240,
    cpus_per_task: Cpus = 1,
    gpus_per_node: Annotated[int, Field(ge=0, le=1024)] | None = None,
    mem_gb: Annotated[float, Field(gt=0, le=1e6)] | None = None,
    array_parallelism: Annotated[int, Field(ge=1, le=100_000)] = 256,
    signal_delay_s: Annotated[int, Field(ge=1, le=86_400)] = 120,
    max_num_timeout: Annotated[int, Field(ge=0, le=100_000)] = 100,
) -> None:
    """An array of jobs on SLURM, or processes of this machine."""


def _ray(
    *,
    address: Name | None = None,
    num_cpus: Cpus = 1,
    num_gpus: Annotated[float, Field(ge=0, le=1024)] = 0,
) -> None:
    """Tasks of a Ray cluster; without an address, of one of this machine alone."""


LAUNCHERS: dict[str, tuple[Callable[..., None], str]] = {
    "basic": (_basic, "hydra._internal.core_plugins.basic_launcher.BasicLauncher"),
    "joblib": (_joblib, "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"),
    "submitit": (_submitit, "mmx.workers.submitit_jobs.run_on_submitit"),
    "ray": (_ray, "mmx.workers.ray_jobs.run_on_ray"),
}
"""Launcher to the function with its options as signature, and what runs the jobs: the class of a
plugin of Hydra, or a function of mmx."""
OWN_LAUNCHERS = ("submitit", "ray")
"""Launchers that mmx runs itself; Hydra only composes their names."""


@dataclass(frozen=True)
class Launcher:
    """How the jobs of a sweep are run.

    Attributes:
        name: One of :data:`LAUNCHERS`.
        options: Those of its options that were set.
    """

    name: str = "basic"
    options: ConfigNode = field(default_factory=dict)


def is_hydra_key(override: str) -> bool:
    """Return whether an override sets a key of Hydra, and not of the experiment."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0].strip()
    return key == HYDRA or key.startswith((f"{HYDRA}.", f"{HYDRA}/"))


def refuse_typed(overrides: Sequence[str]) -> list[Problem]:
    """Return the overrides of a command line that set what mmx does not allow of Hydra."""
    problems = []
    for text in filter(is_hydra_key, overrides):
        key, _, value = text.partition("=")
        if key in DIRECTORY_KEYS:
            other = DIRECTORY_KEYS[1 - DIRECTORY_KEYS.index(key)]
            reason = "names the directory of a run" if key == DIRECTORY_KEYS[0] else "is of a sweep"
            problems.append(Problem(text, f"{reason}, and this is none", closest=other))
        elif key.startswith(OF_LAUNCHER):
            continue  # its value is checked once the launcher is known
        elif key == SWEEPER_GROUP or key.startswith(f"{HYDRA}.sweeper."):
            reason = "mmx runs every combination of a sweep; it searches by a verb of its own"
            problems.append(Problem(text, reason, type_this=SEARCH_LINE))
        elif key != LAUNCHER_GROUP:
            keys = _list_accepted()
            near = closest(key.lstrip("+~"), keys)
            reason = "is not for a config or command line to say: mmx does it itself"
            problems.append(Problem(text, reason, accepted=", ".join(keys), closest=near))
        elif value not in LAUNCHERS:
            near = closest(value, LAUNCHERS)
            problems.append(
                Problem(
                    text,
                    f"there is no launcher {value}",
                    accepted=", ".join(LAUNCHERS),
                    closest=near,
                    type_this=f"{LAUNCHER_GROUP}={near or 'joblib'}",
                )
            )
    return problems


def _list_accepted() -> list[str]:
    names = {
        name: None for check, _ in LAUNCHERS.values() for name in signature.list_options(check)
    }
    return [LAUNCHER_GROUP, *(f"hydra.launcher.{name}" for name in names), *DIRECTORY_KEYS]


def refuse_in_file(content: Any, package: str) -> list[Problem]:
    """Return what a user's file sets of Hydra, other than the launcher and its numbers.

    Args:
        content: Plain data, not resolved.
        package: The package of its ``# @package`` header.
    """
    if package.split(".")[0] == HYDRA:
        return [_refusal(f"# @package {package}")]
    if not isinstance(content, dict):
        return []
    found = list(_refuse_defaults(content.get("defaults")))
    node = content.get(HYDRA, {})
    if not isinstance(node, dict):
        return [*found, _refusal(f"{HYDRA}={_shorten(node)}")]
    found += [_refusal(f"{HYDRA}.{key}={_shorten(node[key])}") for key in node if key != "launcher"]
    launcher = node.get("launcher", {})
    if not isinstance(launcher, dict):
        return [*found, _refusal(f"{HYDRA}.launcher={_shorten(launcher)}")]
    return found + [
        _refusal(f"{HYDRA}.launcher.{key}={_shorten(value)}")
        for key, value in launcher.items()
        if key == "_target_"
        or not isinstance(value, (int, float, str, type(None)))
        or "$" in str(value)
    ]


def _refuse_defaults(entries: Any) -> Iterator[Problem]:
    """Yield the entries of a defaults list that choose anything of Hydra but a launcher."""
    for entry in entries if isinstance(entries, list) else []:
        pairs = entry.items() if isinstance(entry, dict) else [(entry, None)]
        for key, value in pairs:
            group, _, package = str(key).split(" ")[-1].lstrip("/").partition("@")
            launcher = group == LAUNCHER_GROUP and not package and str(value) in LAUNCHERS
            if not launcher and HYDRA in (group.split("/")[0], package.lstrip("_").split(".")[0]):
                yield _refusal(
                    f"defaults: {key}" + ("" if value is None else f": {_shorten(value)}")
                )


def refuse_composed(
    node: Any, own: ConfigNode, task: Sequence[str], typed: Sequence[str]
) -> list[Problem]:
    """Return where a composed ``hydra`` node differs from mmx's own, except in the launcher.

    Args:
        node: Plain data, not resolved.
        own: The node of mmx's root config alone, with the same launcher.
        task: The overrides for the experiment.
        typed: The overrides for Hydra.
    """
    if not isinstance(node, dict):
        return [_refusal(f"{HYDRA}={_shorten(node)}")]
    expected = {"overrides.task": list(task), "overrides.hydra": list(typed)}
    found = [
        _refusal(f"{HYDRA}.{path}={_shorten(value)}")
        for path, value in _find_differences(node, own, "")
        if not path.startswith("launcher") and path not in _OF_HYDRA
    ]
    overrides = node.get("overrides", {})
    for path, value in expected.items():
        if not found and overrides.get(path.partition(".")[2]) != value:
            found.append(_refusal(f"{HYDRA}.{path}"))
    return found[:_SHOWN]


def find_launcher(
    node: ConfigNode, own: ConfigNode, name: str, typed: ConfigNode
) -> tuple[Launcher, list[Problem]]:
    """Return the launcher that a composed node chooses, and what is wrong with its keys.

    Args:
        node: The composed ``hydra`` node as plain data, not resolved.
        own: mmx's own node with the same launcher.
        name: The launcher's name.
        typed: Its options on the command line, which win over those of files.
    """
    path = "hydra.launcher"
    if name not in LAUNCHERS:
        accepted = ", ".join(LAUNCHERS)
        return Launcher(), [
            Problem(f"{LAUNCHER_GROUP}={name}", "is no launcher of mmx", accepted=accepted)
        ]
    check, plugin = LAUNCHERS[name]
    given, default = node.get("launcher"), own["launcher"]
    if not isinstance(given, dict) or given.get("_target_") != plugin:
        return Launcher(), [_refusal(f"{path}={_shorten(given)}")]
    changed = {str(k): v for k, v in given.items() if k not in default or default[k] != v}
    options, problems = signature.check_values(check, {**changed, **typed}, path)
    if problems and name == "basic":
        reason = "no code reads this key: one job runs after the other"
        near = f"hydra/launcher=joblib {problems[0].given}"
        return Launcher(), [Problem(problems[0].given, reason, type_this=near)]
    if not problems:
        try:
            check(**options)
        except ValueError as error:
            problems = [
                Problem(f"{path}.{str(error).partition(':')[0]}", str(error).partition(": ")[2])
            ]
    return Launcher(name, options), problems


def _find_differences(node: Any, own: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each difference between a node and mmx's own."""
    if path in _OF_HYDRA:
        return
    if isinstance(node, dict) and isinstance(own, dict):
        for key in {**own, **node}:
            where = f"{path}.{key}" if path else str(key)
            if key not in node or key not in own:
                yield where, node.get(key, "")
            else:
                yield from _find_differences(node[key], own[key], where)
    elif type(node) is not type(own) or node != own:  # True == 1 in Python
        yield path, node


def _refusal(given: str) -> Problem:
    return Problem(
        given,
        "a config says nothing to Hydra but which launcher: it is data, and mmx does the rest",
        accepted=", ".join(key for key in _list_accepted() if key not in DIRECTORY_KEYS),
    )


def _shorten(value: Any) -> str:
    text = format_value(value)
    return text if len(text) <= 80 else text[:77] + "..."
