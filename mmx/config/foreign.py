"""What no config may make Hydra execute: its own node names code too.

Callbacks, logging handlers and ``ext://`` values of the ``hydra`` node are imported and
called by Hydra before mmx sees them, so a config of somebody else could run anything.
Launchers and sweepers are safe: Hydra takes only installed plugins for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mmx.errors import Problem

CODE_KEYS = ("_target_", "class", "()", "factory")
PLUGINS = ("launcher", "sweeper")
LOGGING = (
    "logging.FileHandler",
    "logging.Formatter",
    "logging.NullHandler",
    "logging.StreamHandler",
    "colorlog.ColoredFormatter",
    "ext://sys.stderr",
    "ext://sys.stdout",
)


def foreign(node: dict[str, Any], overrides: Sequence[str]) -> list[Problem]:
    """Return what a composed ``hydra`` node would execute, or set in the environment.

    Args:
        node: Plain data.
        overrides: What was typed.
    """
    found = [
        Problem(f"{path}={value}", "Hydra would execute it: a config is data")
        for path, value in _named(node, "hydra")
    ]
    typed = any(text.lstrip("+").startswith("hydra.job.env_set") for text in overrides)
    if (settings := node.get("job", {}).get("env_set")) and not typed:
        names = ", ".join(settings)
        found.append(
            Problem(f"hydra.job.env_set={{{names}}}", "a config does not set the environment")
        )
    return found


def _named(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield each place that names code which is not known to be harmless, and the name."""
    if isinstance(node, list):
        for index, value in enumerate(node):
            yield from _named(value, f"{path}[{index}]")
    elif isinstance(node, dict):
        for key, value in node.items():
            where = f"{path}.{key}"
            plugin = key == "_target_" and path in [f"hydra.{name}" for name in PLUGINS]
            if isinstance(value, (dict, list)):
                yield from _named(value, where)
            elif value is None or value in LOGGING or plugin:
                continue
            elif key in CODE_KEYS or _is_external(value):
                yield where, str(value)


def _is_external(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("ext://")
