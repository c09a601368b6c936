"""``mmx eval RUN [TABLE] [suite=missing,noise,importance] [key=value ...]``: measure it again.

Prints the metrics of one of its splits as one JSON object on stdout. Suites add to it, show
a table on stderr, and write RUN/eval/<suite>.csv and RUN/eval/<suite>.html:

  missing     the metrics under every subset of the modalities; with rate=0.1,0.3 instead
              where each cell is missing at random with that probability, mean of 5 draws
  noise       curves over the strength of noise on each modality, and their areas
  importance  what each modality contributes: Shapley values, overall and for each class

RUN may be a sweep, with suites: each of its finished runs is measured, and SWEEP/eval/<suite>.csv
and .html have means and intervals over seeds for each group of settings.

TABLE is another labelled table with the columns of the run's, for runs on target=table: all
metrics with their intervals, and a note on everything in which its rows differ from the training
rows (unknown words, missing cells, other sizes and rates, numbers out of range, other shares of
classes). The result is kept apart, in RUN/eval/on_<table>….json or where --out says.

    mmx eval RUN other.csv

Data that has moved is named: data_dir=DIR, target.path=FILE, target.root=DIR.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mmx.errors import UsageError
from mmx.evaluation.alignment import measure_alignment
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict, predict_encoded
from mmx.evaluation.subsets import compute_prior
from mmx.experiment import Experiment, assemble
from mmx.experiment.opener import is_openers_key
from mmx.json_object import Json, null_undefined
from mmx.objectives import Criterion
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role, StageId
from mmx.stages import load_trained, open_trained
from mmx.stages.core.reload import read_intact
from mmx.stages.core.stage_model import attach_criterion
from mmx.tasks import Target, TaskData
from mmx.tasks.other_table import keep_known_training_rows, number_as_trained
from mmx.terminal import Console
from mmx.training import checkpoint
from mmx.training.precision import choose_device
from mmx.training.randomness import make_deterministic
from mmx.verbs import evaluate_suites
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.evaluate_other import evaluate_other
from mmx.verbs.evaluate_sweep import evaluate_sweep, holds_runs_of_sweep, require_suites
from mmx.verbs.opening import (
    HOW_WRITTEN,
    NOTHING_IS_MADE,
    choose_precision,
    open_config,
    read_key,
    read_typed,
)

NAME = "eval"
SUMMARY = "measure a run's model again on one of its splits"
PLACE = 30
COMPLETES = {"runs": 1}


def main(arguments: Sequence[str]) -> int:
    """Evaluate, and return the exit code."""
    given = _parser().parse_intermixed_args(arguments)
    tables = [word for word in given.settings if "=" not in word]
    more = HOW_WRITTEN if tables else ()
    keys = {word: read_key(word) for word in given.settings}
    moved = [word for word, key in keys.items() if is_openers_key(key) or key in more]
    rate = next((word for word in given.settings if word.startswith("rate=")), None)
    suites = [word for word in given.settings if word not in (*moved, *tables, rate)]
    suites = evaluate_suites.read_suite_names(suites, str(given.run))
    rates = evaluate_suites.read_rates(rate, suites, str(given.run))
    typed = read_typed(moved, "eval", given.run, NOTHING_IS_MADE, more)
    if tables:
        _refuse_beside_table(tables, suites, given)
    console = Console(stderr=True)
    if holds_runs_of_sweep(given.run):
        require_suites(given.run, tables, suites)

        def measure_run(directory: RunDirectory) -> Json:
            own = Namespace(**{**vars(given), "run": directory.path})
            return _measure_run(own, directory, typed, (suites, rates), console, shown=False)

        over_seeds = evaluate_sweep(given.run, suites, bool(rates), measure_run, console)
        print(json.dumps(null_undefined(over_seeds), allow_nan=False))
        return 0
    directory = RunDirectory.open(given.run)
    if tables:
        experiment = _open_experiment(given, directory, typed)
        found = evaluate_other(experiment, directory, Path(tables[0]), given.out, console)
    else:
        found = _measure_run(given, directory, typed, (suites, rates), console)
    print(json.dumps(found, allow_nan=False))
    return 0


def _open_experiment(
    given: Namespace, directory: RunDirectory, typed: Mapping[str, Any]
) -> Experiment:
    """Return a run's experiment, with its data where it is now."""
    directory.require_undamaged()
    directory.require_plain_files()
    config = open_config(directory, directory.config(), typed, device=given.device)
    return assemble(config, list_allowed_packages(given.allow))


def _measure_run(
    given: Namespace,
    directory: RunDirectory,
    typed: Mapping[str, Any],
    asked: tuple[Sequence[str], tuple[float, ...]],
    console: Console,
    *,
    shown: bool = True,
) -> Json:
    """Return the metrics of a run on one of its splits, and what suites find.

    Args:
        given: The command line.
        directory: The run.
        typed: Settings on where its data is.
        asked: Suites, and rates of missing cells.
        console: Where notes and tables are printed.
        shown: Whether tables are.

    Raises:
        UsageError: Suites are asked for, and the run learns without labels.
    """
    suites, rates = asked
    experiment = _open_experiment(given, directory, typed)
    label_free = experiment.role(Role.TARGET).objective.label_free
    if label_free and suites:
        raise UsageError(
            f"suite={','.join(suites)} measures outputs, and the run learns without labels",
            tip=f"mmx eval {given.run}",
        )
    evaluated, criterion = _open(given, experiment, directory, console)
    model, data, precision = evaluated.model, evaluated.data, evaluated.precision
    rows = data.rows(given.split)
    if label_free:
        found = measure_alignment(criterion, predict_encoded(model, data, rows, precision)[2])
    else:
        found = evaluated.metrics(*predict(model, data, rows, precision))
    evaluated = replace(evaluated, rates=rates)
    tables = console if shown else Console(quiet=True)
    said = {given.split: found, **evaluate_suites.run_suites(suites, evaluated, directory, tables)}
    undefined_as_null: Json = null_undefined(said)
    return undefined_as_null


def _refuse_beside_table(tables: Sequence[str], suites: Sequence[str], given: Namespace) -> None:
    """Refuse more than one table, a word that is none, and what measures the run's own splits.

    Raises:
        UsageError: The message says what to type.
    """
    if len(tables) > 1:
        raise UsageError(f"unrecognized arguments: {' '.join(tables[1:])}", tip="mmx eval --help")
    if not Path(tables[0]).suffix and not Path(tables[0]).exists():
        raise UsageError(f"{tables[0]} is neither a setting nor a table", tip="mmx eval --help")
    if suites or given.split != "test":
        what = f"suite={','.join(suites)}" if suites else f"--split {given.split}"
        raise UsageError(
            f"{what} is of the run's own data, and {tables[0]} is other data",
            tip=f"mmx eval {given.run} {tables[0]}",
        )


def _parser() -> Parser:
    parser = Parser("eval", description=__doc__).with_run().with_allow().with_device()
    parser.add_argument("settings", nargs="*", metavar="TABLE|suite=NAME,…", help="see above")
    parser.add_argument("--split", choices=("test", "val", "train"), default="test")
    parser.add_argument("--out", type=Path, help="of TABLE; default: RUN/eval/on_<table>….json")
    parser.add_argument(
        "--seed", type=int, default=0, help="of noise and missing cells; default: 0"
    )
    return parser


def _load_as_trained(
    experiment: Experiment,
    directory: RunDirectory,
    target: Target,
    split: str,
    say: Callable[[str], None],
) -> TaskData:
    """Return the target's data, with classes numbered as a model knows them."""
    task = experiment.target.load()
    if directory.manifest().data.get(Role.TARGET) != task.fingerprint:
        say(
            f"the data of target={experiment.target.name} is not what the run was trained on: "
            "these numbers are of other data"
        )
    name = f"target={experiment.target.name}"
    task = number_as_trained(task, target, task.splits[split], name)
    task, missed = keep_known_training_rows(task)
    if missed:
        say(missed)
    return task


def _open(
    given: Namespace, experiment: Experiment, directory: RunDirectory, console: Console
) -> tuple[evaluate_suites.Evaluated, Criterion]:
    """Return the trained model with its data, and its objective."""
    device = choose_device(experiment.settings.device)
    make_deterministic(experiment.trainer.threads, device)
    precision = choose_precision(directory, experiment)
    trained = load_trained(experiment, directory, device)

    def say(text: str) -> None:
        console.print(f"note: {text}", highlight=False, soft_wrap=True)

    task = _load_as_trained(experiment, directory, trained.target, given.split, say)
    data = open_trained(experiment, trained, task, precision)
    criterion = attach_criterion(experiment, Role.TARGET, trained.model, data, task.target)
    # An objective may have trained with the model, as temperatures and class weights do.
    tensors, _ = read_intact(directory, StageId.TARGET)
    own = checkpoint.take_prefix("criterion", tensors)
    checkpoint.restore(criterion, own, directory.stage_file(StageId.TARGET))

    def metrics(outputs: Tensor, values: Tensor) -> dict[str, float]:
        loss_of = criterion.task_loss
        return measure(outputs, values, trained.target, loss_of, experiment.metric)

    evaluated = evaluate_suites.Evaluated(
        model=trained.model,
        data=data.unlock_test(),
        split=given.split,
        precision=precision,
        target=task.target,
        metrics=metrics,
        prior=compute_prior(
            trained.target.standardize(data.truth(data.rows("train"))), trained.target
        ),
        seed=given.seed,
        metric=experiment.metric,
    )
    return evaluated, criterion
