"""The trials of a search: each a run that only validation judges, in the workers of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmx import execution
from mmx.config.chosen import find_chosen_names
from mmx.config.composed import Composed
from mmx.errors import ConfigError, MmxError
from mmx.experiment import assemble
from mmx.json_object import Json
from mmx.runs.atomic import write_text
from mmx.runs.directory import RunDirectory
from mmx.search.space import Dimension, Value
from mmx.search.study import Proposal, Study, StudySettings
from mmx.untrusted import parse_json, read_text
from mmx.verbs.preflight import Job, preflight
from mmx.verbs.train_line import CommandLine
from mmx.workers.worker import Teller

DIGITS = 4
TRIAL_BYTES = 10_000_000
"""The most that ``trial.json`` may have."""


@dataclass(frozen=True)
class SearchFolder:
    """A search on disk.

    outputs/sweeps/search-<id>/  search.json  study.journal  trials/0000/ …  trials.csv  runs/
    """

    path: Path

    @property
    def journal(self) -> Path:
        """Return the file of the study."""
        return self.path / "study.journal"

    def trial(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return self.path / "trials" / f"{number:0{DIGITS}d}"

    def given(self, number: int) -> Path:
        """Return the file of the config that a worker trains."""
        return self.path / "trials" / f"{number:0{DIGITS}d}.yaml"

    def write_given(self, number: int, composed: Composed) -> None:
        """Write the config of a trial for a worker."""
        self.given(number).parent.mkdir(parents=True, exist_ok=True)
        write_text(self.given(number), composed.to_yaml())

    def read_given(self, number: int) -> Composed:
        """Return the config of a trial."""
        return Composed.from_yaml(self.given(number).read_text(encoding="utf-8"))

    def read_result(self, number: int) -> Json | None:
        """Return ``trial.json`` of a trial that has ended well; None for any other."""
        directory = RunDirectory(self.trial(number))
        try:
            if directory.status().get("status") != "done":
                return None
            path = directory.path / execution.TRIAL_FILE
            found: Json = parse_json(read_text(path, limit=TRIAL_BYTES), dict, path)
            return found
        except MmxError:
            return None


@dataclass
class TrialWork:
    """Runs a trial by its number; a class, so that it can be sent to another process."""

    folder: SearchFolder
    dimensions: Sequence[Dimension]
    settings: StudySettings
    allowed: Sequence[str]
    config_dirs: Sequence[Path]
    argv: Sequence[str]

    def __call__(self, number: int, teller: Teller) -> None:
        """Train the trial, or go on with it; what it says is in its run directory."""
        if self.folder.read_result(number) is not None:
            return
        composed = self.folder.read_given(number)
        names = find_chosen_names(composed, self.config_dirs)
        experiment = assemble(composed.config, self.allowed, names)
        directory = RunDirectory(self.folder.trial(number))
        if directory.path.exists():
            execution.record_resumption(directory, self.argv)
        else:
            directory = execution.create(
                experiment,
                directory.path.parent,
                choices=composed.choices,
                overrides=composed.overrides,
                unresolved=composed.unresolved,
                exactly=directory.path,
                argv=self.argv,
            )
        study = Study(self.folder.journal, self.dimensions, self.settings)
        judge = study.make_judge(number)
        outcome = execution.execute_trial(experiment, directory, teller.hear, judge)
        if outcome["status"] == "interrupted":
            raise SystemExit(outcome["exit_code"])
        found = self.folder.read_result(number)
        if outcome["status"] == "failed":
            teller.say(f"failed trial {number}: {outcome['error']}")
        elif found is not None and found["score"] is None:
            epochs = len(found["scores"])
            after = "1 epoch" if epochs == 1 else f"{epochs} epochs"
            teller.say(f"pruned trial {number} after {after}")


def write_batch(
    folder: SearchFolder,
    study: Study,
    proposals: Sequence[Proposal],
    line: CommandLine,
    dimensions: Sequence[Dimension],
    allowed: Sequence[str],
) -> list[int]:
    """Write the configs of a batch; return the numbers of the trials that are to be trained.

    A trial whose parts do not go together has failed, and says why; one with the values of an
    earlier one has its result.
    """
    known = {_key(row.values): row.number for row in study.list_trials() if row.state == "done"}
    numbers = []
    for each in proposals:
        same = known.get(_key(each.values))
        if same is not None and (found := folder.read_result(same)) is not None:
            tell(study, each.number, found)
            continue
        try:
            job = compose_trial(line, dimensions, each.values, allowed)
        except ConfigError as error:
            study.tell_failed(each.number, " ".join(str(error.problems[0]).split()))
            continue
        folder.write_given(each.number, job.composed)
        numbers.append(each.number)
    return numbers


def compose_trial(
    line: CommandLine,
    dimensions: Sequence[Dimension],
    values: Mapping[str, Value],
    allowed: Sequence[str],
) -> Job:
    """Return the experiment with the values of a trial.

    Raises:
        ConfigError: Its parts do not go together.
    """
    chosen = [each.format_override(values[each.key]) for each in dimensions]
    alone = CommandLine([*line.overrides, *chosen], config_dirs=line.config_dirs, allow=line.allow)
    (job,) = preflight(alone, allowed)
    return job


def tell_results(folder: SearchFolder, study: Study, numbers: Sequence[int]) -> None:
    """Tell the study what came out of trials that were trained; unfinished ones stay open."""
    for number in numbers:
        if (found := folder.read_result(number)) is not None:
            tell(study, number, found)
            continue
        status = (
            RunDirectory(folder.trial(number)).status() if folder.trial(number).exists() else {}
        )
        if status.get("status") == "failed":
            study.tell_failed(number, " ".join(str(status.get("error", "")).split()))


def tell(study: Study, number: int, result: Json) -> None:
    """Tell the study the result of a trial."""
    scores = {int(epoch): float(score) for epoch, score in result["scores"].items()}
    rungs = {str(name): float(score) for name, score in result["rungs"].items()}
    if result["score"] is None:
        study.tell_pruned(number, scores, rungs)
    else:
        study.tell(number, float(result["score"]), scores, rungs)


def _key(values: Mapping[str, Value]) -> str:
    return repr(sorted(values.items()))
