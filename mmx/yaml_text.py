"""YAML as mmx writes it: the text of PyYAML's own emitter, at the speed of libyaml's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def dump_yaml(
    data: Mapping[str, Any] | Sequence[Any], *, sort_keys: bool = False, allow_unicode: bool = True
) -> str:
    """Return plain data as YAML, to the byte what ``yaml.safe_dump`` returns.

    Args:
        data: A mapping or list of such, of texts, numbers, booleans and None.
        sort_keys: Whether keys are sorted.
        allow_unicode: Whether letters beyond ASCII stand as they are.
    """
    options: dict[str, Any] = {"sort_keys": sort_keys, "allow_unicode": allow_unicode}
    text: str = yaml.dump(data, Dumper=_Dumper, **options)
    # libyaml breaks long texts in double quotes elsewhere, escapes emoji and writes empty keys
    # otherwise. A file's digest counts, so these rare ones are written by the slow emitter.
    if text.isascii() and '"' not in text and "'':" not in text:
        return text
    slow: str = yaml.safe_dump(data, **options)
    return slow
