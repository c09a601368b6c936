"""What messages about a task's data say to type."""

from __future__ import annotations

from mmx.quoting import type_override
from mmx.stage_id import Role


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
