"""``calibration=``: fitted on validation, kept with the model, and what it changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refusals import Refusal, check_refusals

from mmx.calibration import Rescaling, suspend_calibration
from mmx.calibration.temperature import Temperature
from mmx.errors import ConfigError
from mmx.evaluation.predict import predict
from mmx.experiment import assemble
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import TargetResult
from mmx.stage_id import StageId
from mmx.stages import load_trained, open_trained
from mmx.training import checkpoint
from mmx.training.data import Data
from mmx.training.precision import Precision

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SMALL = ("trainer.epochs=3", "trainer.workers=0", "optimizer.lr=0.03", "cache=off")


def words(path: Path, label: str = "label", **options: str) -> list[str]:
    given = {"path": str(path), "name": path.stem, "label": label, "columns": "{tabular: [a, b]}"}
    given |= {"split": "split", **options}
    target = [f"target.{key}={value}" for key, value in given.items()]
    return ["source=none", "target=table", *target, *SMALL, "control=[majority]"]


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
