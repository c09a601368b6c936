"""Options of tasks: what to type to give one, and which a config may leave out."""

from mmx.quoting import type_override
from mmx.stage_id import Role

UNSET = ("group", "time", "folds", "fold", "repeat", "repeats", "pool")
"""Options that a run's config leaves out where they are null, so that a run without them has the
config, and the fingerprint, of a run from before there were any."""


def type_task_option(key: str, value: object) -> str:
    """Return what to type to give a task an option.

    Args:
        key: The option.
        value: Its value; text such as ``<table>`` is a placeholder.
    """
    target, source = (
        f"{role}.{key}={value}"
        if isinstance(value, str) and value.startswith("<")
        else type_override(f"{role}.{key}", value)
        for role in (Role.TARGET, Role.SOURCE)
    )
    return f"{target} ({source} where it is the source)"
