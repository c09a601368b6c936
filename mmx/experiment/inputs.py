"""Inputs and their modalities: which encoder and which part of the source belong to an input.

An input is called by a name; its modality is that of what reads it. Where a task has one input of a
modality, both are the same word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from mmx.config.build import Builder
from mmx.config.nodes import ConfigNode
from mmx.config.signature import list_options
from mmx.errors import Problem
from mmx.experiment.settings import Modalities, Settings
from mmx.modalities import Modality
from mmx.stage_id import Role
from mmx.transfer import Transfer

Readers = Mapping[str, Modality[Any, Any] | None]
"""Input to what reads it; None where its encoder does."""
SHARE = "share_encoders"
MOST_INPUTS = 16
"""Most inputs of a task."""
_T = TypeVar("_T")


def name_modality(name: str, reader: Modality[Any, Any] | None) -> str:
    """Return the modality of an input; what an encoder reads itself is text."""
    return "text" if reader is None else getattr(reader, "name", name)


def list_modalities(readers: Iterable[Readers]) -> dict[str, str]:
    """Return input to modality, for the inputs of several tasks."""
    return {name: name_modality(name, reader) for own in readers for name, reader in own.items()}


def choose_nodes(nodes: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, str]:
    """Return input to the key of its encoder's node: one of its own, or that of its modality.

    Args:
        nodes: The nodes under ``encoder``.
        inputs: Input to modality.
    """
    found = {name: name if name in nodes else modality for name, modality in inputs.items()}
    return {name: key for name, key in found.items() if key in nodes}


def complete_map(
    builder: Builder,
    config: ConfigNode,
    transfer: Transfer | None,
    modalities: Mapping[Role, Readers],
) -> tuple[ConfigNode, Transfer | None]:
    """Return the config and its transfer with an origin for each input that can have only one.

    An input starts from the source's of the same name. Without one, it starts from the source's of
    the same modality, if there is a single one. ``transfer.map`` states these pairs too, so that
    everything that reads the map knows them.
    """
    node = config.get("transfer")
    if transfer is None or transfer.needs != "weights" or not isinstance(node, dict):
        return config, transfer
    if "map" not in list_options(type(transfer)):
        return config, transfer
    source = modalities.get(Role.SOURCE, {})
    found = dict(_find_only_origins(source, modalities.get(Role.TARGET, {})))
    found = {name: origin for name, origin in found.items() if name not in transfer.modality_map}
    if not found:
        return config, transfer
    changed = {**node, "map": {**transfer.modality_map, **found}}
    made = builder.build(changed, Transfer, "transfer")
    return {**config, "transfer": changed}, made or transfer


def _find_only_origins(source: Readers, target: Readers) -> Iterator[tuple[str, str]]:
    """Yield an input of the target and the source's only one of its modality, by another name."""
    theirs = list_modalities([source])
    for name, modality in list_modalities([target]).items():
        alike = [other for other, each in theirs.items() if each == modality]
        if name not in source and len(alike) == 1:
            yield name, alike[0]


def find_alike_origin(
    name: str, source: Modalities, target: Modalities, modality_map: Mapping[str, str]
) -> str | None:
    """Return the source's input that an input starts from, if it is of the same modality."""
    origin = modality_map.get(name, name)
    if origin in source and source[origin].name == target[name].name:
        return origin
    return None


def name_as_target(
    found: Mapping[str, _T], source: Modalities, target: Modalities, modality_map: Mapping[str, str]
) -> dict[str, _T]:
    """Return what a source has found of its inputs, by the target's input that starts from each."""
    named: dict[str, _T] = {}
    for name in target:
        origin = find_alike_origin(name, source, target, modality_map) or name
        if origin in found:
            named[name] = found[origin]
    return named


def group_encoders(
    builder: Builder,
    config: ConfigNode,
    settings: Settings | None,
    modalities: Mapping[Role, Readers],
) -> tuple[ConfigNode, dict[str, str]]:
    """Return the config, and input to modality for the inputs that share one encoder.

    A config that shares none lacks the key, as those of earlier versions do.
    """
    wanted = settings.share_encoders if settings is not None else ()
    if not wanted:
        return {key: each for key, each in config.items() if key != SHARE}, {}
    inputs = list_modalities(modalities.values())
    several = {
        modality
        for own in modalities.values()
        for modality, count in Counter(list_modalities([own]).values()).items()
        if count > 1
    }
    for modality in wanted:
        if modality not in several:
            builder.problems.append(
                Problem(
                    f"{SHARE}=[{','.join(wanted)}]",
                    f"no task of this run has several inputs of {modality}",
                    accepted=", ".join(sorted(several)) or None,
                    type_this=f"{SHARE}=[{','.join(sorted(several & {*wanted}))}]",
                )
            )
    return config, {name: each for name, each in inputs.items() if each in several & {*wanted}}


def find_unlike_nodes(
    nodes: Mapping[str, Any], groups: Mapping[str, str], modality_map: Mapping[str, str]
) -> Iterator[Problem]:
    """Yield inputs that share an encoder, and are given several, or start from several.

    Args:
        nodes: Input to the node of its encoder.
        groups: Input to its group.
        modality_map: Target input to the source's input that it starts from.
    """
    for group in sorted(set(groups.values())):
        names = sorted(name for name, each in groups.items() if each == group and name in nodes)
        for name in names[1:]:
            if nodes[name] != nodes[names[0]]:
                yield Problem(
                    f"encoder/{name}",
                    f"{SHARE} gives {' and '.join(names)} one encoder, and this is another",
                    type_this=f"leave out encoder/{name}   (or {group} of {SHARE})",
                )
        origins = {modality_map[name] for name in names if name in modality_map}
        if len(origins) > 1:
            yield Problem(
                f"transfer.map={{{', '.join(f'{n}: {modality_map[n]}' for n in names)}}}",
                f"{SHARE} gives {' and '.join(names)} one encoder, which starts from one",
                type_this=f"{SHARE}=[]   (or one origin for all of them)",
            )
