"""``mmx resume RUN [key=value ...]``: go on where a run stopped, in the same directory.

Data that has moved is named: data_dir=DIR, target.path=FILE, source.root=DIR. It must be the
same data. The cache is yours: cache=, cache_gb=; so are device=, trainer.threads= and workers,
and budget=2h, the time after which it is stopped and saved once more.
Its tracker goes on where it was by default; another place is typed: tracker.uri=ADDRESS.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from mmx import execution
from mmx.errors import ConfigError, RunError
from mmx.experiment import Experiment, assemble
from mmx.experiment.budget import find_end
from mmx.experiment.identify import identify
from mmx.experiment.publishing import name_weight_option
from mmx.ranks.lead import require_processes
from mmx.reports import summary_lines
from mmx.reports.view import open_view
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import Identity, list_changed_files, list_changed_weights
from mmx.runs.manifest import Manifest
from mmx.runs.surroundings import describe_surroundings, digest_code
from mmx.runs.sweep_process import find_request
from mmx.terminal import Console
from mmx.training.precision import choose_device
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.opening import open_config, read_typed
from mmx.verbs.train_single import conclude

SUMMARY = "go on with a run that was interrupted or killed"
PLACE = 50
COMPLETES = {"runs": 1}


def main(arguments: Sequence[str]) -> int:
    """Resume a run and return the exit code."""
    parser = Parser("resume", description=__doc__).with_run().with_allow()
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see above")
    given = parser.parse_args(arguments)
    budgets = [word for word in given.settings if word.startswith("budget=")]
    until = find_end(budgets[-1].partition("=")[2]) if budgets else None
    settings = [word for word in given.settings if word not in budgets]
    typed = read_typed(settings, "resume", given.run, ["output_dir"])
    directory = RunDirectory.open(given.run)
    answered = find_request(directory.path.parent.parent)  # by this command; a later one stops it
    console = Console(stderr=True)
    directory.require_undamaged(checkpoints=directory.status().get("status") == "done")
    if directory.status().get("status") == "done":
        console.print("this run is done: nothing is left to resume", highlight=False)
        summary_lines.show(console, directory.finished_summary())
        print(directory.path)
        return 0
    directory.require_plain_files(appends=True)
    config = directory.config()
    if "device" not in typed:
        _require_device(config.get("device"), directory)
    for text in _list_changes(directory.manifest(), config.get("device")):
        console.print(f"note: {text}; numbers may differ", highlight=False, soft_wrap=True)
    config = open_config(directory, config, typed, goes_on=True)
    names = directory.names()
    experiment = assemble(config, list_allowed_packages(given.allow), names)
    require_processes(experiment, directory.path)
    _refuse_other_weights(directory, experiment)
    execution.record_resumption(directory, ["mmx", "resume", *arguments])
    with open_view() as listen:
        # A reproduction must not read the cache, even after an interruption.
        cached = not directory.manifest().parent
        outcome = execution.execute(
            experiment, directory, listen, cached=cached, until=until, answered=answered
        )
    return conclude(directory, outcome)


def _list_changes(manifest: Manifest, device: object) -> Iterator[str]:
    """Yield what has changed since a run began: the code, the device."""
    if manifest.code.digest != digest_code():
        yield "mmx's code has changed since this run began"
    began, now = manifest.machine, describe_surroundings().machine
    recorded = "cuda" in began.model_fields_set  # else an older mmx made the run
    if device != "cpu" and recorded and began.cuda != now.cuda:
        first, then = (each.cuda or "the CPU" for each in (began, now))
        yield f"this run began on {first}, and goes on on {then}"


def _refuse_other_weights(directory: RunDirectory, experiment: Experiment) -> None:
    """Raise RunError where weights are other files than those that a run began with."""
    began, now = Identity.of(directory.manifest()), identify(experiment)
    for name in list_changed_weights(began, now):
        changed, files = list_changed_files(name, began, now), experiment.weight_files[name]
        shown = [str(path) for path in files if path.name in changed] or [str(files[0])]
        run = shlex.quote(str(directory.path))
        option = name_weight_option(experiment.encoders[name])
        raise RunError(
            f"{', '.join(shown)} is another file than {directory.path} began with "
            f"(weights of {name})",
            tip=f"put it back, or say where it is: mmx resume {run} encoder.{name}.{option}=PATH; "
            f"to start anew with the other file: mmx reproduce {run}",
        )


def _require_device(name: object, directory: RunDirectory) -> None:
    """Raise RunError where a run began on a device that this machine does not have."""
    if name not in ("cpu", "cuda"):
        return
    try:
        choose_device(str(name))
    except ConfigError as error:
        quoted = shlex.quote(str(directory.path))
        raise RunError(
            f"{directory.path} was begun with device={name}: {error.problems[0].reason}",
            tip=f"mmx resume {quoted} device=cpu   (numbers may differ)",
        ) from error
