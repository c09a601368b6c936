"""Show the examples of docstrings on the documentation's pages as code.

mkdocs.yml names this file. The docstrings of mmx head an example with ``Example:``; the parser of
the pages knows the section as ``Examples:``.
"""

from __future__ import annotations

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Heads examples as the parser expects."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
