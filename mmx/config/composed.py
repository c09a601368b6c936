"""What composing a command line gives: one job's config as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

import yaml

from mmx.config.hydra_node import Launcher
from mmx.config.nodes import ConfigNode
from mmx.yaml_text import dump_yaml


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

    def to_yaml(self) -> str:
        """Return the job as text for another process, which runs it without its launcher."""
        fields = {
            "config": self.config,
            "unresolved": self.unresolved,
            "choices": self.choices,
            "overrides": list(self.overrides),
        }
        return dump_yaml(fields)

    @classmethod
    def from_yaml(cls, text: str) -> Composed:
        """Return the job of a text of :meth:`to_yaml`."""
        fields = yaml.safe_load(text)
        return cls(**{**fields, "overrides": tuple(fields["overrides"])})
