"""The formats of an exported model, one a file."""

from __future__ import annotations

from mmx.export.formats.base import ExportFormat
from mmx.variants import find_variants

__all__ = ["ExportFormat", "find_formats"]


def find_formats() -> dict[str, type[ExportFormat]]:
    """Return the formats by name."""
    return find_variants(__name__, ExportFormat)
