"""The type of a JSON object, or of another tree of plain data, with keys that are not fixed."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""Its keys depend on the parts of a run, as those of a config do, or on who wrote the file.

Where the keys are known, use a dataclass.
"""
