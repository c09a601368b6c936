"""``metric=``: what selects, is compared and stated as gain, from config to summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from refusals import Refusal, check_refusals

from mmx.errors import ConfigError
from mmx.metrics import find_built_in
from mmx.metrics.log_loss import LogLoss
from mmx.metrics.mae import Mae
from mmx.reports.run_gain import RunGain
from mmx.reports.summary_lines import format_gain_sentence
from mmx.reports.sweep_gains import compute_gains
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.runs.summary import ChosenMetric

Prepared = Callable[..., tuple]  # type: ignore[type-arg]


def words(path: Path, label: str, **options: str) -> list[str]:
    given = {"path": str(path), "name": path.stem, "label": label, "columns": "{tabular: [a, b]}"}
    given |= {"split": "split", **options}
    return [
        "source=none",
        "target=table",
        *(f"target.{key}={value}" for key, value in given.items()),
        "trainer.epochs=4",
        "trainer.workers=0",
        "optimizer.lr=0.03",
        "cache=off",
        "control=[majority]",
    ]


def read_epochs(run: RunDirectory, name: str) -> list[float]:
    lines = run.metrics()
    return [e["value"] for e in lines if (e["split"], e["name"]) == ("val", name)]


def test_a_loss_selects_its_smallest_and_a_gain_in_it_is_positive_where_it_falls(
    train: Callable[..., RunDirectory], tables: dict[str, Path]
) -> None:
    run = train(*words(tables["one"], "label"), "metric=log_loss")
    summary, epochs = run.read_summary(), read_epochs(run, "log_loss")
    assert summary.target.best_epoch == 1 + int(np.argmin(epochs))
    assert summary.target.metrics["val"]["log_loss"] == min(epochs)
    assert summary.target.metric == ChosenMetric(name="log_loss", lower_is_better=True)
    gain, test = summary.gain, summary.target.metrics["test"]["log_loss"]
    assert gain is not None
    assert gain.interval is not None
    assert (gain.metric, gain.lower_is_better) == ("log_loss", True)
    control = summary.control["majority"].metrics["test"]["log_loss"]
    assert gain.value == pytest.approx(control - test)
    assert gain.interval[0] <= gain.value <= gain.interval[1]
    assert "lower is better" in format_gain_sentence(gain)
    assert summary.target.chance is not None
    assert summary.target.chance.metric == "log_loss"
    kept = sample_scores.read_scores(run)
    assert kept is not None
    assert kept[0].form == LogLoss()
    assert kept[0].value == pytest.approx(test)
    assert kept[1]["majority"].value == pytest.approx(control)


def test_a_sweep_reads_the_sign_of_the_gain(
    train: Callable[..., RunDirectory], tables: dict[str, Path]
) -> None:
    numbers = ["target.kind=regression", "objective=mean_squared_error", "metric=mae"]
    given = [*words(tables["one"], "number"), *numbers]
    runs = [train(*given), train(*given, "seed=1")]
    (found,) = compute_gains({(): [run.path for run in runs]}).found
    each = [RunGain.read(run) for run in runs]
    wanted = np.mean([run.controls["majority"] - run.target for run in each])
    assert found.gain.value == pytest.approx(wanted)
    assert found.gain.lower_is_better
    assert found.higher == sum(run.target < run.controls["majority"] for run in each)
    assert found.gain.interval is not None
    assert found.gain.interval[0] <= wanted <= found.gain.interval[1]
    kept = sample_scores.read_scores(runs[0])
    assert kept is not None
    assert kept[0].form == Mae()


def test_a_ranked_metric_of_labels_is_stored_answer_by_answer(
    train: Callable[..., RunDirectory], tables: dict[str, Path]
) -> None:
    labels = ["target.kind=multilabel", "objective=binary_cross_entropy"]
    run = train(*words(tables["one"], "tags"), *labels, "metric=average_precision")
    summary, kept = run.read_summary(), sample_scores.read_scores(run)
    assert kept is not None
    assert kept[0].statistics.shape == (len(kept[0].rows), 4)  # two labels: scores and truth
    assert kept[0].value == pytest.approx(summary.target.metrics["test"]["average_precision"])


def test_without_a_choice_the_config_is_that_of_older_runs(
    train: Callable[..., RunDirectory], tables: dict[str, Path]
) -> None:
    run = train(*words(tables["one"], "label"))
    assert "metric" not in run.config()
    summary = run.read_summary()
    assert summary.gain is not None
    assert summary.gain.to_json().keys() == {
        "metric", "value", "interval", "control", "learned", "verdict",
    }  # fmt: skip
    assert summary.target.chance is not None
    assert summary.target.chance.to_json().keys() == {"accuracy", "samples"}
    assert set(summary.target.metrics["test"]) == {"loss", "accuracy", "f1_macro"}


def test_a_metric_of_another_kind_of_target_is_refused(
    prepared: Prepared, tables: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        prepared([*words(tables["one"], "label"), "metric=r2"], tmp_path)
    served = [name for name, kind in find_built_in().items() if "classes" in kind.kinds]
    check_refusals(
        error.value.problems,
        [
            Refusal(
                "metric=r2",
                ("one", "classes", "regression"),
                accepted=", ".join(["auto", *served]),
                type_this="metric=auto",
            )
        ],
    )


def test_a_metric_without_a_value_on_validation_rows_is_refused_before_training(
    run_in: Callable[[list[str], Path], RunDirectory], tables: dict[str, Path], tmp_path: Path
) -> None:
    lines = tables["one"].read_text().splitlines()
    kept = [line for line in lines if not line.endswith("val") or ",high," not in line]
    path = tables["one"].parent / "few.csv"
    path.write_text("\n".join(kept) + "\n")
    with pytest.raises(
        AssertionError, match=r"auroc is undefined on the \d+ validation rows.*high"
    ):
        run_in([*words(path, "label"), "metric=auroc"], tmp_path)


def test_on_test_rows_it_is_null_by_name(
    train: Callable[..., RunDirectory], tables: dict[str, Path]
) -> None:
    lines = tables["one"].read_text().splitlines()
    kept = [line for line in lines if not line.endswith("test") or ",high," not in line]
    path = tables["one"].parent / "untested.csv"
    path.write_text("\n".join(kept) + "\n")
    summary = train(*words(path, "label"), "metric=auroc").read_summary()
    assert math.isnan(summary.target.metrics["test"]["auroc"])
    assert summary.gain is not None
    assert summary.gain.verdict == "no verdict: a metric is no number"
    assert any("auroc is undefined on the" in note and "'high'" in note for note in summary.notes)
