"""Frozen encoders of published weights that a run may never have to make.

The features of a frozen encoder are computed once, and then taken from the cache. What a run asks
of the encoder besides is kept there too: names, shapes and widths, the digests of its tensors, and
how far drawing it moves torch's generator. The library that makes it is then not even imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

from torch import Tensor

from mmx.controls import CONTROLS
from mmx.encoders import Encoder
from mmx.encoders.meta_encoder import describe_encoder
from mmx.encoders.published import Published
from mmx.experiment.content_digest import content_digest
from mmx.experiment.publishing import class_and_options
from mmx.json_object import Json
from mmx.modalities import Spec, spec_to_json
from mmx.stage_id import StageId
from mmx.stages.core.cache_keys import digest_tensors
from mmx.stages.core.context import Context
from mmx.stages.core.published_values import PublishedValues, UnreadValues, read_values
from mmx.training.drawn_words import count_drawn_words
from mmx.variants import is_own

LIBRARIES = ("timm", "transformers", "open_clip_torch", "safetensors")
"""Packages that make encoders and read their weights."""


@dataclass(frozen=True)
class EncoderRecipe:
    """An encoder that starts from published weights.

    Attributes:
        name: Its modality.
        make: ``make(spec)``.
        spec: How its input is read.
        published: Its weights.
    """

    name: str
    make: Callable[..., Encoder]
    spec: Spec
    published: Published

    def read(self) -> PublishedValues:
        """Return the values that the weights give to the encoder."""
        return read_values(self.make, self.spec, self.published)

    @property
    def prefix(self) -> str:
        """What the names of its tensors start with in a model."""
        return f"encoders.{self.name}."


def may_stay_unmade(context: Context) -> bool:
    """Return whether nothing in a run reads the values of its target's frozen encoders.

    Features that are not in the cache do: an encoder is then made when they are computed.
    """
    experiment = context.experiment
    return (
        context.cache is not None
        and experiment.source is None
        and experiment.transfer.keeps_encoders
        and not experiment.transfer.modality_map
        and experiment.regularizer is None
        and not experiment.parts.encoder_groups
        and not experiment.settings.compile
        and not any(CONTROLS[name].needs_source_weights for name in experiment.controls)
        and not context.directory.stage_file(StageId.TARGET).exists()  # it is filled from them
    )


def find_kept(context: Context, recipe: EncoderRecipe) -> UnreadValues | None:
    """Return an encoder's values, unread, with the facts that the cache keeps of them.

    The facts are found and kept where the cache has none.

    Returns:
        None where the encoder has to be made in each run.
    """
    kind, options = class_and_options(recipe.make)
    if context.cache is None or recipe.published.adapter or is_own(kind):
        return None
    if recipe.published.missing_files():
        return None
    inputs = {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "options": json.loads(json.dumps(dict(options), default=str)),
        "name": recipe.name,
        "spec": _digest_text(json.dumps(spec_to_json(recipe.spec), sort_keys=True)),
        "files": [
            [path.name, content_digest(path)] for path in recipe.published.files() if path.exists()
        ],
        "packages": _list_versions(),
    }
    _, facts = context.cache.get_or_make(
        "encoder",
        inputs,
        lambda: ({}, {"facts": _find_facts(recipe)}),
        say=lambda text: None,
        what=f"facts of the {recipe.name} encoder",
        stop=context.stop,
        check=lambda _, facts: _check_facts(facts["facts"]),
    )
    found: Json | None = facts["facts"]
    return None if found is None else UnreadValues.of(found, recipe.read)


def _find_facts(recipe: EncoderRecipe) -> Json | None:
    """Return what a run asks of an encoder besides its features; None where that is not all."""
    values, encoder = recipe.read(), recipe.make(recipe.spec)
    own = encoder.state_dict()
    if values.said or own.keys() != values.tensors.keys():
        return None
    if any(_look(own[name]) != _look(values.tensors[name]) for name in own):
        return None
    shapes = describe_encoder(encoder)
    most = 4 * sum(each.numel() for each in own.values()) + 2**16
    words = count_drawn_words(partial(recipe.make, recipe.spec), most)
    if shapes is None or words is None:
        return None
    tensors = {name: values.tensors[name] for name in own}
    in_model = {f"{recipe.prefix}{name}": each for name, each in tensors.items()}
    digests = [
        {"names": list(each), "digest": digest_tensors(each)} for each in (tensors, in_model)
    ]
    return {"encoder": shapes, "words": words, "digests": digests}


def _look(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.dtype


def _check_facts(facts: Json | None) -> None:
    """Raise where facts of the cache are not what :func:`_find_facts` returns."""
    if facts is not None:
        UnreadValues.of(facts, lambda: PublishedValues({}))


def _list_versions() -> dict[str, str]:
    found = {}
    for package in LIBRARIES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _digest_text(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
