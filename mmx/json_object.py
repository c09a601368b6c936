"""The type of a JSON object, or of another tree of plain data, with keys that are not fixed."""

from __future__ import annotations

import math
from typing import Any

Json = dict[str, Any]
"""Its keys depend on the parts of a run, as those of a config do, or on who wrote the file.

Where the keys are known, use a dataclass.
"""


def null_undefined(node: Any) -> Any:
    """Return plain data with None for each number that is not finite, since JSON has no NaN."""
    if isinstance(node, dict):
        return {key: null_undefined(each) for key, each in node.items()}
    if isinstance(node, list | tuple):
        return [null_undefined(each) for each in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node
