"""The kinds of part that have a contract, each with its checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmx.contract import encoder, fusion, mapping, missing
from mmx.contract.base import Broken, Check, Part, Result, Untested, run
from mmx.encoders import Encoder
from mmx.fusion import Fusion
from mmx.mapping import Mapping
from mmx.missing import Missing


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        name: What it is called.
        base: The class that every part of the kind is made from.
        subject: Returns a part as what the checks look at; raises Broken where it cannot.
        checks: The promises, in the order in which they are looked at.
        supplied: Keyword arguments that mmx passes, closed to configs.
    """

    name: str
    base: type
    subject: Callable[[Part], Any]
    checks: Sequence[Check[Any]]
    supplied: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    each.name: each
    for each in (
        Kind("encoder", Encoder, encoder.subject, encoder.CHECKS),
        Kind("fusion", Fusion, fusion.subject, fusion.CHECKS, ("outputs",)),
        Kind("mapping", Mapping, mapping.subject, mapping.CHECKS),
        Kind("missing", Missing, missing.subject, missing.CHECKS),
    )
}


def kind_of(part: type) -> Kind | None:
    """Return the kind that a class is of; None where it is of none that has a contract."""
    return next((each for each in KINDS.values() if issubclass(part, each.base)), None)


def check(part: Part) -> Iterator[Result]:
    """Yield what each check of a part's kind finds.

    Raises:
        ValueError: The class is of no kind that has a contract.
    """
    kind = kind_of(part.kind)
    if kind is None:
        raise ValueError(f"{part.kind.__name__} is none of {', '.join(KINDS)}")
    first = kind.checks[0].name
    try:
        subject = kind.subject(part)
    except (Broken, Untested) as error:
        yield Result(first, "failed", str(error))
        return
    yield from run(kind.checks, subject)
