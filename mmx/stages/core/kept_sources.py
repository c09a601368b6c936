"""Which sources of a sweep the artifact cache seems to have, before any data is opened."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmx.errors import UnreadableFileError
from mmx.experiment import Experiment
from mmx.experiment.identify import digest_packages
from mmx.json_object import Json
from mmx.runs.cache import artifact_key, location
from mmx.runs.cache.folder import PROVENANCE, DamagedError, read_provenance
from mmx.stage_id import Role
from mmx.stages.core.cache_keys import describe_unopened_source
from mmx.training.precision import Precision, choose_device
from mmx.untrusted import MAX_BYTES, read_bytes

DATA = ("specs", "data", "rows")
"""What a source depends on that is known only once its data is open."""


def count_sources(experiments: Sequence[Experiment], threads: int) -> tuple[int, int]:
    """Return how many different sources experiments train, and how many the cache seems to have.

    One that is there counts if all but its data is the same: a run looks at the data too, and
    trains the source again where it has changed.

    Args:
        experiments: Those of a sweep.
        threads: CPU threads of each.
    """
    wanted: dict[str, Path | None] = {}
    for each in experiments:
        if each.trains_source:
            wanted[_as_text(_describe(each, threads))] = location(each.settings.cache)
    kept = {root: set(_list_kept(root)) for root in set(wanted.values()) if root is not None}
    return len(wanted), sum(text in kept.get(root, ()) for text, root in wanted.items() if root)


def _describe(experiment: Experiment, threads: int) -> Json:
    settings = experiment.settings
    precision = Precision.choose(settings.precision, choose_device(settings.device))
    names = list(experiment.modalities[Role.SOURCE])
    inputs = describe_unopened_source(experiment, names, precision, threads)
    code = digest_packages(inputs, experiment.allowed)
    return {**inputs, "code": code} if code else inputs


def _list_kept(root: Path) -> Iterator[str]:
    """Yield what each kept source was made from, but for its data; those of other code are left."""
    code = artifact_key.code_version()
    for path in root.glob(f"stage/??/*/{PROVENANCE}"):
        try:
            # Before it is parsed: most artifacts are of another code.
            if code.encode() not in read_bytes(path, limit=MAX_BYTES, follow_links=False):
                continue
            found = read_provenance(path.parent)
        except (DamagedError, UnreadableFileError):
            continue
        inputs = found.get("inputs")
        if found.get("code") == code and isinstance(inputs, dict):
            yield _as_text({key: each for key, each in inputs.items() if key not in DATA})


def _as_text(inputs: Json) -> str:
    return json.dumps(artifact_key.canonicalize(inputs), sort_keys=True)
