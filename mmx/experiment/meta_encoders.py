"""Encoders on the meta device, by which a config is checked before any data is opened.

The jobs of a sweep mostly have the same encoders: mmx's own are made once a process for equal
options, files and inputs.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from mmx.encoders import Encoder
from mmx.encoders.meta_encoder import MetaEncoder, describe_encoder
from mmx.experiment.content_digest import content_digest
from mmx.json_object import Json
from mmx.library_facts import recall_facts
from mmx.meta_model import make_without_memory
from mmx.modalities import Spec
from mmx.variants import class_of, is_own

KEPT = 16
"""Encoders that are kept; the oldest are forgotten first."""
_MADE: OrderedDict[tuple[Any, ...], Encoder] = OrderedDict()


def make_meta_encoder(make: Callable[..., Encoder], spec: Spec) -> Encoder:
    """Return an encoder that has names and shapes, and no values; nothing may change it.

    Args:
        make: ``make(spec)``.
        spec: An example of what may be learned from data.

    Raises:
        DataError, ValueError: Its constructor refuses options, files or input.
    """
    kind = class_of(make)
    if is_own(kind) or not isinstance(make, partial):
        return make_without_memory(make, spec)
    published = kind.find_published(**make.keywords)
    files = () if published is None else published.other_files
    contents = [(path, content_digest(path)) for path in files if path.is_file()]
    key = (kind, repr(sorted(make.keywords.items())), repr(spec), *contents)
    if key not in _MADE:
        _MADE[key] = make_without_memory(make, spec)
        if len(_MADE) > KEPT:
            _MADE.popitem(last=False)
    return _MADE[key]


def recall_meta_encoder(make: Callable[..., Encoder], spec: Spec) -> Encoder:
    """Return what :func:`make_meta_encoder` does, if need be from what an earlier process made.

    Its modules have no types then. It is made in this process where more is asked of it.

    Args:
        make: ``make(spec)``.
        spec: An example of what may be learned from data.

    Raises:
        DataError, ValueError: Its constructor refuses options, files or input.
    """
    kind = class_of(make)
    if is_own(kind) or not isinstance(make, partial) or not kind.library:
        return make_meta_encoder(make, spec)
    published = kind.find_published(**make.keywords)
    files = () if published is None else published.other_files
    inputs = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "options": repr(sorted(make.keywords.items())),
        "spec": hashlib.blake2b(repr(spec).encode(), digest_size=16).hexdigest(),
        "files": [[path.name, content_digest(path)] for path in files if path.is_file()],
    }

    def describe() -> Json:
        return {"encoder": describe_encoder(make_meta_encoder(make, spec))}

    facts = recall_facts(kind.library, inputs, describe)["encoder"]
    if facts is None:
        return make_meta_encoder(make, spec)
    return MetaEncoder(facts, partial(make_meta_encoder, make, spec))
