"""``mmx reproduce RUN|config.yaml [key=value ...]``: run a config again, in a new directory.

Without changes the numbers must be the same, bit for bit, on the same machine; exit 1 if
they are not. With changes it says what drifted. The config is data: nothing that it
names is executed unless it is mmx's own or --allow names its package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmx import execution
from mmx.config import check, compose
from mmx.config.compose import Composed
from mmx.config.sweep_values import sweep_without_flag
from mmx.errors import ConfigError, Problem, RunError
from mmx.experiment import assemble
from mmx.runs.directory import RunDirectory, read_config
from mmx.runs.view import view
from mmx.terminal import Console
from mmx.verbs.arguments import Parser, allowed_packages, keep_threads
from mmx.verbs.compare import say
from mmx.verbs.preflight import Job, look_for_devices, unread
from mmx.verbs.train_single import conclude


def main(arguments: Sequence[str]) -> int:
    """Reproduce a run and return the exit code."""
    parser = Parser("reproduce", description=__doc__).with_allow()
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory or a config.yaml")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="what to change")
    parser.add_argument(
        "--config-dir",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="the folder of your own YAML that the run was started with",
    )
    given = parser.parse_args(arguments)
    allowed = allowed_packages(given.allow)
    parent = None if given.run.is_file() else RunDirectory.open(given.run)
    saved = read_config(given.run) if parent is None else parent.config()
    manifest = parent.manifest() if parent else {}
    composed = Composed(saved, saved, manifest.get("choices", {}), ())
    if given.changes:
        composed = _changed(composed, parent, given.changes, given.config_dir)
    experiment = assemble(composed.config, allowed)
    job = Job(given.changes, composed, experiment)
    if problems := unread([job]):
        raise ConfigError(problems)
    look_for_devices([job])
    if parent is not None:
        keep_threads(parent)
    overrides = manifest.get("overrides", []) if parent else []
    directory = execution.create(
        experiment,
        Path(experiment.settings.output_dir) / "runs",
        choices=composed.choices,
        overrides=[*overrides, *given.changes],
        unresolved=composed.unresolved,
        parent=str(given.run.absolute()),
    )
    with view() as listen:
        outcome = execution.execute(experiment, directory, listen, cached=False)
    code = conclude(directory, outcome)
    if code == 0 and parent is not None and parent.summary():
        found = say(Console(stderr=True), parent, directory)
        return 1 if found.drifted and not given.changes else 0
    return code


def _changed(
    composed: Composed, parent: RunDirectory | None, changes: Sequence[str], extra: Sequence[Path]
) -> Composed:
    """Compose a run's overrides again with further ones.

    Raises:
        RunError: A bare config has no overrides to compose.
        ConfigError: A change is wrong.
    """
    if parent is None:
        raise RunError(
            "changes need a run directory: a bare config.yaml does not say how it was composed",
            tip="mmx reproduce outputs/runs/<run> " + " ".join(changes),
        )
    overrides = [*parent.manifest().get("overrides", []), *changes]
    with compose.composer(extra):
        parsed = compose.parse(overrides)
        problems = [
            Problem(problem.given, problem.reason, type_this=_one_of(problem.given))
            for problem in sweep_without_flag(parsed, overrides)
        ]
        if problems:
            raise ConfigError(problems)
        again, problems = check.check(parsed, overrides, extra)
    if problems:
        raise ConfigError(problems)
    return again


def _one_of(given: str) -> str:
    """Return an override with the first of the values that it gives."""
    key, _, values = given.partition("=")
    first = re.split(r"[,)]", re.sub(r"^\w+\(", "", values))[0]
    return f"{key}={first}   (a run each: mmx train -m {given})"
