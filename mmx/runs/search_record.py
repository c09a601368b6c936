"""What a search has done so far: ``auto.json`` of a run, written whole after each trial.

plan      budget, eta, epochs, steps an epoch, candidates, those refused and why
order     candidates in the order in which they are tried; scores that led to it
trials    one entry for each that has ended: candidate, epochs, validation, seconds, error
rungs     who was tried, kept and dropped, and why
winner    None while the search goes on
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmx.controls import find_control
from mmx.errors import RunError
from mmx.json_object import Json
from mmx.runs import records
from mmx.runs.atomic import read_json_file, write_json
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import SearchFacts

SEARCH_FILE = "auto.json"
SEARCH_FORMAT = 1
"""Of the file; those of before say none."""
SCRATCH = "transfer=scratch"
"""How a search names the candidate that takes nothing from a source."""


class SearchRecord:
    """A search on disk; the same plan goes on where it was left, another begins anew.

    Args:
        path: The file.
        plan: What the search depends on, as JSON-able data.

    Attributes:
        data: All of it.
    """

    def __init__(self, path: Path, plan: Json) -> None:
        self.path = path
        plan = json.loads(json.dumps(plan))  # as reading gives it back
        kept = read_search(path)
        self.begun = kept.get("plan") == plan
        fresh = {
            "format": SEARCH_FORMAT,
            "plan": plan,
            "order": [],
            "scores": {},
            "trials": [],
            "rungs": [],
            "seconds": 0.0,
            "winner": None,
            "verdict": "",
        }
        self.data: Json = kept if self.begun else fresh

    def write(self, **entries: Any) -> None:
        """Set entries and write everything."""
        self.data.update(entries)
        write_json(self.path, self.data)

    def trial(self, candidate: str, epochs: int) -> Json | None:
        """Return a trial that has ended; None where it has not."""
        for entry in self.data["trials"]:
            if (entry["candidate"], entry["epochs"]) == (candidate, epochs):
                found: Json = entry
                return found
        return None

    def add(self, entry: Json) -> None:
        """Keep a trial that has ended; its seconds are part of the search's."""
        seconds = self.data["seconds"] + entry["seconds"]
        self.write(trials=[*self.data["trials"], entry], seconds=seconds)


def read_search(path: Path) -> Json:
    """Return what a search has written; empty where it is not what a search writes."""
    found = read_json_file(path)
    ended = found.get("winner") is not None
    try:
        return records.check_record(found, records.Won if ended else records.Search, path)
    except RunError:
        return {}


def read_winner(directory: RunDirectory) -> str | None:
    """Return the candidate that a run's search has chosen; None before that, and without one."""
    found = read_search(directory.path / SEARCH_FILE).get("winner")
    return None if found is None else str(found)


@dataclass(frozen=True)
class SearchEnd:
    """What a summary says of the search that its run began with.

    Attributes:
        facts: For ``transfer.auto``.
        seconds: Of all trials.
        source_cached: Whether the source was trained in an earlier run.
        notes: What a reader should know.
    """

    facts: SearchFacts
    seconds: float
    source_cached: bool
    notes: tuple[str, ...]


def read_search_end(directory: RunDirectory) -> SearchEnd | None:
    """Return what a run's search did; None where it had none."""
    data = read_search(directory.path / SEARCH_FILE)
    if data.get("winner") is None:
        return None
    metric = data["plan"]["metric"]
    facts = SearchFacts.from_json(
        {
            **{key: data[key] for key in ("winner", "verdict", "rungs", "seconds")},
            **{key: data["plan"][key] for key in ("budget", "eta")},
            "steps": sum(entry["steps"] for entry in data["trials"]),
            "tried": [
                {
                    "candidate": entry["candidate"],
                    "epochs": entry["epochs"],
                    metric: entry["val"].get(metric),
                    "fate": find_fate(data, entry["candidate"]),
                }
                for entry in find_longest_trials(data)
            ],
            "not_tried": {
                name: find_fate(data, name)
                for name in (*data["order"], *data["plan"]["refused"])
                if not any(entry["candidate"] == name for entry in data["trials"])
            },
        }
    )
    tried = len({entry["candidate"] for entry in data["trials"]})
    plural = "candidate" if tried == 1 else "candidates"
    said = f"transfer=auto chose {data['winner']}, {tried} {plural} tried; {data['verdict']}"
    seconds = round(data["seconds"], 3)
    return SearchEnd(facts, seconds, data["source_cached"], (said, *_note_missing_probe(data)))


def _note_missing_probe(data: Json) -> list[str]:
    """Return what must be said where a control that was asked for needs what scratch has not."""
    if data["winner"] != SCRATCH:
        return []
    names = [name for name in data["controls"] if find_control(name).needs_source_weights]
    why = "not trained, since the search chose scratch: there is no source"
    return [f"control {name}: {why}" for name in names]


def find_longest_trials(data: Json) -> list[Json]:
    """Return each tried candidate's longest trial: those that got furthest first."""
    longest: dict[str, Json] = {}
    for entry in data["trials"]:
        if entry["epochs"] >= longest.get(entry["candidate"], entry)["epochs"]:
            longest[entry["candidate"]] = entry
    return sorted(
        longest.values(),
        key=lambda entry: (
            -_find_rung(data, entry["candidate"]),
            [-v for v in entry["score"] or ()],
        ),
    )


def _find_rung(data: Json, name: str) -> int:
    """Return the last rung, from 1, that a candidate was tried in."""
    return max((k for k, rung in enumerate(data["rungs"], 1) if name in rung["tried"]), default=0)


def find_fate(data: Json, name: str) -> str:
    """Return why a candidate was dropped, or that it won."""
    if name == data["winner"]:
        return "won"
    refused: dict[str, str] = data["plan"]["refused"]
    if name in refused:
        return refused[name]
    for rung in reversed(data["rungs"]):
        if name in rung["dropped"]:
            return str(rung["dropped"][name])
    return str(data["left_out"].get(name, ""))


def format_table(data: Json, metric: str) -> Sequence[str]:
    """Return what a search did as lines of equal columns."""
    rows = [
        (
            e["candidate"],
            str(e["epochs"]),
            format_metric(e, metric),
            find_fate(data, e["candidate"]),
        )
        for e in find_longest_trials(data)
    ]
    names = (*data["order"], *data["plan"]["refused"])
    seen = {row[0] for row in rows}
    rows += [(name, "", "", find_fate(data, name)) for name in names if name not in seen]
    every = [("candidate", "epochs", metric, ""), *rows]
    widths = [max(len(row[column]) for row in every) for column in range(3)]
    return [
        f"{name:{widths[0]}s}  {epochs:>{widths[1]}s}  {value:>{widths[2]}s}  {fate}".rstrip()
        for name, epochs, value, fate in every
    ]


def format_metric(entry: Json, metric: str) -> str:
    """Return a trial's validation metric, as people write it."""
    value = entry["val"].get(metric)
    return "" if value is None else f"{value:.3f}"
