"""A ranking on disk: the candidates in order, with all their results.

    outputs/ranks/<id>/  status.json  ranking.csv  ranking.json  work/

The id is a digest of the candidates, so that the same command resumes an interrupted ranking;
``work`` holds the source that was being trained, and is removed at the end.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from mmx.csv_text import format_csv
from mmx.json_object import Json
from mmx.runs.atomic import make_folder, write_json, write_text
from mmx.runs.directory import RunDirectory
from mmx.transfer.scores import SCORES

COUNTED = tuple(name for name, score in SCORES.items() if score.votes)
"""Scores that count for the order."""
ORDER = (
    "ordered by mean place: the mean, over the scores that every candidate has, of its place "
    "by that score (1 is best; equals share the mean of theirs); the probe breaks ties"
)


@dataclass(frozen=True)
class RankedCandidate:
    """One candidate of a ranking.

    Attributes:
        job: Its overrides, as typed.
        varied: Keys in which the candidates differ, with its values.
        facts: ``scores``, ``blank``, ``metric``, ``probe`` and other results; empty where it
            failed.
        error: Why it failed.
        tip: What to type where it failed.
        command: What to type to train it on the target.
    """

    job: str
    varied: dict[str, str]
    facts: Json = field(default_factory=dict)
    error: str = ""
    tip: str = ""
    command: str = ""

    @property
    def label(self) -> str:
        """Its name for people."""
        return " ".join(f"{key}={value}" for key, value in self.varied.items()) or self.job


@dataclass(frozen=True)
class Placed:
    """A candidate in its place; both numbers are None where it failed.

    Attributes:
        candidate: The candidate.
        place: Its place, from 1.
        mean_place: Its mean place over scores; None where no score is common to all.
    """

    candidate: RankedCandidate
    place: int | None
    mean_place: float | None


def find_common_scores(candidates: Sequence[RankedCandidate]) -> list[str]:
    """Return the scores that count: those that every candidate has, failed ones aside."""
    ranked = [each.facts["scores"] for each in candidates if not each.error]
    return [name for name in COUNTED if ranked and all(name in scores for scores in ranked)]


def rank_values(values: Sequence[float]) -> list[float]:
    """Return each value's place, 1 for the largest; equals share the mean of their places."""
    return [
        # 1 + (number of larger values) + (number of other equal values) / 2
        sum(other > value for other in values) + (sum(o == value for o in values) + 1) / 2
        for value in values
    ]


def order(candidates: Sequence[RankedCandidate]) -> list[Placed]:
    """Return the candidates, best first; failed ones come last, in the given order."""
    ranked = [each for each in candidates if not each.error]
    by_score = [
        rank_values([e.facts["scores"][name] for e in ranked])
        for name in find_common_scores(ranked)
    ]
    means = [
        statistics.fmean(column[row] for column in by_score) if by_score else None
        for row in range(len(ranked))
    ]

    def key(row: int) -> tuple[float, float]:
        return (means[row] or 0.0, -_read_probe(ranked[row]))

    rows = sorted(range(len(ranked)), key=key)
    placed = [Placed(ranked[row], place, means[row]) for place, row in enumerate(rows, 1)]
    return placed + [Placed(each, None, None) for each in candidates if each.error]


def _read_probe(candidate: RankedCandidate) -> float:
    value = candidate.facts["probe"]
    return -math.inf if value is None else float(value)


@dataclass(frozen=True)
class Ranking:
    """A ranking's folder.

    Attributes:
        path: Its path.
    """

    path: Path

    @classmethod
    def of(cls, output: Path, fingerprints: Sequence[str], rows: int) -> Ranking:
        """Return the ranking of these experiments on at most so many rows."""
        text = "\n".join([*sorted(set(fingerprints)), str(rows)])
        identity = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        path = output / "ranks" / identity
        make_folder(path)
        return cls(path)

    @property
    def directory(self) -> RunDirectory:
        """The folder as a run directory, which a process can lock, with a status."""
        return RunDirectory(self.path)

    def work(self, fingerprint: str) -> RunDirectory:
        """Return the folder in which a candidate's source trains, and resumes if interrupted."""
        path = self.path / "work" / fingerprint
        path.mkdir(parents=True, exist_ok=True)
        return RunDirectory(path)

    def clear(self) -> None:
        """Remove the folders of sources: the ranking is done, and nothing will be resumed."""
        shutil.rmtree(self.path / "work", ignore_errors=True)

    def write(self, target: str, seed: int, found: Sequence[Placed]) -> Path:
        """Write ``ranking.json`` and ``ranking.csv``, and return the path of the CSV file."""
        votes = find_common_scores([each.candidate for each in found])
        facts = {"target": target, "seed": seed, "order": ORDER, "counted": votes}
        entries = [
            {
                "place": each.place,
                "mean_place": each.mean_place,
                "job": each.candidate.job,
                "varied": each.candidate.varied,
                **each.candidate.facts,
                "error": each.candidate.error,
                "tip": each.candidate.tip,
                "command": each.candidate.command,
            }
            for each in found
        ]
        write_json(self.path / "ranking.json", {**facts, "candidates": entries})
        rows = [_row(each) for each in found]
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines: list[Sequence[Any]] = [names, *([row.get(name) for name in names] for row in rows)]
        write_text(self.path / "ranking.csv", format_csv(lines))
        return self.path / "ranking.csv"


def _row(placed: Placed) -> Json:
    """Return a candidate as one line of ``ranking.csv``; None is written as an empty cell."""
    candidate, facts = placed.candidate, placed.candidate.facts
    scores = facts.get("scores", {})
    kept = ("metric", "probe", "rows", "width", "source_seconds", "source_cached", "seconds")
    return {
        "place": placed.place,
        "mean_place": placed.mean_place,
        **candidate.varied,
        **{name: scores.get(name) for name in SCORES},
        **{name: facts.get(name) for name in kept},
        "modalities": " ".join(facts.get("modalities", ())),
        "blank": "; ".join(f"{name}: {why}" for name, why in facts.get("blank", {}).items()),
        "error": candidate.error,
        "job": candidate.job,
    }


def make_ranking_table(found: Sequence[Placed]) -> Table:
    """Return what people read; a blank cell is explained by :func:`list_remarks`."""
    ranked = [each for each in found if each.place is not None]
    keys = list(ranked[0].candidate.varied) if ranked else []
    metric = ranked[0].candidate.facts["metric"] if ranked else "probe"
    shown = Table("", "mean place", *(keys or ["candidate"]), *SCORES, f"probe {metric}")
    for each in ranked:
        facts = each.candidate.facts
        cells = [each.candidate.varied[key] for key in keys] or [each.candidate.job]
        scores = [facts["scores"].get(name) for name in SCORES]
        shown.add_row(
            str(each.place),
            "" if each.mean_place is None else f"{each.mean_place:.2f}",
            *map(Text, cells),  # a value such as [image,text] would be read as markup
            *("" if value is None else f"{value:.3f}" for value in scores),
            "" if facts["probe"] is None else f"{facts['probe']:.3f}",
        )
    return shown


def list_remarks(found: Sequence[Placed]) -> list[str]:
    """Return the remarks on the table: how it is ordered, why cells are blank, what to type."""
    candidates = [each.candidate for each in found]
    ranked = [each.candidate for each in found if each.place is not None]
    votes = find_common_scores(candidates)
    lines = [f"{ORDER}; counted: {', '.join(votes)}" if votes else "no score is common: by probe"]
    reasons: dict[str, list[str]] = {}
    for each in ranked:
        for name, why in each.facts["blank"].items():
            reasons.setdefault(why, []).append(name)
    lines += [f"blank {', '.join(dict.fromkeys(names))}: {why}" for why, names in reasons.items()]
    for name, score in SCORES.items():
        said = score.remark([each.facts["scores"].get(name) for each in ranked])
        lines += [said] if said else []
    best = max(ranked, key=_read_probe, default=None)
    if best is not None and _read_probe(best) > _read_probe(ranked[0]):
        lines.append(f"scores and probe disagree: the probe is best for {best.label}")
    lines.append("no score is reliable alone, and none replaces training")
    if ranked and ranked[0].command:
        lines[-1] += f"; the first of them: {ranked[0].command}"
    return lines
