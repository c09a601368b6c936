"""Transfer modes: what a target takes from its source.

    start = mode.start(source, model, classes)

A mode writes the starting weights into the fresh target ``model``. It returns which parameters
stay frozen or thaw later, the learning rates of the others, the phases of the stage
(:mod:`mmx.transfer.phases`), and a report that names every tensor: copied, adapted, frozen, or
fresh. A separate regulariser may keep the target close to its source while it trains
(:mod:`mmx.transfer.regularizers`).
"""

from mmx.transfer.base import EncoderRate, Report, Source, Start, Transfer
from mmx.transfer.phases import Phase

__all__ = ["EncoderRate", "Phase", "Report", "Source", "Start", "Transfer"]
