"""``mmx resume RUN``: go on where a run stopped, in the same directory."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from mmx import execution
from mmx.experiment import assemble
from mmx.runs import answer
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import code_digest
from mmx.runs.view import view
from mmx.verbs.arguments import Parser, allowed_packages, keep_threads
from mmx.verbs.train_single import conclude


def main(arguments: Sequence[str]) -> int:
    """Resume a run and return the exit code."""
    parser = Parser("resume", description=__doc__).with_run().with_allow()
    given = parser.parse_args(arguments)
    directory = RunDirectory.open(given.run)
    console = Console(stderr=True)
    if directory.status().get("status") == "done":
        console.print("this run is done: nothing is left to resume", highlight=False)
        answer.show(console, directory.summary())
        print(directory.path)
        return 0
    if directory.manifest().get("code", {}).get("digest") != code_digest():
        console.print("note: mmx's code has changed since this run began; numbers may differ")
    experiment = assemble(directory.config(), allowed_packages(given.allow))
    keep_threads(directory)
    with view() as listen:
        # A reproduction owes nothing to the cache, interrupted or not.
        cached = not directory.manifest().get("parent")
        outcome = execution.execute(experiment, directory, listen, cached=cached)
    return conclude(directory, outcome)
