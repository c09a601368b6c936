"""``manifest.json``: what a run must know of its surroundings to be repeated.

A :class:`Manifest` is assembled once, when the run directory is made. Nobody changes it: what a
run learns later, such as the fingerprint of its data, is another record, which
:meth:`RunDirectory.write_manifest` writes in the place of the old one.

Example:
    >>> begun = Manifest(argv=["mmx", "train"], seed=1, data={})
    >>> begun.with_data(Role.TARGET, "6b26").to_json()
    {'argv': ['mmx', 'train'], 'seed': 1, 'data': {'target': '6b26'}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from mmx.runs.records import Count, Record
from mmx.stage_id import Role, StageId


class CodeVersion(Record):
    """mmx's own code: the digest of its files, and the commit of its repository if it has one."""

    digest: str | None = None
    git: str | None = None


class Machine(Record):
    """What a run is computed on; ``cuda`` is the name of the GPU."""

    platform: str | None = None
    cpu: str | None = None
    cpu_capability: str | None = None
    threads: Annotated[int, Field(ge=1)] | None = None
    cuda: str | None = None


class RecordedIdentity(Record):
    """Digests of what the numbers of a run depend on; see :class:`mmx.runs.identity.Identity`."""

    config: str = ""
    code: dict[str, str] = {}
    weights: dict[str, str] = {}
    weight_files: dict[str, dict[str, str]] = {}
    settled: str = ""


class RecordedWeights(Record):
    """The published weights that an encoder starts from.

    Attributes:
        role: Of the task whose encoder starts from them.
        name: What people call them.
        origin: An address, ``owner/name`` of a hub, or a path.
        revision: The commit of the hub; None where there is none.
        licence: As the model card says; None where it says none.
        card: Where the model card lies; None where there is none.
        digest: Of all their files together, with those of an adapter.
        adapter: The same facts of an adapter that is merged into them; None for none.
    """

    role: str
    name: str
    origin: str
    revision: str | None = None
    licence: str | None = None
    card: str | None = None
    digest: str | None = None
    adapter: RecordedWeights | None = None


class RecordedOrigin(Record):
    """The repository that data was fetched from; see :class:`mmx.tasks.contents.Origin`."""

    name: str
    revision: str
    licence: str | None = None


class Manifest(Record):
    """What ``manifest.json`` holds.

    Attributes:
        argv: The command line as it was typed.
        cwd: Where it was typed.
        choices: Config group to chosen option.
        names: Part of the config to the option by which it was chosen.
        overrides: As they were typed.
        seed: Of the run.
        parent: The run that this one reproduces.
        data: Role to the fingerprint of its content, as far as it has been opened.
        origins: Role to the repository that its data was fetched from, if it was.
        identity: Digests of config, code and weights.
        published: Modality to the published weights that its encoder starts from.
        places: Config path to where data and weights lie.
        versions: Package to version.
        packages: Package whose classes the config names to the distribution that installs it, where
            that offers options; its version is among ``versions``.
        machine: What the run is computed on.
        code: mmx's own code.
        fingerprint: Of the config.
        digests: The file with the digests of all others.
        cached: Stage to whether it was taken from the artifact cache.
        resumed: The command lines by which it went on.
    """

    argv: list[str] = []
    cwd: str | None = None
    choices: dict[str, str] = {}
    names: dict[str, str] = {}
    overrides: list[str] = []
    seed: Count | None = None
    parent: str | None = None
    data: dict[str, str] = {}
    origins: dict[str, RecordedOrigin] = {}
    identity: RecordedIdentity = RecordedIdentity()
    published: dict[str, RecordedWeights] = {}
    places: dict[str, str] | None = None
    versions: dict[str, str | None] = {}
    packages: dict[str, str] = {}
    machine: Machine = Machine()
    code: CodeVersion = CodeVersion()
    fingerprint: str | None = None
    digests: str | None = None
    cached: dict[str, bool] = {}
    resumed: list[list[str]] = []

    def with_data(self, role: Role, fingerprint: str) -> Manifest:
        """Return the same with the fingerprint of a role's data."""
        return self.model_copy(update={"data": {**self.data, str(role): fingerprint}})

    def with_origin(self, role: Role, origin: RecordedOrigin) -> Manifest:
        """Return the same with the repository that a role's data was fetched from."""
        return self.model_copy(update={"origins": {**self.origins, str(role): origin}})

    def with_cached(self, stage: StageId, cached: bool) -> Manifest:
        """Return the same with whether a stage was taken from the artifact cache."""
        return self.model_copy(update={"cached": {**self.cached, str(stage): cached}})

    def with_weights(
        self, now: RecordedIdentity, published: Mapping[str, RecordedWeights]
    ) -> Manifest:
        """Return the same with the weights that it does not record yet.

        Args:
            now: The present digests.
            published: Facts of published weights.
        """
        before = self.identity
        update: dict[str, object] = {"weights": {**now.weights, **before.weights}}
        if files := {**now.weight_files, **before.weight_files}:
            update["weight_files"] = files
        changed: dict[str, object] = {"identity": before.model_copy(update=update)}
        if facts := {**published, **self.published}:
            changed["published"] = facts
        return self.model_copy(update=changed)

    def with_choice(self, names: Mapping[str, str], config_digest: str) -> Manifest:
        """Return the same with what a search has chosen: names of parts, digest of the config."""
        identity = self.identity.model_copy(update={"settled": config_digest})
        return self.model_copy(update={"names": dict(names), "identity": identity})

    def with_resumption(self, argv: Sequence[str]) -> Manifest:
        """Return the same with one more command line by which the run goes on."""
        return self.model_copy(update={"resumed": [*self.resumed, list(argv)]})
