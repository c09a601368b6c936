"""Options that say nothing: they are left out of a canonical config, as if they were not there."""

from __future__ import annotations

from mmx.config.nodes import ConfigNode
from mmx.experiment.fitting import Built
from mmx.tasks import Task
from mmx.tasks.cutting import UNSET

LEFT_OUT = ("metric", "calibration", "tracker", "callbacks")
"""Nodes that say nothing where they are empty, and that configs from before them lack."""


def drop_unset(config: ConfigNode, built: Built) -> ConfigNode:
    """Return the config without options of tasks that say nothing where they are null."""

    def says_nothing(task: Task | None, key: str, value: object) -> bool:
        # A class may have another default, and then null says something.
        return key in UNSET and value is None and getattr(type(task), key, key) is None

    kept = {
        str(role): {k: v for k, v in node.items() if not says_nothing(task, k, v)}
        for role, task in built.tasks.items()
        if isinstance(node := config.get(role), dict)
    }
    # Without a metric the usual one counts, as in runs from before there was a choice.
    return {
        k: v for k, v in {**_drop_one_process(config), **kept}.items() if v or k not in LEFT_OUT
    }


def _drop_one_process(config: ConfigNode) -> ConfigNode:
    """Return the config as runs had it before there could be several processes, where it is one."""
    if config.get("processes") == 1:
        config = {key: value for key, value in config.items() if key != "processes"}
    if isinstance(trainer := config.get("trainer"), dict) and not trainer.get("sync_batch_norm"):
        trainer = {key: value for key, value in trainer.items() if key != "sync_batch_norm"}
        config = {**config, "trainer": trainer}
    return config
