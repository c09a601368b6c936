"""The console on which everything for people is printed, without obeying any of it.

Neither rich nor the terminal finds commands in printed text: ``[bold]`` and ``:smile:`` in the
name of a class are shown as they are, and an escape sequence is shown by its number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console as rich_console
from rich.segment import Segment
from rich.text import Text

from mmx.printable import OBEYED, printable


class Console(rich_console.Console):
    """rich's console, without markup and emoji unless a call asks for them.

    Args:
        options: As rich takes them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def on_broken_pipe(self) -> None:
        """Stop printing where nobody reads stderr; the run continues, and stdout is left alone."""
        if not self.stderr:
            super().on_broken_pipe()  # redirects stdout to the null device and exits
        self.quiet = True

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as rich draws it; called for printed text and for table cells."""
        return super().render_str(printable(text), **options)

    def render(
        self,
        renderable: rich_console.RenderableType,
        options: rich_console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Draw something; a ready-made Text is made printable too."""
        if isinstance(renderable, Text) and OBEYED.search(renderable.plain):
            renderable = Text(printable(renderable.plain), renderable.style)
        return super().render(renderable, options)
