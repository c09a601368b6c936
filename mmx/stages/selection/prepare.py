"""The first steps of a run, a search and a ranking: a context, opened tasks, a trained source.

A search and a ranking get a target without its test rows: a choice cannot depend on a split that
is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mmx.errors import DataError
from mmx.experiment import Experiment, Settings
from mmx.model import MultimodalModel
from mmx.runs.cache import Cache, location
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Opened, Trained
from mmx.stages.core.opened_data import (
    list_source_specs,
    load_task,
    open_task,
    say_other_scales,
)
from mmx.stages.core.published_source import START, load_published
from mmx.stages.core.source_reference import find_regularized
from mmx.stages.core.stage import GivenSource, Stage
from mmx.stages.core.stage_model import MakeModel, attach_criterion, try_without_values
from mmx.stages.pipeline.train import train_stage
from mmx.tasks import TaskData
from mmx.training.events import Listener, StopRequest
from mmx.training.precision import Precision, choose_device
from mmx.training.randomness import make_deterministic
from mmx.transfer import Source
from mmx.transfer.freezing import limit_epochs
from mmx.transfer.scratch import Scratch
from mmx.transfer.shared_classes import check_class_map

SELECTION = ("train", "val")


@dataclass(frozen=True)
class Prepared:
    """What a search or a ranking chooses on: a source, and a target without its test rows.

    Attributes:
        source: The source's data; None where there is no source.
        given: The trained source, or published weights; None where no weights are taken.
        target: The target's ``train`` and ``val`` rows, read by the source's specs.
        alone: The same rows, read by their own specs, as without a source.
    """

    source: Opened | None
    given: GivenSource | None
    target: Opened
    alone: Opened


def make_context(
    experiment: Experiment,
    directory: RunDirectory,
    listen: Listener,
    stop: StopRequest,
    *,
    cached: bool = True,
) -> Context:
    """Return what all stages share, and make torch compute deterministically.

    Args:
        experiment: What is run.
        directory: Where its results go.
        listen: Receives the events.
        stop: Says whether a signal has asked to stop.
        cached: Whether the artifact cache may be used.
    """
    settings = experiment.settings
    device = choose_device(settings.device)
    make_deterministic(experiment.trainer.threads, device)
    precision = Precision.choose(settings.precision, device)
    cache = _open_cache(settings) if cached else None
    return Context(experiment, directory, precision, listen, stop, cache)


def _open_cache(settings: Settings) -> Cache | None:
    """Return the artifact cache that the settings name; None where they name none."""
    where = location(settings.cache)
    return None if where is None else Cache(where, round(settings.cache_gb * 1e9))


def prepare(context: Context) -> Prepared:
    """Open source and target, and train the source where the transfer takes its weights."""
    prepared = open_tasks(context)
    if prepared.given is not None:
        start_and_forget(context, prepared.given, prepared.target)
        return prepared
    if prepared.source is None or not context.experiment.trains_source:
        return prepared
    dry_start(context, prepared.source, prepared.target)
    return train_source(context, prepared)


def open_tasks(context: Context) -> Prepared:
    """Open source and target, and train nothing.

    Raises:
        TransferError: ``transfer.class_map`` names classes that do not exist.
    """
    experiment, source = context.experiment, None
    if experiment.source is not None:
        task = load_task(context, experiment.source, Role.SOURCE, {}, [])
        source = open_task(context, task, experiment.modalities[Role.SOURCE], {})
    found = drop_test_rows(load_task(context, experiment.target, Role.TARGET, {}, []))
    modalities = experiment.modalities[Role.TARGET]
    alone = open_task(context, found, modalities, {})
    if source is None:
        return Prepared(None, load_published(context, alone, Role.TARGET), alone, alone)
    offered = list_source_specs(experiment, source.specs)
    target = open_task(context, found, modalities, offered)
    say_other_scales(context, target.specs, offered)
    if experiment.trains_source:
        class_map = getattr(experiment.transfer, "class_map", {})
        check_class_map(class_map, source.task.target.classes, found.target.classes)
    return Prepared(source, None, target, target if target.specs == alone.specs else alone)


def train_source(context: Context, prepared: Prepared) -> Prepared:
    """Train the source, and return the same with the trained source.

    Args:
        context: Of the run.
        prepared: The opened tasks, with a source.
    """
    if prepared.source is None:
        raise RuntimeError("there is no source to train")
    trained = train_stage(context, make_source_stage(context, prepared.source))
    return replace(prepared, given=offer_source(prepared.source.task, trained))


def drop_test_rows(task: TaskData) -> TaskData:
    """Return a task without its test rows.

    Raises:
        DataError: It has no rows to train on, or none to validate on.
    """
    splits = {name: rows for name, rows in task.splits.items() if name in SELECTION}
    for name in SELECTION:
        if not len(splits.get(name, ())):
            raise DataError(f"{task.name} has no {name} rows, and nothing can be chosen without")
    return replace(task, splits=splits)


def make_source_stage(context: Context, opened: Opened) -> Stage:
    """Return the stage that trains a source task, from fresh draws or from published weights."""
    published = load_published(context, opened, Role.SOURCE)
    if published is None:
        return Stage(StageId.SOURCE, opened, Scratch())
    return Stage(StageId.SOURCE, opened, START, published)


def offer_source(task: TaskData, trained: Trained) -> GivenSource:
    """Return what a target can take of a trained source."""
    source = Source(_select_transferable(trained.model), task.target.classes)
    seconds = trained.fitted.seconds
    return GivenSource(source, lambda: trained.model, trained.data, seconds, trained.cached)


def dry_start(context: Context, source: Opened, target: Opened) -> Source:
    """Start a target from an untrained source, forget the target, and return that source.

    A transfer and its regulariser refuse by names, shapes and classes, which training does not
    change: what they would refuse after the source is trained is refused before it. Both models
    are meta models, and so are the source's tensors, unless the transfer reads values.

    Raises:
        TransferError: The source does not fit, or leaves the regulariser nothing to hold.
    """
    end = source.task.target

    def start(make: MakeModel) -> Source:
        untrained = make(context.experiment, Role.SOURCE, source.specs, end, Scratch())
        given = Source(_select_transferable(untrained), end.classes)
        _start_target(context, GivenSource(given, lambda: untrained), target, make)
        return given

    return try_without_values(start)


def start_and_forget(context: Context, given: GivenSource, target: Opened) -> None:
    """Start a target from a source, trained or published, and forget the target.

    Raises:
        TransferError: The source does not fit, or leaves the regulariser nothing to hold.
    """
    try_without_values(lambda make: _start_target(context, given, target, make))


def _start_target(context: Context, given: GivenSource, target: Opened, make: MakeModel) -> None:
    """Start a target's model, and ask its regulariser what it acts on."""
    experiment, end = context.experiment, target.task.target
    transfer, regularizer = experiment.transfer, experiment.regularizer
    model = make(experiment, Role.TARGET, target.specs, end, transfer)
    attach_criterion(experiment, Role.TARGET, model, target.data, end)
    start = transfer.start(given.source, model, end.classes)
    start = limit_epochs(start, model, experiment.trainer.of(Role.TARGET).epochs)
    if regularizer is not None:
        find_regularized(regularizer, model, start, given.model, transfer.modality_map)


def _select_transferable(source: MultimodalModel) -> dict[str, Tensor]:
    """Return a source's tensors, less those of its objective and those fitted to its rows."""
    # A mapping that was fitted to the source's rows is fitted anew to the target's.
    own: tuple[str, ...] = ("criterion.", "missing.")
    if source.mapping is not None and source.mapping.fitted:
        own += ("mapping.",)
    state = source.state_dict()
    return {name: tensor for name, tensor in state.items() if not name.startswith(own)}
