"""A composed config to an Experiment, checked whole: the only caller of build.

A command line or config can be refused in five places. Each refuses what no place before it can
know, and all that it finds at once:

    mmx.config            what is typed or written by itself: grammar, groups, options, keys; the
                          type and range of a value; a class that is not allowed; a file that says
                          what only a command line may
    a constructor         options of one part that do not go together, such as two of a fusion:
                          it raises ValueError, and the builder says where the node stands
    mmx.experiment        parts that do not fit each other, and paths that lead nowhere:
                          ``fitting`` tasks with encoders, fusion, objective; ``transferring``
                          source with target; ``head_misfits`` heads; ``control_choice`` controls
    mmx.verbs.preflight   what a line asks of this machine, or of no run of it: a device, a file of
                          weights that is missing, an override that no job reads
    mmx.stages            what only data tells, before anything is trained on it: tasks read it and
                          ``core.data_checks`` looks at it; ``selection.prepare`` starts a target
                          from an untrained source, and so hears what a transfer would refuse

Below mmx.stages nothing refuses a config: what fails there is a run.
"""

from mmx.experiment.assemble import Experiment, assemble
from mmx.experiment.settings import Modalities, Settings

__all__ = ["Experiment", "Modalities", "Settings", "assemble"]
