"""The identity of a run: what its numbers depend on, and what has changed since."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mmx.runs.manifest import Manifest, RecordedIdentity

NOTHING = "nothing changed: config, data, code, weights, versions and hardware are the same"
NOTHING_THAT_COUNTS = (
    "nothing that a number depends on changed: config, data, the code that computes, weights, "
    "versions and hardware are the same"
)
"""What is said after differences of which none counts, such as where results went."""
HARDWARE = ("cpu", "cpu_capability", "cuda", "threads")
"""Entries of a manifest's ``machine`` that can change the last bits of a number."""
OTHER_VERSIONS = ("mmx", "hydra-core")
"""Versions that change no number: mmx has a digest of its code, and Hydra only composes."""


@dataclass(frozen=True)
class Identity:
    """All that the numbers of a run depend on; unknown entries are left out.

    Attributes:
        config: Digest of the config without the places of data and weights.
        settled: The same for the config that a search has chosen; empty without a search.
        data: Role (``source``, ``target``) to the fingerprint of its content.
        code: ``mmx`` and each allowed package to the digest of its code.
        weights: Modality to the digest of the files that its encoder is made from.
        weight_files: The same file by file, by the names of the files.
        versions: Library to version.
        hardware: The machine's entries that can change the last bits.
        whole_code: Digest of all of mmx, the only one in older manifests.
    """

    config: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    weight_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, object] = field(default_factory=dict)
    whole_code: str = ""
    settled: str = ""

    @classmethod
    def of(cls, manifest: Manifest) -> Identity:
        """Return the identity in a manifest."""
        identity, machine = manifest.identity, manifest.machine
        there = {name: value for name, value in machine.to_json().items() if name in HARDWARE}
        return cls(
            config=identity.config,
            settled=identity.settled,
            data=manifest.data,
            code=identity.code,
            weights=identity.weights,
            weight_files=identity.weight_files,
            versions={k: v for k, v in manifest.versions.items() if v is not None},
            hardware={name: there[name] for name in HARDWARE if name in there},
            whole_code=manifest.code.digest or "",
        )

    @property
    def complete(self) -> bool:
        """Whether config and code are recorded: older versions of mmx recorded neither."""
        return bool(self.config and "mmx" in self.code)

    def as_recorded(self) -> RecordedIdentity:
        """Return the ``identity`` entry of a manifest."""
        files = {name: dict(found) for name, found in self.weight_files.items()}
        found = RecordedIdentity(
            config=self.config, code=dict(self.code), weights=dict(self.weights)
        )
        return found.model_copy(update={"weight_files": files}) if files else found

    def with_data(self, data: Mapping[str, str]) -> Identity:
        """Return the same with the fingerprints of its data."""
        return replace(self, data=data)


def find_differences(old: Identity, new: Identity, *, hardware: bool = True) -> tuple[str, ...]:
    """Return what has changed, by name: ``config``, ``data (target)``, ``code (my_pkg)``, ….

    An entry that only one of them has counts as unchanged, since it cannot be compared.

    Args:
        old: The identity of a run.
        new: That of another run, or of the present state.
        hardware: Whether to compare the hardware too.
    """
    return (
        *(["config"] if _has_other_config(old, new) else []),
        *(f"data ({role})" for role in _find_changed(old.data, new.data)),
        *(f"code ({name})" for name in _find_changed(old.code, new.code)),
        *(["code (mmx)"] if _has_other_whole_code(old, new) else []),
        # A weight file that only one of them has is a difference of their configs already.
        *(_name_weights(name, old, new) for name in _find_changed(old.weights, new.weights)),
        *_describe_changed("versions", old.versions, new.versions),
        *(_describe_changed("hardware", old.hardware, new.hardware) if hardware else []),
    )


def join_differences(names: Sequence[str]) -> str:
    """Return one or more differences as a subject: ``the data of target and the config``."""
    # "data (target)" → "data of target"
    phrases = [re.sub(r"^(data|code|weights) \((.+)\)$", r"\1 of \2", name) for name in names]
    *before, last = [f"the {name}" for name in phrases]
    return f"{', '.join(before)} and {last}" if before else last


def _name_weights(name: str, old: Identity, new: Identity) -> str:
    """Return which weights have changed: ``weights (encoder.text: model.safetensors)``."""
    files = list_changed_files(name, old, new)
    return f"weights (encoder.{name}{': ' if files else ''}{', '.join(files)})"


def list_changed_files(name: str, old: Identity, new: Identity) -> list[str]:
    """Return the weight files of an encoder that differ, by name; none where one lists no files."""
    before, now = old.weight_files.get(name, {}), new.weight_files.get(name, {})
    if not before or not now:
        return []
    return [each for each in {**before, **now} if before.get(each) != now.get(each)]


def list_changed_weights(old: Identity, new: Identity) -> list[str]:
    """Return the encoders whose weights both record, and that differ."""
    return _find_changed(old.weights, new.weights)


def _has_other_config(old: Identity, new: Identity) -> bool:
    """Return whether both record a config and they differ.

    A run with a search has two configs, the given one and the chosen one; one in common suffices.
    """
    both = bool(old.config and new.config)
    return both and not {old.config, old.settled} & {new.config, new.settled} - {""}


def _has_other_whole_code(old: Identity, new: Identity) -> bool:
    """Return whether the digest of all of mmx differs, if one of them has no finer digest."""
    if "mmx" in old.code and "mmx" in new.code:
        return False
    both = bool(old.whole_code and new.whole_code)
    return both and old.whole_code != new.whole_code


def _find_changed(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    return [name for name in old if name in new and old[name] != new[name]]


def _describe_changed(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return one difference that names every changed entry, as ``versions (torch 2.4 -> 2.5)``."""
    names = [name for name in _find_changed(old, new) if name not in OTHER_VERSIONS]
    each = ", ".join(f"{name} {old[name]} -> {new[name]}" for name in names)
    return [f"{what} ({each})"] if names else []
