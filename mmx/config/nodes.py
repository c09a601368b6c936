"""The type of a config node: a mapping of plain values, as read from YAML."""

from __future__ import annotations

from typing import Any

ConfigNode = dict[str, Any]
"""A mapping of a config, key to plain data: None, bool, int, float, str, a list or another node.

Its keys are the options of the class that it names: :mod:`mmx.config.signature` checks one
against the other. Code that knows its keys takes a dataclass instead.
"""
