"""Where what libraries say of models is kept: in the artifact cache of the run."""

from __future__ import annotations

from collections.abc import Callable

from mmx.experiment.settings import Settings
from mmx.json_object import Json
from mmx.library_facts import KeepFacts
from mmx.runs.cache import Cache, location


def open_fact_keeper(settings: Settings) -> KeepFacts | None:
    """Return what keeps facts of libraries in the cache of the settings; None without a cache."""
    where = location(settings.cache)
    if where is None:
        return None
    cache = Cache(where, round(settings.cache_gb * 1e9))

    def keep(inputs: Json, find: Callable[[], Json]) -> Json:
        what = f"what {inputs['package']} says of a model"
        made = cache.get_or_make(
            "facts", inputs, lambda: ({}, find()), say=lambda text: None, what=what
        )
        return made[1]

    return keep
