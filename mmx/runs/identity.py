"""What the numbers of a run depend on, as its manifest records it, and what of it has changed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmx.json_object import Json

NOTHING = "nothing changed: config, data, code, weights, versions and hardware are the same"
HARDWARE = ("cpu", "cpu_capability", "cuda", "threads")
"""Entries of a manifest's ``machine`` on which the last bits of a number depend."""
OTHER_VERSIONS = ("mmx", "hydra-core")
"""Versions on which no number depends: mmx has its code's digest, and Hydra only composes."""


@dataclass(frozen=True)
class Identity:
    """All that the numbers of a run depend on. What is not known is left out.

    Attributes:
        config: Digest of the config, with no word on where data and weights lie.
        settled: Of the config that a search has chosen; empty without one.
        data: Role (``source``, ``target``) to the fingerprint of its content.
        code: ``mmx`` and each allowed package to the digest of its code.
        weights: Modality to the digest of the weight file that its encoder starts from.
        versions: Library to version.
        hardware: What computed it.
        whole_code: Digest of all of mmx, which older manifests hold alone.
    """

    config: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, object] = field(default_factory=dict)
    whole_code: str = ""
    settled: str = ""

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Identity:
        """Return what a manifest records; nothing of what it holds in another form."""
        recorded = _mapping(manifest.get("identity"))
        machine = _mapping(manifest.get("machine"))
        texts, whole = _texts(recorded), _texts(manifest.get("code")).get("digest", "")
        return cls(
            config=texts.get("config", ""),
            settled=texts.get("settled", ""),
            data=_texts(manifest.get("data")),
            code=_texts(recorded.get("code")),
            weights=_texts(recorded.get("weights")),
            versions=_texts(manifest.get("versions")),
            hardware={name: machine[name] for name in HARDWARE if name in machine},
            whole_code=whole,
        )

    @property
    def complete(self) -> bool:
        """Whether config and code are recorded: older versions of mmx recorded neither."""
        return bool(self.config and "mmx" in self.code)

    def recorded(self) -> Json:
        """Return what a manifest's ``identity`` holds."""
        return {"config": self.config, "code": dict(self.code), "weights": dict(self.weights)}

    def with_data(self, data: Mapping[str, str]) -> Identity:
        """Return the same with the fingerprints of its data."""
        return replace(self, data=data)


def names_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return by which options a run's parts were chosen, as its manifest records it."""
    return _texts(manifest.get("names"))


def differences(old: Identity, new: Identity, *, hardware: bool = True) -> tuple[str, ...]:
    """Return what has changed, by name: ``config``, ``data (target)``, ``code (my_pkg)``, ….

    What only one of them records has not changed, as far as anybody can know.

    Args:
        old: Of a run.
        new: Of another, or as things are now.
        hardware: Whether what computes is looked at too.
    """
    found = ["config"] if old.config and new.config and not _same_config(old, new) else []
    found += [f"data ({role})" for role in _changed(old.data, new.data)]
    found += [f"code ({name})" for name in _changed(old.code, new.code)]
    if not ("mmx" in old.code and "mmx" in new.code):
        both = old.whole_code and new.whole_code
        found += ["code (mmx)"] if both and old.whole_code != new.whole_code else []
    # Of a file that one of them has and the other has not, the config speaks.
    found += [f"weights (encoder.{name})" for name in _changed(old.weights, new.weights)]
    for what, ours, theirs in (
        ("versions", old.versions, new.versions),
        ("hardware", old.hardware, new.hardware),
    ):
        names = [name for name in _changed(ours, theirs) if name not in OTHER_VERSIONS]
        if names and (hardware or what != "hardware"):
            each = ", ".join(f"{name} {ours[name]} -> {theirs[name]}" for name in names)
            found.append(f"{what} ({each})")
    return tuple(found)


def in_words(names: Sequence[str]) -> str:
    """Return one or more differences as a subject: ``the data of target and the config``."""
    said = [re.sub(r"^(data|code|weights) \((.+)\)$", r"\1 of \2", name) for name in names]
    *before, last = [f"the {name}" for name in said]
    return f"{', '.join(before)} and {last}" if before else last


def _same_config(old: Identity, new: Identity) -> bool:
    """Return whether two runs have one config: of a search, the one given or the one chosen."""
    return bool({old.config, old.settled} & {new.config, new.settled} - {""})


def _changed(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [name for name in old if name in new and old[name] != new[name]]


def _mapping(node: Any) -> Mapping[str, Any]:
    return node if isinstance(node, Mapping) else {}


def _texts(node: Any) -> dict[str, str]:
    return {str(k): v for k, v in _mapping(node).items() if isinstance(v, str)}
