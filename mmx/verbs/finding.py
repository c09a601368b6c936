"""One line of ``mmx doctor``, and its advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.markup import escape

from mmx.terminal import Console


@dataclass(frozen=True)
class Finding:
    """One line of the doctor.

    Attributes:
        name: What was examined.
        state: ``ok``, ``note`` (works, could be better) or ``bad`` (keeps mmx from running).
        found: The result.
        advice: What to do about it.
    """

    name: str
    state: str
    found: str
    advice: str = ""


def print_findings(findings: Iterable[Finding]) -> None:
    """Print findings, each with its advice on a line of its own."""
    console = Console()
    marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
    for finding in findings:
        found = escape(finding.found)  # a folder may be called [old]
        console.print(
            f"{marks[finding.state]} {finding.name:16s} {found}", markup=True, soft_wrap=True
        )
        if finding.advice:
            console.print(
                f"     -> {finding.advice}", markup=False, highlight=False, soft_wrap=True
            )
