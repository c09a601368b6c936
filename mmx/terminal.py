"""Where everything for people is printed: what is shown is never obeyed.

Neither rich nor the terminal reads commands in what is printed: ``[bold]`` and ``:smile:`` in
the name of a class are letters, and an escape sequence is shown by its number.
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
        """Say no more where nobody reads stderr; the run goes on, and stdout is left alone."""
        if not self.stderr:
            super().on_broken_pipe()
        self.quiet = True

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as rich draws it: what is printed, and each cell of a table."""
        return super().render_str(printable(text), **options)

    def render(
        self,
        renderable: rich_console.RenderableType,
        options: rich_console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Draw something; a Text that was made elsewhere is looked at too."""
        if isinstance(renderable, Text) and OBEYED.search(renderable.plain):
            renderable = Text(printable(renderable.plain), renderable.style)
        return super().render(renderable, options)
