"""The stages of a run: source → transfer → target → control → evaluation.

Each is a function from explicit inputs to a result. The result of a stage is written to the run
directory, so that it is not trained again when the run is resumed.
"""

from mmx.stages.core.context import Context, Opened, Specs, Trained
from mmx.stages.core.opened_data import extract_features, open_task
from mmx.stages.core.reload import Loaded, load_trained, open_trained
from mmx.stages.run import run

__all__ = [
    "Context",
    "Loaded",
    "Opened",
    "Specs",
    "Trained",
    "extract_features",
    "load_trained",
    "open_task",
    "open_trained",
    "run",
]
