"""mmx data [flags] [target=task] [key=value ...]: what was read, before anything is trained on it.

  mmx data target=fsdd
  mmx data target=table target.path=shoes.csv target.label=type 'target.columns={image: photo}'
  mmx data -m target=cifar10,stl10

Opens the target as mmx train would, with the same keys and the same errors, and says what is in
it: rows by split and class, missing cells, sizes of images, sampling rates and lengths of sounds,
lengths and scripts of texts, dimensions and lengths of vectors, sequences and videos, what each
column of a table is read as, the notes that a run would log, and the fingerprint. No encoder is
made and no weights are read.

The last line of stdout is the path of a data card, outputs/data/<name>-<fingerprint>.html: the
same facts on one page, with twelve training rows of each modality, drawn by seed= and evenly from
the classes. The page needs no other file and no network.

flags, in any place:
  -m, --multirun      every combination of comma-separated values, a card each
  --out FILE          write the card there
  --json              print one JSON object for each target, all facts in it, in place of tables
  --config-dir DIR    add your own YAML, as for mmx train
  --allow PKG         let configs name classes of your own package (also MMX_ALLOW=PKG,PKG)
  --debug             show tracebacks
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table

from mmx.errors import UsageError
from mmx.evaluation.data_facts import DataFacts, gather_facts
from mmx.experiment.target_alone import TargetAlone
from mmx.printable import VALUE, one_line
from mmx.reports.data_card import render_card
from mmx.reports.data_tables import FactTable, facts_to_json, format_data_title, list_tables
from mmx.runs.atomic import make_folder, write_text
from mmx.stages.core.data_checks import note_few_rows
from mmx.tasks import TaskData
from mmx.terminal import Console
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import list_allowed_packages
from mmx.verbs.target_line import TargetJob, build_targets, is_read
from mmx.verbs.train_line import CommandLine, parse_line

SUMMARY = "say what is in the data of a task, and write a data card"
PLACE = 15
COMPLETES = {
    "overrides": True,
    "flags": {
        "--multirun": None,
        "--out": (),
        "--json": None,
        "--config-dir": (),
        "-cd": (),
        "--allow": (),
        "--help": None,
        "--debug": None,
    },
}

WIDTH = 200
"""Characters of a line where stdout is no terminal."""
DIGITS = 8
"""Digits of the fingerprint in the name of a card."""


def main(arguments: Sequence[str]) -> int:
    """Print the facts of each target, write its card, and return the exit code."""
    if {"-h", "--help"} & set(arguments):
        print(__doc__, end="")
        return 0
    rest, out, as_json = _take_flags(arguments)
    line = parse_line(rest, "data")
    if line.only_shows:
        raise UsageError(
            f"mmx data has no flag {line.flags[0]}",
            tip="mmx train --cfg job shows the config that the same overrides give",
        )
    jobs = build_targets(line, list_allowed_packages(line.allow), "data")
    if out is not None and len(jobs) > 1:
        raise UsageError(
            f"--out {out} is one file, and the line has {len(jobs)} targets",
            tip="leave out --out: each card has a name of its own",
        )
    for job in jobs:
        data = _restrict(job.target.task.load(), job.target.modalities)
        facts = gather_facts(data, job.target.readers)
        few = note_few_rows(data, job.target.modalities)
        facts = replace(facts, name=job.target.name, notes=(*facts.notes, *few))
        path = out or _find_place(job.target, facts)
        make_folder(path.parent, tip="--out FILE   (where the card goes)")
        seed, command = job.target.settings.seed, _repeat(line, job)
        write_text(path, render_card(facts, data, job.target.readers, seed, command))
        if as_json:
            print(json.dumps({**facts_to_json(facts), "card": str(path)}, ensure_ascii=False))
        else:
            _print(facts, path)
    return 0


def _repeat(line: CommandLine, job: TargetJob) -> str:
    """Return the command that writes the card of one target."""
    places = [word for each in line.config_dirs for word in ("--config-dir", str(each))]
    allowed = [word for each in list_allowed_packages(line.allow) for word in ("--allow", each)]
    return shlex.join(["mmx", "data", *places, *allowed, *filter(is_read, job.overrides)])


def _take_flags(arguments: Sequence[str]) -> tuple[list[str], Path | None, bool]:
    """Return the words of the line without ``--out`` and ``--json``, and what these say.

    Raises:
        UsageError: ``--out`` has no value that can be a file.
    """
    rest: list[str] = []
    out: Path | None = None
    words = iter(arguments)
    for word in words:
        flag, glued, value = word.partition("=")
        if flag != "--out":
            rest.append(word)
            continue
        text = value if glued else next(words, "")
        why = "is a folder" if text and Path(text).is_dir() else unusable_path(text)
        if not text or why:
            raise UsageError(
                f"--out {text} {why or 'needs the name of a file'}", tip="--out card.html"
            )
        out = Path(text).expanduser()
    return [word for word in rest if word != "--json"], out, "--json" in rest


def _restrict(data: TaskData, modalities: Sequence[str]) -> TaskData:
    """Return the data with the modalities in use alone."""
    return replace(data, columns={name: data.columns[name] for name in modalities})


def _find_place(target: TargetAlone, facts: DataFacts) -> Path:
    """Return the file of a card; the same data has the same."""
    name = re.sub(r"[^\w.+-]+", "_", facts.name)
    folder = Path(target.settings.output_dir) / "data"
    return folder / f"{name}-{facts.fingerprint[:DIGITS]}.html"


def _print(facts: DataFacts, path: Path) -> None:
    """Print the facts as tables, the notes, and the path of the card last."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(format_data_title(facts), style="bold", highlight=False, soft_wrap=True)
    for table in list_tables(facts):
        console.print()
        console.print(_draw(table))
        if table.more:
            console.print(table.more, highlight=False, soft_wrap=True)
    console.print()
    for note in facts.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    console.print(f"fingerprint {facts.fingerprint}", highlight=False, soft_wrap=True)
    console.print(f"data card: {path}", highlight=False, soft_wrap=True)


def _draw(given: FactTable) -> Table:
    """Return a table as rich draws it, numbers on the right."""
    table = Table(
        title=given.title, title_justify="left", title_style="bold", box=None, header_style="bold"
    )
    for place, head in enumerate(given.heads):
        cells = [row[place] for row in given.rows]
        is_number = bool(place) and all(cell[:1].isdigit() for cell in cells)
        table.add_column(
            head,
            justify="right" if is_number and len(given.heads) != 2 else "left",
            overflow="fold",
        )
    for row in given.rows:
        table.add_row(*(one_line(cell, VALUE) for cell in row))
    return table
