"""The contracts of the parts, as checks: ``mmx check`` runs them on a user's class.

    part = Part(MyFusion, {"width": 64})
    for result in check(part):
        print(result.name, result.state, result.said)

One file for each kind of part (calibration, encoder, fusion, mapping, metric, missing,
objective, regularizer, head, task, tracker). A check is a function from a subject, which is the
part and how its kind is made and called, to one sentence on what holds; it raises :class:`Broken`
with what was expected and what was seen. The tests run the same functions on mmx's own parts.
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
