"""``mmx reproduce RUN|config.yaml [key=value ...]``: run a config again, in a new directory.

Without changes the numbers must be the same, bit for bit, on the same machine; exit 1 if
they are not. With changes it says what drifted. A run without numbers is run again, and exit 1
says that there is nothing to compare with. The config is data: nothing that it
names is executed unless it is mmx's own or --allow names its package; and where results go,
what is downloaded and where data is looked for are yours: output_dir=, download=, data_dir=.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from mmx import execution
from mmx.config import compose, override_problems
from mmx.config.chosen import find_chosen_names
from mmx.config.composed import Composed
from mmx.config.hydra_node import is_hydra_key
from mmx.config.nodes import ConfigNode
from mmx.config.sweep_values import refuse_sweep
from mmx.errors import ConfigError, DamagedFileError, Problem, RunError
from mmx.experiment import assemble
from mmx.experiment.opener import IN_NODES, is_openers_key
from mmx.printable import shorten
from mmx.quoting import format_value
from mmx.renamed_options import translate_overrides
from mmx.reports.run_comparison import find_differing
from mmx.reports.view import open_view
from mmx.runs.directory import RunDirectory, read_config
from mmx.runs.essence import HOW_NOT_WHAT, WHERE_NOT_WHAT
from mmx.terminal import Console
from mmx.trackers import TOLD
from mmx.verbs.arguments import Parser, list_allowed_packages, read_run
from mmx.verbs.compare import print_comparison
from mmx.verbs.opening import open_config, read_key, read_typed
from mmx.verbs.preflight import Job, refuse_absent_weights, refuse_unread, require_devices
from mmx.verbs.run_packages import require_packages
from mmx.verbs.train_single import conclude

SUMMARY = "run a run's config again and compare the numbers"
PLACE = 60
COMPLETES = {"runs": 1}

OVERRIDES_LENGTH = 3000
"""Most characters of a run's overrides: parsing more takes seconds."""

MOST_KEYS = 5
"""Most keys that a message lists where two configs differ."""


def main(arguments: Sequence[str]) -> int:
    """Reproduce a run and return the exit code."""
    given = _parse(arguments)
    parent = None if given.run.is_file() else RunDirectory.open(given.run)
    saved = read_config(given.run) if parent is None else parent.config()
    choices = parent.manifest().choices if parent else {}
    if parent is not None:
        require_packages(parent, saved)
        parent.summary()  # raises before hours of training if the numbers cannot be read
        _say_damage(parent)
    job, changed = _plan(given, parent, Composed(saved, saved, choices, ()))
    if problems := [*refuse_unread([job]), *refuse_absent_weights([job])]:
        raise ConfigError(problems)
    require_devices([job])
    overrides = _read_overrides(parent) if parent else []
    directory = execution.create(
        job.experiment,
        Path(job.experiment.settings.output_dir) / "runs",
        choices=job.composed.choices,
        overrides=[*overrides, *given.changes],
        unresolved=job.composed.unresolved,
        parent=str(given.run.absolute()),
        argv=["mmx", "reproduce", *arguments],
    )
    with open_view() as listen:
        outcome = execution.execute(job.experiment, directory, listen, cached=False)
    code = conclude(directory, outcome)
    if code != 0 or parent is None:
        return code
    drifted = _compare(parent, directory)
    return 1 if drifted is None or (drifted and not changed) else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("reproduce", description=__doc__).with_allow()
    words = "a run, as a path or as listed, or a config.yaml"
    parser.add_argument("run", type=read_run, metavar="RUN", help=words)
    parser.add_argument("changes", nargs="*", metavar="key=value", help="what to change")
    parser.add_argument(
        "--config-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="the folder of your own YAML that the run was started with",
    )
    return parser.parse_args(arguments)


def _plan(
    given: argparse.Namespace, parent: RunDirectory | None, composed: Composed
) -> tuple[Job, bool]:
    """Return the job to run, and whether it is another experiment than the run's.

    Args:
        given: The parsed command line.
        parent: The run; None for a config alone.
        composed: Its config.

    Raises:
        ConfigError: A change is wrong.
        RunError: The run's overrides do not give its config, or there are none to change.
    """
    allowed = list_allowed_packages(given.allow)
    own = [word for word in given.changes if is_openers_key(read_key(word))]
    changed = len(own) < len(given.changes)
    typed = read_typed(own, "reproduce", given.run)
    names = parent.names() if parent is not None else {}
    if changed:
        if parent is not None:
            again = _compose_changes(composed, parent, own, given.config_dir)
            _require_same(parent, again.config, allowed)
        composed = _compose_changes(composed, parent, given.changes, given.config_dir)
        names = find_chosen_names(composed, given.config_dir)
    composed = replace(composed, config=open_config(parent, composed.config, typed))
    return Job(given.changes, composed, assemble(composed.config, allowed, names)), changed


def _compare(parent: RunDirectory, directory: RunDirectory) -> bool | None:
    """Print how the numbers differ from the parent's, and return whether they do.

    None where the parent has no numbers.
    """
    if not parent.read_summary().target.metrics:
        status = parent.status().get("status", "?")
        why = f"{parent.path} has no numbers in its summary.json (it is {status})"
        text = f"nothing to compare with: {why}"
        Console(stderr=True).print(text, highlight=False, soft_wrap=True)
        return None
    return bool(print_comparison(Console(stderr=True), parent, directory).drifted)


def _say_damage(parent: RunDirectory) -> None:
    """Print a note on damaged files, which a new run does not need."""
    try:
        parent.require_undamaged(checkpoints=True)
    except DamagedFileError as error:
        Console(stderr=True).print(f"note: {error.message}", highlight=False, soft_wrap=True)


def _compose_changes(
    composed: Composed, parent: RunDirectory | None, changes: Sequence[str], extra: Sequence[Path]
) -> Composed:
    """Compose a run's overrides again, with changes appended.

    Raises:
        RunError: A bare config has no overrides to compose.
        ConfigError: A change is wrong.
    """
    if parent is None:
        raise RunError(
            "changes need a run directory: a bare config.yaml does not say how it was composed",
            tip="mmx reproduce outputs/runs/<run> " + " ".join(changes),
        )
    overrides = [*_read_overrides(parent), *changes]
    with compose.composer(extra):
        parsed = compose.parse(overrides)
        problems = [
            Problem(problem.given, problem.reason, type_this=_pick_first(problem.given))
            for problem in refuse_sweep(parsed, overrides)
        ]
        if problems:
            raise ConfigError(problems)
        again, problems = override_problems.check_overrides(parsed, overrides, extra)
    if problems:
        raise ConfigError(problems)
    return again


def _require_same(parent: RunDirectory, again: ConfigNode, allowed: Collection[str]) -> None:
    """Check that a run's overrides still give its own config, before changes are added.

    They are composed with today's mmx and the user's current YAML, and may have been forged.

    Raises:
        RunError: They give another config; the opener's keys do not count.
    """
    given = parent.path / "config.auto.yaml"  # after a search; config.yaml is the winner's
    saved = read_config(given) if given.exists() else parent.config()
    was, now = (
        assemble({k: v for k, v in config.items() if k not in TOLD}, allowed).config
        for config in (saved, again)
    )
    differ = {
        key: values
        for key, values in find_differing(was, now).items()
        if not is_openers_key(key) and key.rpartition(".")[2] not in IN_NODES
    }
    if not differ:
        return
    shown = [
        f"{key} is {shorten(format_value(old))} in the run and "
        f"{shorten(format_value(new))} of its overrides"
        for key, (old, new) in list(differ.items())[:MOST_KEYS]
    ]
    more = f", and {len(differ) - MOST_KEYS:,} more" if len(differ) > MOST_KEYS else ""
    path = shlex.quote(str(parent.path))
    raise RunError(
        f"{parent.path / 'manifest.json'} holds overrides that do not give the run's own "
        f"config.yaml: {'; '.join(shown)}{more}",
        tip=f"mmx reproduce {path}   (without changes; own YAML is named by --config-dir DIR)",
    )


def _read_overrides(parent: RunDirectory) -> list[str]:
    """Return a run's overrides, without Hydra's keys and those of its opener."""
    given = parent.manifest().overrides
    if sum(map(len, given)) > OVERRIDES_LENGTH:
        raise RunError(
            f"{parent.path / 'manifest.json'} holds more overrides than are composed again",
            tip=f"mmx reproduce {shlex.quote(str(parent.path))}   (without changes)",
        )
    mine = (*WHERE_NOT_WHAT, *(f"trainer.{key}" for key in HOW_NOT_WHAT if key != "threads"))
    kept = [word for word in given if not is_hydra_key(word) and _is_none_of(word, mine)]
    return translate_overrides(kept, parent.written_config())


def _is_none_of(word: str, keys: Collection[str]) -> bool:
    """Return whether an override sets none of the keys, nor who is told of a run."""
    key = read_key(word)
    return key not in keys and key.partition(".")[0] not in TOLD


def _pick_first(given: str) -> str:
    """Return advice: the override with the first of its values, or a sweep over all of them."""
    key, _, values = given.partition("=")
    first = re.split(r"[,)]", re.sub(r"^\w+\(", "", values))[0]
    return f"{key}={first}   (a run each: mmx train -m {given})"
