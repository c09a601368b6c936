"""What an experiment's numbers depend on: config, code, weights and data, as they are now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmx.config.build import TARGET
from mmx.config.nodes import ConfigNode
from mmx.config.part_packages import PartPackage, find_part_packages
from mmx.encoders.published import Published
from mmx.experiment.assemble import Experiment
from mmx.experiment.config_fingerprint import digest_config
from mmx.experiment.content_digest import content_digest, digest_files
from mmx.experiment.opened_tasks import open_data
from mmx.runs.code import numbers_digest, package_digest
from mmx.runs.identity import Identity
from mmx.runs.manifest import RecordedIdentity, RecordedWeights
from mmx.runs.surroundings import describe_surroundings
from mmx.stage_id import Role
from mmx.tasks import Task
from mmx.trackers import TOLD

_FINGERPRINTS: dict[str, str | None] = {}
"""Config node of a task, as JSON, to the fingerprint of its data; None where unreadable."""


def identify(experiment: Experiment) -> Identity:
    """Return the identity of an experiment if it ran now; its data is not opened."""
    around = describe_surroundings()
    own = {each.distribution: each.version for each in find_used_packages(experiment.config)}
    changes = {"identity": record_identity(experiment), "versions": {**around.versions, **own}}
    return Identity.of(around.model_copy(update=changes))


def record_identity(experiment: Experiment) -> RecordedIdentity:
    """Return the ``identity`` of a manifest: digests of config, code and weight files."""
    code = {"mmx": numbers_digest(), **digest_packages(experiment.config, experiment.allowed)}
    return Identity(
        config=digest_config(experiment.config),
        code={name: digest for name, digest in code.items() if digest is not None},
        weights=experiment.weight_digests,
        weight_files={
            name: {path.name: content_digest(path) for path in files}
            for name, files in experiment.weight_files.items()
        },
    ).as_recorded()


def record_published(experiment: Experiment) -> dict[str, RecordedWeights]:
    """Return what a manifest says of the published weights that encoders start from."""
    start, digests = experiment.start, experiment.weight_digests
    return {
        name: _record(each, str(start.role), digests.get(name))
        for name, each in start.weights.items()
    }


def _record(published: Published, role: str, digest: str | None) -> RecordedWeights:
    """Return what a manifest says of published weights, and of the adapter in them."""
    found = RecordedWeights(
        role=role,
        name=published.name,
        origin=published.origin,
        revision=published.revision,
        licence=published.licence,
        card=None if published.card is None else str(published.card),
        digest=digest,
    )
    if (adapter := published.adapter) is None:
        return found
    own = _record(adapter, role, digest_files(list(adapter.files())))
    return found.model_copy(update={"adapter": own})


def digest_packages(config: Any, allowed: tuple[str, ...]) -> dict[str, str | None]:
    """Return the digests of allowed packages; none where the config uses only classes of mmx."""
    if all(name.startswith("mmx.") for name in _list_targets(config)):
        return {}
    return {name: package_digest(name) for name in sorted(allowed)}


def find_used_packages(config: Any) -> list[PartPackage]:
    """Return the installed packages that offer options and whose classes a config names."""
    tops = {name.partition(".")[0] for name in _list_targets(config)} - {"mmx"}
    return [each for each in find_part_packages() if each.package in tops] if tops else []


def _list_targets(config: Any) -> list[str]:
    """Return the classes that a config names, without those that change none of its numbers."""
    if isinstance(config, Mapping):
        config = {key: value for key, value in config.items() if key not in TOLD}
    return [target for _, target in walk_nodes(config)]


def read_fingerprints(experiment: Experiment) -> dict[str, str]:
    """Return the current fingerprint of each role's data, where it can be read.

    A process reads data once for all experiments with the same task node, until
    :func:`forget_data` is called.
    """
    found: dict[str, str] = {}
    for role, task in ((Role.SOURCE, experiment.source), (Role.TARGET, experiment.target)):
        if task is None:
            continue
        node = json.dumps(experiment.config[role], sort_keys=True, default=str)
        if node not in _FINGERPRINTS:
            _FINGERPRINTS[node] = _read_fingerprint(task, experiment.config[role])
        if (fingerprint := _FINGERPRINTS[node]) is not None:
            found[role] = fingerprint
    return found


def forget_data() -> None:
    """Forget the fingerprints, so that data is read again."""
    _FINGERPRINTS.clear()


def _read_fingerprint(task: Task, node: ConfigNode) -> str | None:
    """Return the fingerprint of a task's data; None where it cannot be read."""
    try:
        return open_data(task, node).fingerprint
    except Exception:  # a user's task may raise anything; its run will raise and report it
        return None


def walk_nodes(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield where each node names its class, such as ``fusion._target_``, and the class."""
    if isinstance(node, dict):
        if TARGET in node:
            yield f"{path}{TARGET}", str(node[TARGET])
        for key, each in node.items():
            yield from walk_nodes(each, f"{path}{key}.")
    elif isinstance(node, (list, tuple)):
        for number, each in enumerate(node):
            yield from walk_nodes(each, f"{path}{number}.")
