"""What a search can choose: candidates as whole experiments, less those that cannot start.

Nothing is trained here, so that a candidate is refused before the source is trained for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmx.controls import CONTROLS
from mmx.errors import ConfigError, Problem, TransferError
from mmx.experiment import Experiment
from mmx.stage_id import Role
from mmx.stages.core.cache_keys import describe_source
from mmx.stages.core.context import Context
from mmx.stages.core.joint_model import join
from mmx.stages.core.stage_model import make_meta_model
from mmx.stages.pipeline.controls import check_controls
from mmx.stages.pipeline.controls.base import ControlBench
from mmx.stages.selection.prepare import Prepared, dry_start, start_and_forget
from mmx.transfer import Source
from mmx.transfer.candidates import make_config, takes_nothing
from mmx.transfer.search_contract import Search, SearchCandidate


@dataclass(frozen=True)
class Choice:
    """A candidate with the experiment that it is."""

    candidate: SearchCandidate
    experiment: Experiment

    @property
    def name(self) -> str:
        """The candidate's."""
        return self.candidate.name


def assemble_choices(experiment: Experiment, search: Search) -> tuple[list[Choice], dict[str, str]]:
    """Return the candidates that fit the experiment, and why the others do not.

    Raises:
        ConfigError: None does.
    """
    choices: list[Choice] = []
    refused: dict[str, str] = {}
    problems: list[Problem] = []
    for candidate in search.list_candidates():
        nodes: dict[str, object] = {**make_config(candidate)}
        if takes_nothing(candidate):  # there is no source for a linear probe
            names = experiment.controls
            without = [name for name in names if not CONTROLS[name].needs_source_weights]
            nodes["control"] = without or "none"
        try:
            choices.append(Choice(candidate, experiment.replace_nodes(nodes)))
        except ConfigError as error:
            problems.extend(error.problems)
            refused[candidate.name] = f"{error.problems[0].given}: {error.problems[0].reason}"
    if not choices:
        raise ConfigError(dict.fromkeys(problems))
    return choices, refused


def find_startable(
    context: Context, prepared: Prepared, choices: Sequence[Choice]
) -> tuple[list[Choice], dict[str, str]]:
    """Return the candidates that can start, and why others cannot, before anything is trained.

    Raises:
        TransferError: None can, or a control cannot.
    """
    source = prepared.source
    if source is None and prepared.given is None:
        raise RuntimeError("without a source the assembly leaves no search to do")
    shared_source = None if source is None else describe_source(context, source)
    startable: list[Choice] = []
    refused: dict[str, str] = {}
    untrained: Source | None = None
    for choice in choices:
        own = replace(context, experiment=choice.experiment)
        trained = source if choice.experiment.trains_source else None
        if trained is not None and describe_source(own, trained) != shared_source:
            refused[choice.name] = (
                "needs a source trained in another way, with its own fusion or without: "
                "transfer.fusion says which the search trains"
            )
            continue
        try:
            untrained = _start(own, prepared) or untrained
        except TransferError as error:
            refused[choice.name] = " ".join(error.message.split())
        else:
            startable.append(choice)
    if not startable:
        why = "".join(f"\n  {name}: {reason}" for name, reason in refused.items())
        raise TransferError(f"no candidate can start from what the source gives{why}")
    if untrained is not None:
        specs = source.specs if source is not None else {}
        bench = ControlBench(context, prepared.target, specs, None)
        check_controls(bench, untrained)
    return startable, refused


def _start(context: Context, prepared: Prepared) -> Source | None:
    """Start a candidate as its trials will, and return the source that it started from.

    A source task is not trained yet; published weights are what they will be.

    Raises:
        TransferError: It cannot start.
    """
    experiment, source, target = context.experiment, prepared.source, prepared.target
    if prepared.given is not None and experiment.reads_source_weights:
        start_and_forget(context, prepared.given, target)
        return prepared.given.source
    if source is not None and experiment.trains_source:
        return dry_start(context, source, target)
    if source is not None and experiment.joint:
        end, transfer = target.task.target, experiment.transfer
        model = make_meta_model(experiment, Role.TARGET, target.specs, end, transfer)
        join(context, model, source, make_meta_model)
    return None
