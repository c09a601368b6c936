"""Comparison of two runs: which numbers drifted, and which settings differ."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mmx.json_object import Json
from mmx.renamed_options import translate_summary
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import NOTHING, Identity, find_differences
from mmx.runs.task_names import name_as_files

NUMBERS = ("source", "target", "control", "gain", "params", "transfer")
ADDED_OF_TARGET = ("every_metric", "labels")
"""Entries of the target that older runs do not record; compared where both runs have them."""


@dataclass(frozen=True)
class Comparison:
    """How two runs differ.

    Attributes:
        identical: How many numbers are equal bit for bit.
        drifted: Name to (before, after).
        around: Setting, version or machine fact to (before, after).
    """

    identical: int
    drifted: dict[str, tuple[Any, Any]]
    around: dict[str, tuple[Any, Any]]


def compare(before: RunDirectory, after: RunDirectory) -> Comparison:
    """Compare two finished runs."""
    summaries = (
        name_as_files(translate_summary(run.summary(), run.written_config()), run.config())
        for run in (before, after)
    )
    old, new = (flatten(each) for each in _select_comparable(*summaries))
    keys = list(dict.fromkeys([*old, *new]))
    drifted = find_differing(old, new)
    return Comparison(
        identical=len(keys) - len(drifted),
        drifted=drifted,
        around={
            **find_differing(before.config(), after.config()),
            **find_differing(_read_facts(before), _read_facts(after)),
        },
    )


def describe_changes(before: RunDirectory, after: RunDirectory) -> str:
    """Return in which of config, data, code, weights, versions and hardware two runs differ.

    Empty where an older mmx recorded too little to know.
    """
    old, new = (run.manifest() for run in (before, after))
    one, two = Identity.of(old), Identity.of(new)
    found = find_differences(one, two)
    known = one.complete and two.complete
    if not known and old.fingerprint != new.fingerprint:
        found = ("config", *found)
    if found:
        return f"changed: {', '.join(found)}"
    return NOTHING if known else ""


def _select_comparable(*summaries: Json) -> list[Json]:
    """Return the part of each summary that must be equal for two runs of one config.

    A run with a search is reproduced with the winner and without the search. Where the winner is
    scratch, the run is its own control, which a plain run from scratch does not state.
    """
    transfers = [each.get("transfer", {}) for each in summaries]
    is_own_control = any("auto" in each and each.get("mode") == "scratch" for each in transfers)
    left_out = {"transfer": {"auto"}, "target": _list_absent(summaries)}
    found = []
    unshared = _list_unshared_label_metrics(summaries)
    for summary in summaries:
        node = {"transfer": {}, **summary}
        if unshared:
            labels = node["target"]["labels"]
            kept = {name: _leave_out(own, unshared) for name, own in labels.items()}
            node["target"] = {**node["target"], "labels": kept}
        names = [name for name in NUMBERS if name in node]
        if is_own_control:
            names = [name for name in names if name not in ("control", "gain")]
        found.append({name: _leave_out(node[name], left_out.get(name, ())) for name in names})
    return found


def _list_absent(summaries: Sequence[Json]) -> set[str]:
    """Return the entries of the target that one of the summaries does not record."""
    targets = [each.get("target", {}) for each in summaries]
    return {key for key in ADDED_OF_TARGET if not all(each.get(key) for each in targets)}


def _list_unshared_label_metrics(summaries: Sequence[Json]) -> set[str]:
    """Return the metrics of labels that one of two summaries, of an older mmx, does not record."""
    labels = [each.get("target", {}).get("labels") or {} for each in summaries]
    if not all(labels):
        return set()
    old, new = ({key for own in each.values() for key in own} for each in labels)
    return old ^ new


def _leave_out(value: Any, keys: Collection[str]) -> Any:
    """Return what a summary has under a name without some of its entries."""
    return {key: each for key, each in value.items() if key not in keys} if keys else value


def _read_facts(directory: RunDirectory) -> Json:
    manifest = directory.manifest().to_json()
    return {key: manifest.get(key) for key in ("versions", "machine", "code", "data")}


def find_differing(old: Json, new: Json) -> dict[str, tuple[Any, Any]]:
    """Return the entries in which two mappings differ, by dotted path, as (old, new)."""
    left, right = flatten(old), flatten(new)
    keys = dict.fromkeys([*left, *right])
    return {
        key: (left.get(key), right.get(key))
        for key in keys
        if not _are_equal(left.get(key), right.get(key))
    }


def _are_equal(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(_are_equal, old, new))
    return bool(old == new or (old != old and new != new))  # NaN equals NaN here


def flatten(node: Any, path: str = "") -> Json:
    """Return a nested mapping's leaves by dotted path."""
    if isinstance(node, dict):
        found: Json = {}
        for key, value in node.items():
            found.update(flatten(value, f"{path}.{key}" if path else str(key)))
        return found
    return {path: node}
