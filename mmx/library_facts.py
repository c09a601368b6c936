"""What libraries say of a model, kept from one process to the next.

The libraries of published models take seconds to import. Where all that a run needs of one is what
it said before of the same model, the run goes without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from mmx.json_object import Json

KeepFacts = Callable[[Json, Callable[[], Json]], Json]
"""``keep(inputs, find)`` returns what ``find`` returned for equal inputs, in any process."""


@dataclass
class _Store:
    keep: KeepFacts | None = None


_STORE = _Store()


def keep_library_facts(keep: KeepFacts | None) -> None:
    """Say where facts are kept from now on.

    Args:
        keep: Keeps them; None: they are found anew in each process.
    """
    _STORE.keep = keep


def recall_facts(package: str, inputs: Json, find: Callable[[], Json]) -> Json:
    """Return what a library says of something; it is asked once for all processes.

    Another version of the library is asked again. What it raises passes, and is not kept.

    Args:
        package: The package of the library, such as ``timm``.
        inputs: All that the answer depends on, besides the version.
        find: Asks the library; returns JSON-able data.
    """
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:  # what asks it says so
        version = ""
    if _STORE.keep is None or not version:
        found: Json = json.loads(json.dumps(find()))
        return found
    return _STORE.keep({"package": package, "version": version, **inputs}, find)
