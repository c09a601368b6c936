"""Show docstrings on the documentation's pages as they are meant; mkdocs.yml names this file.

The docstrings of mmx head an example with ``Example:``, which the parser of the pages knows as
``Examples:``, and have roles such as ``:class:`Widths```, which the pages show as plain code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|meth|mod|func|attr|data|obj|exc):`~?(?:[\w.]*\.)?(\w+)`")


class Examples(griffe.Extension):
    """Heads examples as the parser expects, and leaves out roles."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object that was read."""
        if obj.docstring is not None:
            text = obj.docstring.value
            text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)
            obj.docstring.value = ROLE.sub(r"`\1`", text)
