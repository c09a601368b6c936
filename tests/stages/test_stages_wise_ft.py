"""The line from the starting weights to the trained ones, and what is kept of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import check_notes
from torch import Tensor

from mmx import execution
from mmx.config import compose
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict
from mmx.experiment import assemble
from mmx.missing.base import Shape
from mmx.missing.mean import Mean
from mmx.model import MultimodalModel
from mmx.runs.directory import RunDirectory
from mmx.runs.stage_facts import LinePoints, StageFacts
from mmx.stages.core.reload import load_trained, open_trained
from mmx.stages.phases import wise_ft as phase
from mmx.stages.phases.wise_ft import (
    ALPHAS,
    SplitMeasure,
    line_points,
    line_tensors,
    measure_line,
    measure_points,
    read_line,
)
from mmx.stages.pipeline import evaluate as evaluation
from mmx.training import checkpoint
from mmx.training.precision import Precision
from mmx.training.recipe import FitResult

pytestmark = pytest.mark.slow

Weights = dict[str, Tensor]
FITTED = FitResult({"accuracy": 0.0, "loss": 9.0}, 1, 1, 1, 0.0, 0.0)


def weights(model: Any) -> Weights:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def trained(bench: Callable[..., Any], **options: Any) -> tuple[Any, Weights, SplitMeasure]:
    """Return a trained bench, its weights before training, and who measures it."""
    run = bench(trainer={"epochs": 2}, **options)
    before = weights(run.model)
    run.fit()
    return run, before, SplitMeasure(run.data, run.target, run.criterion, run.format, 3)


def naive(start: Tensor, end: Tensor, alpha: float) -> Tensor:
    return (1 - alpha) * start.double() + alpha * end.double()


def test_every_point_lies_on_the_line(bench: Callable[..., Any]) -> None:
    run, before, judge = trained(bench)
    after = weights(run.model)
    names = [n for n in before if n.startswith("encoders.") and before[n].is_floating_point()]
    ends = {n: before[n] for n in names}, {n: after[n] for n in names}
    for alpha in ALPHAS:
        judge.place(run.model, ends, alpha)
        for name, tensor in run.model.state_dict().items():
            if name in names:
                expected = naive(before[name], after[name], alpha)
                torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-6)
            else:
                assert torch.equal(tensor, after[name]), name
    judge.place(run.model, ends, 0.0)
    assert all(torch.equal(run.model.state_dict()[name], before[name]) for name in names)
    judge.place(run.model, ends, 1.0)
    assert all(torch.equal(tensor, after[n]) for n, tensor in run.model.state_dict().items())


@pytest.mark.parametrize("kept", [1.0, 0.3])
def test_points_are_measured_in_order_and_the_model_ends_as_it_began(
    bench: Callable[..., Any], kept: float
) -> None:
    run, before, judge = trained(bench)
    after = weights(run.model)
    names = [n for n in before if before[n].is_floating_point()]
    ends = {n: before[n] for n in names}, {n: after[n] for n in names}
    judge.place(run.model, ends, kept)
    held = weights(run.model)
    found = list(measure_points(run.model, judge, ends, kept, "val"))
    assert all(torch.equal(tensor, held[n]) for n, tensor in run.model.state_dict().items())
    for alpha, metrics in zip(ALPHAS, found, strict=True):
        other = copy.deepcopy(run.model)
        with torch.no_grad():
            for name in names:
                other.state_dict()[name].copy_(naive(before[name], after[name], alpha))
        outputs = predict(other, run.data, run.data.rows("val"), run.format)
        expected = measure(*outputs, run.target, run.criterion.task_loss)
        assert metrics == pytest.approx(expected, abs=1e-5), alpha


def with_means(model: MultimodalModel) -> None:
    shapes = {name: Shape(each.pooled, each.levels) for name, each in model.widths.items()}
    model.missing = Mean(shapes)


def test_stand_ins_are_those_of_the_point(bench: Callable[..., Any]) -> None:
    run, before, judge = trained(bench, change=with_means)
    after = weights(run.model)
    names = [n for n in before if "encoders." in n and before[n].is_floating_point()]
    ends = {n: before[n] for n in names}, {n: after[n] for n in names}
    for alpha in (0.0, 0.5, 1.0):
        judge.place(run.model, ends, alpha)
        run.model.eval()
        sums: dict[str, list[Tensor]] = {}
        rows = run.data.rows("train")
        for row in rows:  # one by one: what is absent takes no part
            ((part, stored),) = run.data.batches([rows[rows == row]])
            batch = run.data.assemble(part, stored, augment=False)
            with torch.no_grad():
                encoded = run.model.encode(batch)
            for name, features in encoded.items():
                if batch.present[name].all():
                    vector = torch.cat([features.pooled, *features.levels], dim=1)[0]
                    sums.setdefault(name, []).append(vector)
        expected = torch.cat([torch.stack(sums[name]).mean(0) for name in sorted(sums)])
        torch.testing.assert_close(run.model.missing.mean, expected, rtol=1e-4, atol=1e-5)


def line_of(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float, float]]
) -> Callable[[bool], Any]:
    """Return a sweep over points that are said to have these accuracies and losses.

    The last are those that training found: its point is not measured again.
    """
    *before_it, trained_scores = [dict(zip(("accuracy", "loss"), s, strict=True)) for s in scores]
    run, before, judge = trained(bench)
    after = weights(run.model)
    names = frozenset(n for n in before if "encoders." in n and before[n].is_floating_point())

    def of(best: bool) -> Any:
        run.model.load_state_dict(after)
        said = iter(before_it)
        monkeypatch.setattr(SplitMeasure, "__call__", lambda *_: next(said))
        fitted = replace(FITTED, val=trained_scores)
        found = measure_line(
            run.model, {n: before[n] for n in names}, judge, fitted, keep_best=best
        )
        assert list(said) == []
        return run.model, {n: (before[n], after[n]) for n in names}, found

    return of


RISING = [(0.1 * k, 1.0) for k in range(11)]


@pytest.mark.parametrize(
    ("change", "best"),
    [
        ({}, 1.0),
        ({3: (1.0, 0.5)}, 0.3),
        ({3: (1.0, 1.0)}, 1.0),  # of equals the one nearest to the trained weights
        ({3: (1.0, 1.0), 7: (1.0, 1.0), 10: (0.9, 0.1)}, 0.7),
        ({0: (1.1, 1.0)}, 0.0),
    ],
)
@pytest.mark.parametrize("keeps", [False, True])
def test_the_best_point_on_validation_is_kept_where_asked_for(
    bench: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    change: dict[int, tuple[float, float]],
    best: float,
    keeps: bool,
) -> None:
    scores = [change.get(k, each) for k, each in enumerate(RISING)]
    model, ends, (fitted, line, (note,)) = line_of(bench, monkeypatch, scores)(keeps)
    kept = best if keeps else 1.0
    assert (line.best, line.kept) == (best, kept)
    assert [(each["accuracy"], each["loss"]) for each in line.val] == scores
    for name, (start, end) in ends.items():
        expected = naive(start, end, kept)
        torch.testing.assert_close(
            model.state_dict()[name].double(), expected, rtol=1e-6, atol=1e-6
        )
    accuracy = scores[round(10 * best)][0]
    assert fitted.val == line.val[round(10 * kept)]
    text = (
        f"wise_ft: α = {best:g} is best on validation (accuracy {accuracy:.3f}, the trained "
        f"weights {scores[-1][0]:.3f}, the starting ones {scores[0][0]:.3f})"
    )
    if kept == best:
        assert note == f"{text} and is kept"
    else:
        check_notes([note], (text, "transfer.wise_ft=best", "weights"))


@pytest.mark.parametrize("keeps", [False, True])
def test_a_line_comes_back_from_a_checkpoint(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keeps: bool
) -> None:
    scores = [(0.9, 1.0), *RISING[1:-1], (0.5, 1.0)]
    model, _, (_, line, _) = line_of(bench, monkeypatch, scores)(keeps)
    own = model.state_dict()
    ends = {name.split(".")[1] for name in line_tensors(line)}
    assert ends == ({"start", "end"} if keeps else {"start"})  # the end is the model itself
    path = tmp_path / "some.safetensors"
    points = line_points(line)
    assert points is not None
    checkpoint.write_checkpoint(path, {**own, **line_tensors(line)}, points.to_json())
    found, facts = checkpoint.read_checkpoint(path)
    tensors, again = read_line(found, LinePoints.from_json(facts), torch.device("cpu"))
    assert tensors.keys() == own.keys()
    assert again is not None
    assert (again.val, again.best, again.kept) == (line.val, line.best, line.kept)
    for mine, other in ((line.start, again.start), (line.end, again.end)):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    assert read_line({"a": torch.ones(1)}, None, torch.device("cpu"))[1] is None
    assert (line_tensors(None), line_points(None)) == ({}, None)


# Whole runs

TWO = ("image", "tabular")
MORE = (
    "control=none",
    "precision=fp32",
    "missing=mean",
    "optimizer.lr=0.05",
    "transfer.wise_ft=best",
    "transfer.lp_ft=true",
)


@pytest.fixture
def line(overrides: Any, tables: dict[str, Path]) -> Callable[..., list[str]]:
    return lambda *more: overrides(tables["one"], tables["two"], TWO, *MORE, *more)


def kept(run: RunDirectory) -> dict[str, Any]:
    found = {k: v for k, v in run.summary().items() if k not in ("run", "timing")}
    assert found
    return found


def ignored(event: Any) -> None:
    pass


def test_a_run_keeps_tests_and_reopens_the_best_point(
    train: Any, line: Callable[..., list[str]]
) -> None:
    given = line()
    run = train(*given)
    summary = run.summary()
    found = summary["transfer"]["wise_ft"]
    assert list(found["alpha"]) == [f"{alpha:g}" for alpha in ALPHAS]
    assert found["metric"] == "accuracy"
    assert 'aria-label="accuracy over α"' in (run.path / "report.html").read_text()
    best = max(
        found["alpha"],
        key=lambda a: (
            found["alpha"][a]["val"]["accuracy"],
            -found["alpha"][a]["val"]["loss"],
            float(a),
        ),
    )
    assert found["best"] == found["kept"] == float(best)
    assert found["best"] < 1  # else this would not tell the points apart
    point = found["alpha"][best]
    assert summary["target"]["metrics"] == point
    values = {text: each["test"]["loss"] for text, each in found["alpha"].items()}
    assert len(set(values.values())) == 11
    # read back, the model is the point that was kept, stand-ins for missing values included
    with compose.composer():
        composed = compose.compose_job([*given, "trainer.threads=1", "device=cpu"])
    experiment = assemble(composed.config)
    precision = Precision("fp32", torch.device("cpu"))
    loaded = load_trained(experiment, run, precision.device)
    task = experiment.target.load()
    data = open_trained(experiment, loaded, task, precision).unlock_test()
    outputs, truth = predict(loaded.model, data, data.rows("test"), precision)
    right = (outputs.argmax(1) == truth).double().mean().item()
    assert right == pytest.approx(point["test"]["accuracy"])
    loss = torch.nn.functional.cross_entropy(outputs, truth).item()
    assert loss == pytest.approx(point["test"]["loss"], abs=1e-6)
    # the trained weights at the end of the line are those of the best epoch
    epochs = [e for e in run.metrics() if e["stage"] == "target" and e["split"] == "val"]
    losses = [e["value"] for e in epochs if e["name"] == "loss"]
    assert found["alpha"]["1"]["val"]["loss"] == losses[summary["target"]["best_epoch"] - 1]
    shown = [note for note in summary["notes"] if note.startswith("wise_ft: α = ")]
    assert len(shown) == 1


def test_the_curve_costs_no_training_and_changes_nothing(
    train: Any, tables: dict[str, Path], overrides: Any
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, "control=none", "missing=mean")
    given += ["precision=fp32", "optimizer.lr=0.05"]
    plain, swept = (train(*given, f"transfer.wise_ft={each}") for each in ("none", "curve"))
    one, two = (checkpoint.read_checkpoint(run.stage_file("target")) for run in (plain, swept))
    points = StageFacts.from_json(two[1]).line
    own, line = read_line(two[0], points, torch.device("cpu"))
    assert line is not None
    assert one[0].keys() == own.keys()
    assert all(torch.equal(one[0][name], own[name]) for name in own)
    for name in ("val", "best_epoch", "epochs", "steps"):
        assert one[1]["fitted"][name] == two[1]["fitted"][name], name
    logs = [
        [{k: v for k, v in entry.items() if k != "seconds"} for entry in run.metrics()]
        for run in (plain, swept)
    ]
    assert logs[0] == logs[1]
    assert plain.summary()["target"]["metrics"] == swept.summary()["target"]["metrics"]
    tested = swept.summary()["transfer"]["wise_ft"]["alpha"]["1"]
    assert tested == swept.summary()["target"]["metrics"]
    assert "wise_ft" not in plain.summary()["transfer"]
    assert all(torch.equal(line.end[name], own[name]) for name in line.end)
    assert not all(torch.equal(line.start[name], own[name]) for name in line.start)


@pytest.mark.parametrize(
    ("module", "name"), [(phase, "measure_line"), (evaluation, "describe_tested_line")]
)
def test_a_run_that_dies_around_its_curve_ends_as_if_it_had_not(
    train: Any,
    line: Callable[..., list[str]],
    prepared: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
) -> None:
    whole = train(*line())
    experiment, directory = prepared(line("trainer.checkpoint_seconds=0"), tmp_path)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, name, die)
        assert execution.execute(experiment, directory, ignored)["status"] == "interrupted"
    assert directory.stage_file("target").exists() == (name == "describe_tested_line")
    assert execution.execute(experiment, directory, ignored)["status"] == "done"
    assert kept(directory) == kept(whole)
    one, two = (
        checkpoint.read_checkpoint(run.stage_file("target"))[0] for run in (whole, directory)
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_choice_does_not_depend_on_test_rows(
    train: Any, tables: dict[str, Path], overrides: Any
) -> None:
    text = tables["two"].read_text().splitlines()
    poisoned = [row.replace(",low,", ",high,") if row.endswith(",test") else row for row in text]
    assert poisoned != text
    path = tables["two"].with_name("poisoned_line.csv")
    path.write_text("\n".join(poisoned) + "\n")
    runs = [train(*overrides(tables["one"], each, TWO, *MORE)) for each in (tables["two"], path)]
    one, two = (run.summary()["transfer"]["wise_ft"] for run in runs)
    assert (one["best"], one["kept"]) == (two["best"], two["kept"])
    for alpha in one["alpha"]:
        assert one["alpha"][alpha]["val"] == two["alpha"][alpha]["val"]
    tests = [[each["test"] for each in found["alpha"].values()] for found in (one, two)]
    assert tests[0] != tests[1]
