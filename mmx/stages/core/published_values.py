"""Values of published weights: read, converted and digested once a process.

All runs of a sweep that start from the same files share them. A file whose content has changed is
read again.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mmx.encoders import Encoder
from mmx.encoders.meta_encoder import MetaEncoder
from mmx.encoders.peft_adapter import merge_adapter
from mmx.encoders.published import Published
from mmx.errors import DataError
from mmx.experiment.content_digest import content_digest
from mmx.experiment.publishing import class_and_options
from mmx.json_object import Json
from mmx.modalities import Spec, spec_to_json
from mmx.training.checkpoint import find_not_finite

KEPT_BYTES = 2**30
"""What values that no run is using may take; the oldest are forgotten first."""


@dataclass(eq=False)
class PublishedValues:
    """What published weights give to one encoder; nothing may change them in place.

    Attributes:
        tensors: By their names in the encoder.
        said: What merging an adapter says; None without one.
        encoder: One that holds them and shares its tensors; None until a run asks for it.
        drawn: State of torch's generator to that in which drawing the encoder leaves it.
    """

    tensors: dict[str, Tensor]
    said: str | None = None
    encoder: Encoder | None = None
    drawn: dict[bytes, Tensor] = field(default_factory=dict)
    _digests: dict[tuple[str, ...], str] = field(default_factory=dict)

    def digest(self, names: Sequence[str], compute: Callable[[], str]) -> str:
        """Return the digest of some of the values, computed once.

        Args:
            names: What they are called where they are digested.
            compute: Returns the digest.
        """
        key = tuple(names)
        if key not in self._digests:
            self._digests[key] = compute()
        return self._digests[key]

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        return sum(each.nbytes for each in self.tensors.values())


@dataclass(eq=False)
class UnreadValues(PublishedValues):
    """Published values of which names, shapes and digests are known, and which may stay unread.

    Until they are read, ``tensors`` are on the meta device.

    Attributes:
        facts: What is known; see :mod:`mmx.stages.core.kept_encoders`.
        read: Returns them.
        when_read: Called with the tensors when they are read.
    """

    facts: Json = field(default_factory=dict)
    read: Callable[[], PublishedValues] = lambda: PublishedValues({})
    when_read: list[Callable[[dict[str, Tensor]], None]] = field(default_factory=list)

    @classmethod
    def of(cls, facts: Json, read: Callable[[], PublishedValues]) -> UnreadValues:
        """Return the values that facts are of.

        Args:
            facts: Names, shapes and digests.
            read: Returns the values.
        """
        encoder = MetaEncoder(facts["encoder"], lambda: encoder)
        found = cls(encoder.state_dict(), facts={**facts, "words": int(facts["words"])}, read=read)
        for each in facts["digests"]:
            found._digests[tuple(each["names"])] = str(each["digest"])
        return found

    def make_encoder(self, make_real: Callable[[PublishedValues], Encoder]) -> MetaEncoder:
        """Return an encoder that becomes the real one when it must.

        Args:
            make_real: Returns the real one, with the values that were read.
        """

        def read_and_make() -> Encoder:
            values = self.read()
            made = make_real(values)
            self.tensors.update(values.tensors)
            for call in self.when_read:
                call(values.tensors)
            return made

        return MetaEncoder(self.facts["encoder"], read_and_make)


_KEPT: OrderedDict[tuple[Any, ...], PublishedValues] = OrderedDict()


def read_values(make: Callable[..., Encoder], spec: Spec, published: Published) -> PublishedValues:
    """Return the values that published weights give to an encoder.

    Args:
        make: ``make(spec)`` of the encoder.
        spec: How its input is read.
        published: The weights.

    Raises:
        DataError: A file is absent or unreadable, or of another architecture.
    """
    if published.missing_files():  # says which, and what to type
        return _read(make(spec), published)
    key = _describe(make, spec, published)
    if key not in _KEPT:
        _KEPT[key] = _read(make(spec), published)
    _KEPT.move_to_end(key)
    found = _KEPT[key]
    # The one that is returned may go too, if it alone is larger: its run holds it.
    while sum(each.bytes for each in _KEPT.values()) > KEPT_BYTES and _KEPT:
        _KEPT.popitem(last=False)
    return found


def _read(encoder: Encoder, published: Published) -> PublishedValues:
    tensors, said = encoder.read_published(published), None
    if published.adapter:
        tensors, said = merge_adapter(encoder, tensors, published)
    if names := find_not_finite(tensors.items()):
        raise DataError(f"{published.name}: {names[0]} is not finite", tip="other weight files")
    return PublishedValues(tensors, said)


def _describe(make: Callable[..., Encoder], spec: Spec, published: Published) -> tuple[Any, ...]:
    """Return all that the values depend on."""
    kind, options = class_and_options(make)
    return (
        kind,
        json.dumps(dict(options), sort_keys=True, default=str),
        json.dumps(spec_to_json(spec), sort_keys=True),
        published.adapter is not None,
        *((path, content_digest(path)) for path in published.files() if path.exists()),
    )
