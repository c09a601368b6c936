"""A composed config to an Experiment, checked whole: the only caller of build."""

from mmx.experiment.assemble import Experiment, assemble
from mmx.experiment.settings import Modalities, Settings

__all__ = ["Experiment", "Modalities", "Settings", "assemble"]
