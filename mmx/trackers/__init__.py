"""Trackers: services and files that show the metrics of many runs, such as TensorBoard.

``tracker=mlflow`` follows a run while it trains; ``mmx mirror RUN --to mlflow`` copies it
afterwards. The run directory stays the truth: a tracker has a copy, and what it already has is
not written again. A tracker that fails is named once, and the run goes on without it.
"""

from mmx.trackers.base import (
    TOLD,
    Ending,
    OpenRun,
    Point,
    Scalar,
    TrackedRun,
    Tracker,
    require_library,
)

__all__ = [
    "TOLD",
    "Ending",
    "OpenRun",
    "Point",
    "Scalar",
    "TrackedRun",
    "Tracker",
    "require_library",
]
