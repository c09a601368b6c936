"""The contracts of the parts, as checks: what ``mmx check`` runs on a class of one's own.

    part = Part(MyFusion, {"width": 64})
    for result in check(part):
        print(result.name, result.state, result.said)

One file for each kind of part (encoder, fusion, mapping, missing, objective, regularizer,
head, task). A check is a function from a subject, the part with what its kind is made from,
to one sentence of what held; it raises :class:`Broken` with what was expected and what was
seen. mmx's own parts are held to the same functions by the tests.
"""

from mmx.contract.base import Broken, Check, Part, Result, Untested
from mmx.contract.kinds import KINDS, PartKind, check_part, kind_of

__all__ = [
    "KINDS",
    "Broken",
    "Check",
    "Part",
    "PartKind",
    "Result",
    "Untested",
    "check_part",
    "kind_of",
]
