"""What a config says of an experiment, without where and how fast it runs.

Two runs whose configs have the same essence compute the same numbers from the same data.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmx.json_object import Json
from mmx.trackers import TOLD

WHERE_NOT_WHAT = {
    "data_dir": "where data lies; the digest of its content counts",
    "output_dir": "where results go",
    "download": "whether files may be fetched; their content counts",
    "cache": "where artifacts are kept",
    "cache_gb": "how many artifacts are kept",
}
"""Root keys that do not change an experiment's numbers, nor its fingerprint, and why."""
HOW_NOT_WHAT = {
    "resident": "where decoded rows are kept",
    "workers": "how many processes decode",
    "checkpoint_seconds": "how often the state is saved",
    "threads": "how many cores compute: sums may differ in their last bits",
}
"""Keys of the trainer that do not change the fingerprint, and why."""

PLACES = ("path", "root")
"""Options of a task with the paths of its files; their content has its own digest."""
FILE_OPTIONS = ("weights", "model", "adapter")
"""Options of an encoder that may name a file or folder; its content counts, not its place."""


def essence(config: Json) -> Json:
    """Return a canonical config, or some of its nodes, without where and how fast it runs.

    Who is told of it does not count either.

    ``1`` and ``1.0`` count as the same number. Keys are left out of the root, the trainer and
    nodes with ``_target_``; a free mapping, such as one of class names, counts as a whole.
    """

    def what(node: Any) -> Any:
        if isinstance(node, dict):
            ignored = WHERE_NOT_WHAT if "_target_" in node else ()
            return {key: what(value) for key, value in node.items() if key not in ignored}
        if isinstance(node, (list, tuple)):
            return [what(item) for item in node]
        return int(node) if isinstance(node, float) and node.is_integer() else node

    kept: Json = what(_drop_keys(config, {**WHERE_NOT_WHAT, **TOLD}))
    if isinstance(trainer := kept.get("trainer"), dict):
        kept["trainer"] = _drop_keys(trainer, HOW_NOT_WHAT)
    return kept


def _drop_keys(node: Json, ignored: Collection[str]) -> Json:
    return {key: value for key, value in node.items() if key not in ignored}


def essence_with_weights(config: Json, weights: Mapping[str, str]) -> Json:
    """Return the essence of a config, with weight files replaced by their digests."""
    return put_digests(essence(config), weights)


def put_digests(what: Json, weights: Mapping[str, str]) -> Json:
    """Return a config with the weight files of encoders replaced by their digests, by modality."""
    nodes = what.get("encoder")
    if not weights or not isinstance(nodes, dict):
        return what
    changed = {
        name: {
            **{key: "" if is_file_option(key, value) else value for key, value in node.items()},
            "weights": digest,
        }
        for name, digest in weights.items()
        if isinstance(node := nodes.get(name), dict)
    }
    return {**what, "encoder": {**nodes, **changed}}


def is_file_option(key: str, value: Any) -> bool:
    """Return whether an encoder's option names a file or folder of this machine.

    A ``model`` may also be the name of an architecture, or of a repository.
    """
    if not isinstance(value, str):
        return False
    return key == "weights" or (key in FILE_OPTIONS and Path(value).is_absolute())
