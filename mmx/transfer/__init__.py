"""Transfer modes: what a target takes from its source.

    start = mode.start(source, model, classes)

A mode writes the starting weights into the fresh target ``model``, and returns which
parameters stay frozen, at which rate the others learn, a regulariser R(w) that is
added to the loss, and a report that names every tensor: copied, adapted, frozen, fresh.
"""

from mmx.transfer.base import Report, Source, Start, Transfer

__all__ = ["Report", "Source", "Start", "Transfer"]
