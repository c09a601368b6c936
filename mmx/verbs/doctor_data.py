"""``mmx doctor target=…``: near-duplicates across splits, and labels that contradict each other."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmx.errors import UsageError
from mmx.evaluation.near_duplicates import NearDuplicates, find_conflicts, find_near_duplicates
from mmx.modalities import Column
from mmx.printable import one_line
from mmx.runs.atomic import make_folder, write_text
from mmx.tasks import TaskData
from mmx.tasks.table import Table
from mmx.untrusted import unusable_path
from mmx.verbs.arguments import list_allowed_packages
from mmx.verbs.duplicate_files import GROUP, find_group_column, format_groups, format_pairs
from mmx.verbs.finding import Finding, print_findings
from mmx.verbs.target_line import TargetJob, build_targets
from mmx.verbs.train_line import parse_line

SHOWN = 5
"""Pairs that a finding names."""
ALIKE = {"image": "look like", "audio": "sound like", "text": "have the text of"}


def main(arguments: Sequence[str]) -> int:
    """Print what is found in the data of each target of a line, and return 0."""
    rest, places = _take_places(arguments)
    line = parse_line(rest, "doctor")
    if line.only_shows:
        raise UsageError(f"mmx doctor has no flag {line.flags[0]}", tip="mmx doctor --help")
    jobs = build_targets(line, list_allowed_packages(line.allow), "doctor")
    if places and len(jobs) > 1:
        flag, path = next(iter(places.items()))
        raise UsageError(
            f"{flag} {path} is one file, and the line has {len(jobs)} targets",
            tip="name one target",
        )
    for job in jobs:
        _examine(job, rest, places)
    return 0


def _take_places(arguments: Sequence[str]) -> tuple[list[str], dict[str, Path]]:
    """Return the words of the line without ``--pairs`` and ``--groups``, and their files.

    Raises:
        UsageError: One has no value that can be a file.
    """
    rest: list[str] = []
    places: dict[str, Path] = {}
    words = iter(arguments)
    for word in words:
        flag, glued, value = word.partition("=")
        if flag not in ("--pairs", "--groups"):
            rest.append(word)
            continue
        text = value if glued else next(words, "")
        why = "is a folder" if text and Path(text).is_dir() else unusable_path(text)
        if not text or why:
            file = f"{flag.strip('-')}.csv"
            raise UsageError(
                f"{flag} {text} {why or 'needs the name of a file'}", tip=f"{flag} {file}"
            )
        places[flag] = Path(text).expanduser()
    return rest, places


def _examine(job: TargetJob, words: Sequence[str], places: dict[str, Path]) -> None:
    """Print what is found in the data of one target, and write the files asked for.

    Raises:
        UsageError: Groups are asked for, and the data is no table.
    """
    task, readers = job.target.task, job.target.readers
    if "--groups" in places and not isinstance(task, Table):
        raise UsageError(
            f"--groups writes a table, and target={task.name} is none",
            tip="--pairs pairs.csv lists the files of all pairs",
        )
    data = task.load()
    found = find_near_duplicates(data, readers, everywhere="--groups" in places)
    sizes = ", ".join(f"{split} {len(rows):,}" for split, rows in data.splits.items())
    findings = [Finding(data.name, "ok", f"rows: {sizes}")]
    advice = _advise(job, data, found, words)
    for name in found.found:
        findings += _describe_modality(name, data, found)
    if any(found.nearest(name) for name in found.found):
        findings.append(
            Finding("splits", "note", "rows that are alike measure memorisation", advice)
        )
    if found.not_compared:
        names = ", ".join(found.not_compared)
        findings.append(
            Finding("not compared", "ok", f"{names}: only rows of equal content are noted")
        )
    findings.append(_describe_conflicts(data))
    print_findings(findings)
    if path := places.get("--pairs"):
        make_folder(path.parent, tip="--pairs FILE.csv")
        write_text(path, format_pairs(data, found))
        print(f"pairs: {path}")
    if (path := places.get("--groups")) and isinstance(task, Table):
        make_folder(path.parent, tip="--groups FILE.csv")
        write_text(path, format_groups(task, data, found))
        print(f"groups: {path}")
        print(f"type: {' '.join(_list_settings(task, path))}")


def _describe_modality(name: str, data: TaskData, found: NearDuplicates) -> Iterator[Finding]:
    """Yield how many rows of a split are alike to rows of another."""
    column = data.columns[name]
    unreadable = found.found[name].unreadable
    if unreadable:
        first = next(iter(unreadable.values()))
        yield Finding(
            name,
            "bad",
            f"{len(unreadable)} rows cannot be read: {one_line(first)}",
            "replace the files, or target.unusable=drop leaves them out",
        )
    nearest = found.nearest(name)
    alike = next((text for kind, text in ALIKE.items() if name.startswith(kind)), "are like")
    for here, there in (("val", "train"), ("test", "train"), ("test", "val")):
        pairs = [
            pair
            for pair in nearest
            if (found.split_of[pair.row], found.split_of[pair.other]) == (here, there)
        ]
        if not pairs:
            continue
        equal = sum(
            data.digests[name][each.row] == data.digests[name][each.other] for each in pairs
        )
        shown = "; ".join(
            f"{_name(column, pair.row)} is {_name(column, pair.other)}" for pair in pairs[:SHOWN]
        )
        more = "; …" if len(pairs) > SHOWN else ""
        yield Finding(
            name,
            "note",
            f"{len(pairs)} of {len(data.splits[here])} {here} rows {alike} rows of {there}, "
            f"{equal} of them with equal content: {shown}{more}",
        )
    if not nearest and not unreadable:
        yield Finding(name, "ok", "no row is alike to a row of another split")


def _name(column: Column, row: int) -> str:
    """Return a row's number and the last parts of its file's path, if it has one."""
    file = column.find_file(row)
    if file is None:
        return one_line(column.name_row(row))
    return one_line(f"{column.name_row(row)} ({'/'.join(Path(str(file)).parts[-2:])})")


def _describe_conflicts(data: TaskData) -> Finding:
    """Return what is found of rows with equal content and different labels."""
    conflicts = find_conflicts(data)
    if not conflicts:
        return Finding("labels", "ok", "rows of equal content have equal labels")
    column = next(iter(data.columns.values()))
    shown = "; ".join(
        ", ".join(f"{column.name_row(row)}: {_name_label(data, row)}" for row in each.rows[:4])
        for each in conflicts[:SHOWN]
    )
    rows = sum(len(each.rows) for each in conflicts)
    return Finding(
        "labels",
        "note",
        f"{rows} rows of equal content have different labels ({len(conflicts)} contents): "
        f"{one_line(shown)}{'; …' if len(conflicts) > SHOWN else ''}",
        "correct the labels, or remove all but one row of each content",
    )


def _name_label(data: TaskData, row: int) -> str:
    """Return the label of a row in words."""
    value = data.values[row]
    if data.target.kind == "classes":
        return repr(data.target.classes[int(value)])
    if data.target.kind == "regression":
        return f"{float(value):g}"
    names = [name for name, has in zip(data.target.classes, value.tolist(), strict=True) if has]
    return repr(names)


def _advise(job: TargetJob, data: TaskData, found: NearDuplicates, words: Sequence[str]) -> str:
    """Return what to type so that rows that are alike stay in one split."""
    task = job.target.task
    typed = shlex.join(["mmx", "doctor", *words])
    if not isinstance(task, Table):
        return f"{typed} --pairs pairs.csv   (lists all pairs: remove one file of each)"
    column = find_group_column(task, data, found)
    anew = " target.split=null" if task.split is not None else ""
    if column is not None:
        return (
            f"{shlex.quote(f'target.group={column}')}{anew}   (both rows of each pair agree in it)"
        )
    return (
        f"{typed} --groups grouped.csv   (the table with a column {GROUP}, and what to type to "
        "keep groups in one split; or remove rows: --pairs pairs.csv lists them)"
    )


def _list_settings(task: Table, path: Path) -> Iterator[str]:
    """Yield the settings that read a table with groups in place of the task's own."""
    yield shlex.quote(f"target.path={path}")
    yield f"target.group={GROUP}"
    for option in ("split", "time", "root"):
        if getattr(task, option) is not None:
            yield f"target.{option}=null"
    written = {"delimiter": "comma", "encoding": "utf-8", "quoting": "double"}
    for option, value in written.items():
        if getattr(task.csv, option) is not None:
            yield f"target.csv.{option}={value}"
