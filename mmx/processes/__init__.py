"""One run in several processes: who shares a step, and how what each computes is put together."""

from mmx.processes.group import Group, current_group, join_group

__all__ = ["Group", "current_group", "join_group"]
