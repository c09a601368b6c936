"""Transfer modes: what a target takes from its source.

    start = mode.start(source, model, classes)

A mode writes the starting weights into the fresh target ``model``, and returns which
parameters stay frozen or thaw later, at which rate the others learn, what the stage does with
them (:mod:`mmx.transfer.phases`), and a report that names every tensor: copied, adapted, frozen,
fresh. What holds the target near its source while it trains is a regulariser of its own
(:mod:`mmx.transfer.regularizers`).
"""

from mmx.transfer.base import Report, Source, Start, Transfer
from mmx.transfer.phases import Phase

__all__ = ["Phase", "Report", "Source", "Start", "Transfer"]
