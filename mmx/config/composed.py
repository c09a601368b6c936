"""What composing a command line gives: one job's config as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmx.config.hydra_node import Launcher
from mmx.config.nodes import ConfigNode


@dataclass(frozen=True)
class Composed:
    """A config as plain data.

    Attributes:
        config: Resolved, without Hydra's own node.
        unresolved: The same, with its interpolations as they were written.
        choices: Group to chosen option.
        overrides: What was typed, without Hydra's own keys.
        launcher: How the job is run, if it belongs to a sweep.
    """

    config: ConfigNode
    unresolved: ConfigNode
    choices: dict[str, str]
    overrides: tuple[str, ...]
    launcher: Launcher = field(default_factory=Launcher)
