"""What a variant is called where nothing says by which name it was chosen."""

from __future__ import annotations

import re

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def variant_name(target: str) -> str:
    """Return the name of a class, given by its dotted path.

    A class of mmx has the name of its module, which is that of its YAML file. Several classes
    of one's own may share a module, so each has its own name, in lower case::

        mmx.fusion.concat.Concat    concat
        mine.fusions.GatedSum       gated_sum

    Args:
        target: Module and class, as in ``_target_``.
    """
    parts = target.split(".")
    if parts[0] == "mmx" and len(parts) > 2:
        return parts[-2]
    return _WORDS.sub("_", parts[-1]).lower()


def variant(kind: type) -> str:
    """Return the name of a class."""
    return variant_name(f"{kind.__module__}.{getattr(kind, '__qualname__', '')}")
