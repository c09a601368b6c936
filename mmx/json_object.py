"""The type of a JSON object, or another tree of plain data, whose keys nobody here knows."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""Keys depend on what a run was made of, such as a config's, or on whoever wrote the file."""
