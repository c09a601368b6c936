"""``mmx explain RUN [ROW ...]``: why a run's model answers as it does, on one page.

  mmx explain RUN                         the ten most confident errors, and three right answers
  mmx explain RUN 3 17                    these rows, by number as in mmx predict; also rows=3,17
  mmx explain RUN split=val --method grad_cam
  mmx explain RUN1 RUN2 RUN3              runs that differ in their seed
  mmx explain outputs/sweeps/ID fusion=concat

For each row and input: what speaks for the answer. Integrated gradients go from a baseline (a
black picture, silence, words that say nothing, cells at their mean) to the input; Grad-CAM shows
where the last map of a convolutional network speaks for the answer; attention shows where a
transformer looks. Without --method every method is used that fits.

For all rows: what each input contributes to the metric, as Shapley values that sum to the metric
with all inputs minus that with none, with 95 % intervals over test rows, and over seeds too where
several runs are given. Rows are explained by the first run.

Writes RUN/explain/<split>.html, a page that needs no other file, and its numbers as JSON beside
it. The split is test without split=; nothing is chosen by it. Nothing else in RUN changes.
data_dir=DIR, target.path=FILE and the like say where the run's own data has moved.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmx.errors import UsageError
from mmx.experiment.opener import is_openers_key
from mmx.experiment.task_names import find_target_name
from mmx.explanations import METHODS
from mmx.explanations.shares import pool_shares
from mmx.metrics.base import Answers
from mmx.modalities import Modality
from mmx.printable import printable
from mmx.reports.explanation import Explanation, describe_shares, explanation_to_json
from mmx.reports.explanation_page import render_explanation
from mmx.reports.run_groups import drop_repeated, find_runs, group_by_settings
from mmx.runs.atomic import make_folder, write_text
from mmx.runs.conditions import looks_like_condition, parse_condition
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role
from mmx.terminal import Console
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import Parser
from mmx.verbs.explain_run import (
    Answered,
    answer_split,
    explain_rows,
    find_asked,
    find_methods,
    find_output,
    refuse_unused,
)
from mmx.verbs.opening import NOTHING_IS_MADE, read_key, read_typed

SUMMARY = "show why a run's model answers as it does, on a page"
PLACE = 45
COMPLETES = {
    "runs": 1,
    "flags": {
        "--method": (),
        "--class": (),
        "--out": (),
        "--device": ("auto", "cpu", "cuda"),
        "--allow": (),
    },
}

FOLDER = "explain"
"""Folder of a run for its explanations."""
SPLITS = ("test", "val", "train")
NUMBERS = re.compile(r"\d+(,\d+)*,?")


@dataclass
class Asked:
    """What the words of the command line say.

    Attributes:
        runs: Runs, sweeps, output folders or patterns.
        numbers: Row numbers, from 1.
        split: Of the rows.
        moved: Where the run's own data has moved.
        conditions: What runs must fulfil.
    """

    runs: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    split: str = "test"
    moved: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Explain, and return the exit code."""
    given = _parser().parse_intermixed_args(arguments)
    asked = read_words(given.words)
    directories = _find_runs(asked)
    run = directories[0].path
    page = find_page(given.out, directories, asked)
    methods = find_methods(given.method, run)
    typed = read_typed(asked.moved, "explain", run, NOTHING_IS_MADE)
    answered = answer_split(directories[0], typed, asked.split, given.allow, given.device)
    chosen = find_asked(answered, asked.numbers, run)
    if given.class_name is not None:
        output = find_output(given.class_name, answered, run)
        chosen = [replace(each, output=output) for each in chosen]
    rows = explain_rows(answered, chosen, methods)
    refuse_unused(rows, given.method, run)
    every = [answered]
    for each in directories[1:]:
        every.append(answer_split(each, typed, asked.split, given.allow, given.device))
    shares = tuple(each.shares for each in every)
    found = Explanation(
        runs=tuple(each.path.name for each in directories),
        target_name=find_target_name(answered.opened.experiment),
        split=asked.split,
        target=answered.task.target,
        shares=pool_shares(shares),
        shares_of_runs=shares,
        answers=_read_answers(answered),
        rows=tuple(rows),
        asked=bool(asked.numbers),
        methods=tuple(methods),
        command=shlex.join(["mmx", "explain", *arguments]),
        notes=tuple(dict.fromkeys(note for each in every for note in each.notes)),
    )
    _write(found, answered, page)
    return 0


def _parser() -> Parser:
    parser = Parser("explain", description=__doc__).with_allow().with_device()
    parser.add_argument("words", nargs="+", metavar="RUN|ROW|key=value", help="see above")
    parser.add_argument(
        "--method",
        type=_split_names,
        default=[],
        metavar="NAME,…",
        help=", ".join(METHODS),
    )
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="explain this class or label"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.html", help="write the page there")
    return parser


def _split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def read_words(words: Sequence[str]) -> Asked:
    """Return what the words of the command line say.

    Raises:
        UsageError: There is no run, or a word that cannot be read.
    """
    asked = Asked()
    for word in words:
        key, sign, value = word.partition("=")
        if asked.runs and NUMBERS.fullmatch(word) and not _exists(word):
            asked.numbers += _read_numbers(word, word)
        elif sign and key == "rows":
            asked.numbers += _read_numbers(value, word)
        elif sign and key == "split":
            asked.split = _read_split(value, word)
        elif sign and is_openers_key(read_key(word)) and not _exists(word):
            asked.moved.append(word)
        elif looks_like_condition(word) and not _exists(word):
            asked.conditions.append(word)
        else:
            asked.runs.append(word)
    if not asked.runs:
        raise UsageError("no run is given", tip="mmx list shows the runs")
    return asked


def _exists(word: str) -> bool:
    return unusable_path(word) is None and Path(word).exists()


def _read_numbers(text: str, word: str) -> list[int]:
    if not NUMBERS.fullmatch(text):
        raise UsageError(f"{word}: rows are numbers from 1, with commas", tip="rows=3,17")
    return [int(each) for each in text.split(",") if each]


def _read_split(text: str, word: str) -> str:
    if text not in SPLITS:
        raise UsageError(
            f"{word}: there is no such split; accepted: {', '.join(SPLITS)}", tip="split=val"
        )
    return text


def _find_runs(asked: Asked) -> list[RunDirectory]:
    """Return the run, or the runs of one group, in the order of their seeds.

    Raises:
        RunError: A word leads to no run.
        UsageError: The runs differ in more than their seed.
    """
    alone = len(asked.runs) == 1 and not asked.conditions
    if alone and ((path := Path(asked.runs[0])) / "config.yaml").exists():
        return [RunDirectory.open(path)]
    if alone and not _exists(asked.runs[0]) and "*" not in asked.runs[0]:
        return [RunDirectory.open(Path(asked.runs[0]))]  # which says that it does not exist
    runs, _ = drop_repeated(find_runs(asked.runs, [parse_condition(c) for c in asked.conditions]))
    groups = group_by_settings(runs)
    if len(groups) > 1:
        names = [" ".join([f"target={each.target}", each.name]) for each in groups]
        target = [f"target={groups[0].target}"] if len({each.target for each in groups}) > 1 else []
        label = [f"{key}={value}" for key, value in groups[0].label.items()]
        raise UsageError(
            f"the {len(runs)} runs differ in more than their seed: {'; '.join(names[:4])}"
            + (f"; and {len(names) - 4} more groups" if len(names) > 4 else ""),
            tip=shlex.join(["mmx", "explain", *asked.runs, *asked.conditions, *target, *label]),
        )
    return [each.directory for each in groups[0].runs]


def find_page(out: Path | None, runs: Sequence[RunDirectory], asked: Asked) -> Path:
    """Return where the page goes.

    Raises:
        UsageError: ``--out`` names no page.
        RunError: Something in the run is no plain file.
    """
    if out is not None:
        if out.suffix != ".html":
            raise UsageError(f"--out {out}: it names a page, FILE.html", tip="--out why.html")
        return out
    runs[0].require_plain_files()
    rows = "-rows-" + "-".join(map(str, asked.numbers[:8])) if asked.numbers else ""
    several = f"-{len(runs)}-runs" if len(runs) > 1 else ""
    return runs[0].path / FOLDER / f"{asked.split}{rows}{several}.html"


def _read_answers(answered: Answered) -> Answers:
    every = answered.answers.answers
    outputs = every[max(every, key=len)].outputs
    return Answers.of(outputs, answered.answers.values, answered.task.target)


def _find_readers(answered: Answered) -> Mapping[str, Modality[Any, Any]]:
    return answered.opened.experiment.modalities[Role.TARGET]


def _write(found: Explanation, answered: Answered, page: Path) -> None:
    """Write the page and its numbers, say the shares, and print where the page is."""
    make_folder(page.parent, tip="--out FILE.html   (in a folder that can be made)")
    text = json.dumps(explanation_to_json(found), ensure_ascii=False)
    write_text(page.with_suffix(".json"), text + "\n")
    write_text(page, render_explanation(found, answered.task, _find_readers(answered)))
    console = Console(stderr=True)
    for note in found.notes:
        console.print(f"note: {printable(note)}", highlight=False, markup=False, soft_wrap=True)
    for line in describe_shares(found.shares):
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)
    print(page)
