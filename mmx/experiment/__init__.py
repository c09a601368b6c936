"""From a composed config to an Experiment, built and checked: the only caller of build.

A command line or config can be refused in five places. Each refuses what no earlier place can
know, and reports everything that it finds at once:

    mmx.config            each override and value alone: grammar, groups, options, keys; type and
                          range of a value; a class that is not allowed; a file that sets what
                          only a command line may
    a constructor         options of one part that do not go together, such as two of a fusion:
                          it raises ValueError, and the builder adds the node's path
    mmx.experiment        parts that do not fit each other, and paths that lead nowhere:
                          ``fitting`` tasks with encoders, fusion, objective; ``transferring``
                          source with target; ``head_misfits`` heads; ``control_choice`` controls
    mmx.verbs.preflight   what needs this machine or all jobs of a line: a device, a missing file
                          of weights, an override that no job reads
    mmx.stages            what only data tells, before anything is trained on it: tasks read it and
                          ``core.data_checks`` looks at it; ``selection.prepare`` starts a target
                          from an untrained source, and so hears what a transfer would refuse

Below mmx.stages nothing refuses a config: a failure there is a failed run.
"""

from mmx.experiment.assemble import Experiment, assemble
from mmx.experiment.settings import Modalities, Settings

__all__ = ["Experiment", "Modalities", "Settings", "assemble"]
