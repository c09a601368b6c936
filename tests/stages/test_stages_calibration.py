"""``calibration=``: fitted on validation, kept with the model, and what it changes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refusals import Refusal, check_refusals

from mmx import execution
from mmx.calibration import Rescaling, suspend_calibration
from mmx.calibration.temperature import Temperature
from mmx.cli import main
from mmx.errors import ConfigError
from mmx.evaluation.predict import predict
from mmx.experiment import Experiment, assemble
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import TargetResult
from mmx.stage_id import StageId
from mmx.stages import load_trained, open_trained
from mmx.training import checkpoint
from mmx.training.data import Data
from mmx.training.events import Event
from mmx.training.precision import Precision

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL = ("trainer.epochs=3", "trainer.workers=0", "optimizer.lr=0.03", "cache=off")


def words(path: Path, label: str = "label", **options: str) -> list[str]:
    given = {"path": str(path), "name": path.stem, "label": label, "columns": "{tabular: [a, b]}"}
    given |= {"split": "split", **options}
    target = [f"target.{key}={value}" for key, value in given.items()]
    rest = ["control=[majority]", "precision=fp32"]  # as open_run computes
    return ["source=none", "target=table", *target, *SMALL, *rest]


def open_run(run: RunDirectory) -> tuple[torch.nn.Module, Data, Precision]:
    experiment = assemble(run.config())
    trained = load_trained(experiment, run, CPU)
    precision = Precision.choose("fp32", CPU)
    data = open_trained(experiment, trained, experiment.target.load(), precision)
    return trained.model, data, precision


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_is_fitted_on_validation_kept_and_used_by_whoever_loads_the_model(
    train: Callable[..., RunDirectory], tables: dict[str, Path], method: str
) -> None:
    plain = train(*words(tables["one"]))
    run = train(*words(tables["one"]), f"calibration={method}")
    model, data, precision = open_run(run)
    assert isinstance(model.calibration, Rescaling)
    with suspend_calibration(model):
        raw, values = predict(model, data, data.rows("val"), precision)
    reference, _, _ = open_run(plain)
    assert torch.equal(raw, predict(reference, data, data.rows("val"), precision)[0])
    found, _ = predict(model, data, data.rows("val"), precision)
    assert torch.equal(found, raw * model.calibration.scale + model.calibration.offset)
    summary = run.read_summary().target
    assert summary.calibration is not None
    assert summary.calibration.method == method
    assert summary.calibration.scale == pytest.approx(model.calibration.scale.tolist())
    val = summary.calibration.splits["val"]
    loss = torch.nn.functional.cross_entropy(found, values)
    assert val.log_loss_after == pytest.approx(float(loss), abs=1e-6)
    assert val.log_loss_after < val.log_loss_before
    assert summary.metrics["val"]["loss"] == pytest.approx(val.log_loss_after, abs=1e-6)
    assert sum(each.count for each in val.after) == len(values)
    if method == "temperature":
        scale, _ = Temperature().fit(raw.double().numpy(), values.numpy(), "classes")
        assert summary.calibration.temperature == pytest.approx(1 / scale[0])
        accuracy = plain.read_summary().target.metrics["test"]["accuracy"]
        assert summary.metrics["test"]["accuracy"] == accuracy
    page = (run.path / "report.html").read_text()
    assert "Reliability" in page
    assert "Reliability" not in (plain.path / "report.html").read_text()


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_predictions_are_the_rescaled_outputs(
    train: Callable[..., RunDirectory], tables: dict[str, Path], tmp_path: Path, method: str
) -> None:
    run = train(*words(tables["one"]), f"calibration={method}", "precision=fp32")
    model, data, precision = open_run(run)
    with suspend_calibration(model):
        raw, _ = predict(model, data.unlock_test(), data.splits["test"], precision)
    fitted = run.read_summary().target.calibration
    assert fitted is not None
    wanted = (raw * torch.tensor(fitted.scale) + torch.tensor(fitted.offset)).softmax(1)
    out = tmp_path / "p.csv"
    assert main(["predict", str(run.path), "--output", str(out)]) == 0
    with out.open() as file:
        lines = [*csv.DictReader(file)]
    found = [[float(line[each]) for each in line if each.startswith("p(")] for line in lines]
    torch.testing.assert_close(torch.tensor(found), wanted, atol=1e-6, rtol=0)
    assert not torch.allclose(raw.softmax(1), wanted, atol=1e-4)


def test_a_resumed_run_and_a_repeated_one_are_calibrated_alike(
    train: Callable[..., RunDirectory],
    prepared: Callable[[list[str], Path], tuple[Experiment, RunDirectory]],
    tables: dict[str, Path],
    tmp_path: Path,
) -> None:
    given = [*words(tables["one"]), "calibration=temperature"]
    whole = train(*given)
    assert main(["reproduce", str(whole.path)]) == 0
    experiment, directory = prepared(given, tmp_path / "stopped")

    def stop_in_first_epoch(event: Event) -> None:
        if event.kind == "epoch" and event.epoch == 1:
            raise KeyboardInterrupt

    stopped = execution.execute(experiment, directory, stop_in_first_epoch)
    assert stopped["status"] == "interrupted"
    opened = assemble(directory.config())
    assert execution.execute(opened, directory, lambda event: None)["status"] == "done"
    one, other = (each.summary()["target"] for each in (whole, directory))
    assert one["calibration"] == other["calibration"]
    tensors = [
        checkpoint.read_checkpoint(each.stage_file(StageId.TARGET))[0]
        for each in (whole, directory)
    ]
    assert torch.equal(*(each["calibration.scale"] for each in tensors))


@pytest.mark.parametrize("form", ["pt2", "safetensors"])
def test_an_export_holds_the_calibration(
    train: Callable[..., RunDirectory], tables: dict[str, Path], tmp_path: Path, form: str
) -> None:
    run = train(*words(tables["one"]), "calibration=temperature")
    folder = tmp_path / "exported"
    assert main(["export", str(run.path), "--format", form, "--out", str(folder)]) == 0
    about = json.loads((folder / "model.json").read_text())
    fitted = run.read_summary().target.calibration
    assert fitted is not None
    assert about["calibration"]["scale"] == pytest.approx(fitted.scale)
    assert about["checked"]["largest_difference"] <= 1e-5


def test_without_it_files_are_as_before(
    train: Callable[..., RunDirectory], tables: dict[str, Path]
) -> None:
    run = train(*words(tables["one"]))
    tensors, _ = checkpoint.read_checkpoint(run.stage_file(StageId.TARGET))
    assert not [name for name in tensors if name.startswith("calibration")]
    assert "calibration" not in run.config()
    assert "calibration" not in run.read_summary().target.to_json()
    assert TargetResult().calibration is None


def test_numbers_have_no_probabilities(
    prepared: Callable[..., object], tables: dict[str, Path], tmp_path: Path
) -> None:
    numbers = ["target.kind=regression", "objective=mean_squared_error"]
    given = [*words(tables["one"], "number"), *numbers, "calibration=temperature"]
    with pytest.raises(ConfigError) as error:
        prepared(given, tmp_path)
    facts = ("one", "regression", "classes", "multilabel")
    expected = Refusal("calibration=temperature", facts, type_this="calibration=none")
    check_refusals(error.value.problems, [expected])
