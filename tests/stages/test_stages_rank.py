"""Scores and probe of a candidate: right, of the training rows, and blank where they must be."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from mmx.config import compose
from mmx.errors import DataError, TransferError
from mmx.evaluation.short_probe import score_short_probe
from mmx.experiment import Experiment, assemble
from mmx.runs.directory import RunDirectory
from mmx.stages.selection.prepare import drop_test_rows, make_context, prepare
from mmx.stages.selection.rank import Ranked, rank
from mmx.stages.selection.scores import sample_evenly
from mmx.tasks import Target
from mmx.training import checkpoint
from mmx.training.events import Event, StopRequest
from mmx.transfer import Source, Start, Transfer, scores
from mmx.transfer.base import start_fresh
from mmx.transfer.scores import SCORES

Overrides = Callable[..., list[str]]
Tables = dict[str, Path]
TWO = ("image", "tabular")


def experiment(given: list[str], folder: Path) -> Experiment:
    with compose.composer():
        config = compose.compose_job([*given, "trainer.threads=1", "device=cpu"]).config
    return assemble({**config, "output_dir": str(folder)})


def ranked(
    given: list[str], folder: Path, rows: int = 1000, said: list[Event] | None = None
) -> Ranked:
    folder.mkdir(parents=True, exist_ok=True)
    listen = (lambda event: None) if said is None else said.append
    made = experiment(given, folder)
    return rank(make_context(made, RunDirectory(folder), listen, StopRequest()), rows)


def naive_features(given: list[str], folder: Path) -> tuple[Any, Any, Any]:
    """Return classes, features and probabilities of the training rows, by the kept source alone."""
    made = experiment(given, folder)
    task = made.target.load()
    tensors, _ = checkpoint.read_checkpoint(RunDirectory(folder).stage_file("source"))
    context = make_context(made, RunDirectory(folder), lambda event: None, StopRequest())
    begun = prepare(context)
    assert begun.source is not None
    features, probabilities = [], []
    for row in task.splits["train"]:
        found = []
        for name in sorted(made.encoders):
            encoder = made.encoders[name](begun.source.specs[name]).eval()
            start = f"encoders.{name}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            encoder.load_state_dict(own)
            view = begun.target.data.views[name]
            if not view.column.present[row]:
                found.append(torch.zeros(encoder.width))
                continue
            stored = view.encode(np.array([row]))
            with torch.no_grad():
                read = view.modality.prepare(stored, view.spec)
                found.append(encoder(read, stored.lengths).pooled[0])
        features.append(torch.cat(found))
        logits = tensors["head.weight"] @ features[-1] + tensors["head.bias"]
        probabilities.append(logits.softmax(0))
    y = task.values[torch.from_numpy(task.splits["train"])]
    return y, torch.stack(features), torch.stack(probabilities)


def test_scores_are_those_of_the_features_of_the_trained_source(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, "transfer=feature", "precision=fp32")
    found = ranked(given, tmp_path)
    y, x, theta = naive_features(given, tmp_path)
    expected = {
        "logme": scores.logme(x, y),
        "h_score": scores.h_score(x, y),
        "h_score_shrunk": scores.h_score(x, y, shrinkage=True),
        "leep": scores.leep(theta, y),
        "nce": scores.nce(theta.argmax(1), y),
        "transrate": scores.transrate(x, y),
        "knn": scores.knn(x, y, 20),
    }
    assert list(found.scores) == list(SCORES)
    assert {name: found.scores[name] for name in expected} == pytest.approx(expected, rel=1e-4)
    assert (found.rows, found.width, found.blank) == (len(y), x.shape[1], {})
    assert found.modalities == TWO
    assert found.metric == "accuracy"


def rewritten(path: Path, name: str, change: Callable[[dict[str, str]], None]) -> Path:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    copy = path.with_name(name)
    with copy.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return copy


def poison(row: dict[str, str]) -> None:
    if row["split"] == "test":
        row["label"] = {"low": "high", "middle": "low", "high": "middle"}[row["label"]]
        row["a"], row["b"] = "1000", "x"


def test_nothing_depends_on_the_test_rows(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    poisoned = rewritten(tables["two"], "poisoned_rank.csv", poison)
    clean, other = (
        ranked(overrides(tables["one"], path, TWO, "transfer=feature"), tmp_path / path.stem)
        for path in (tables["two"], poisoned)
    )
    kept = [{**asdict(each), "seconds": 0, "source_seconds": 0} for each in (clean, other)]
    assert kept[0] == kept[1]


def test_a_selection_has_no_test_rows(tables: Tables, overrides: Overrides, tmp_path: Path) -> None:
    task = experiment(overrides(None, tables["two"], TWO), tmp_path).target.load()
    assert set(drop_test_rows(task).splits) == {"train", "val"}
    task.splits["val"] = task.splits["val"][:0]
    with pytest.raises(
        DataError, match=r"^two has no val rows, and nothing can be chosen without$"
    ):
        drop_test_rows(task)


NO_SOURCE = "there is no source, and so no source classes"
UNREAD = "the source's head can read no modality of the target"
REGRESSION = ["target.label=number", "target.kind=regression", "objective=mean_squared_error"]
MULTILABEL = ["label=tags", "kind=multilabel"]


@pytest.mark.parametrize(
    ("source", "more", "blank", "metric"),
    [
        (False, [], {"leep": NO_SOURCE, "nce": NO_SOURCE}, "accuracy"),
        (
            False,
            REGRESSION,
            dict.fromkeys(SCORES, "needs classes, and the target is regression"),
            "r2",
        ),
        (
            False,
            [*(f"target.{text}" for text in MULTILABEL), "objective=binary_cross_entropy"],
            dict.fromkeys(SCORES, "needs classes, and the target is multilabel"),
            "f1_macro",
        ),
        (
            True,
            [
                *(f"source.{text}" for text in MULTILABEL),
                "source_objective=binary_cross_entropy",
            ],
            dict.fromkeys(("leep", "nce"), "needs a source of classes, and this one is multilabel"),
            "accuracy",
        ),
        (
            True,
            ["source_objective=info_nce"],
            dict.fromkeys(("leep", "nce"), "the source was trained without labels"),
            "accuracy",
        ),
        (
            True,
            ["transfer=parameter", "target.columns={image: photo, tabular: b}"],
            {},
            "accuracy",
        ),
    ],
)
def test_what_does_not_apply_is_blank_and_says_why(
    tables: Tables,
    overrides: Overrides,
    tmp_path: Path,
    source: bool,
    more: list[str],
    blank: dict[str, str],
    metric: str,
) -> None:
    given = overrides(tables["one"] if source else None, tables["two"], TWO, *more)
    found = ranked(given, tmp_path)
    assert found.blank == blank
    assert set(found.scores) == set(SCORES) - set(blank)
    assert found.metric == metric
    assert np.isfinite(found.probe)


def test_only_what_the_source_gives_is_looked_at(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    given = overrides(tables["one"], tables["two"], TWO, "transfer=feature")
    both = ranked(given, tmp_path / "both")
    alone = [t if "source.columns" not in t else "source.columns={image: photo}" for t in given]
    one = ranked(alone, tmp_path / "one")
    assert (both.modalities, one.modalities) == (TWO, ("image",))
    assert one.width == 8
    assert one.width < both.width
    assert one.rows < both.rows  # rows without an image are not read
    assert one.blank == {}


def test_fresh_features_are_those_of_the_run_itself(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    given = overrides(None, tables["two"], ("image",))
    one, again = ranked(given, tmp_path / "a"), ranked(given, tmp_path / "b")
    other = ranked([*given, "seed=1"], tmp_path / "c")
    assert one.scores == again.scores
    assert one.scores != other.scores
    assert one.source_seconds == 0


def test_a_source_is_trained_once(
    tables: Tables, overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMX_CACHE_DIR", str(tmp_path / "cache"))
    given = overrides(tables["one"], tables["two"], ("image",))
    first = ranked(given, tmp_path / "a")
    second = ranked([*given, "transfer=feature"], tmp_path / "b")
    assert (first.source_cached, second.source_cached) == (False, True)
    assert first.scores == second.scores
    assert first.source_seconds == second.source_seconds > 0


class Nothing(Transfer):
    needs = "weights"

    def start(
        self, source: Source | None, model: torch.nn.Module, classes: tuple[str, ...]
    ) -> Start:
        return start_fresh(model)


def test_a_source_that_gives_nothing_is_refused(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    made = experiment(overrides(tables["one"], tables["two"], ("image",)), tmp_path)
    made = replace(made, transfer=Nothing())
    context = make_context(made, RunDirectory(tmp_path), lambda event: None, StopRequest())
    with pytest.raises(TransferError, match=r"^the source gives nothing to the target's encoders$"):
        rank(context, 100)


def test_validation_rows_without_what_the_source_gives_are_refused(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    def hide(row: dict[str, str]) -> None:
        if row["split"] == "val":
            row["picture"] = ""
            row["a"] = "1"

    hidden = rewritten(tables["two"], "hidden.csv", hide)
    given = overrides(tables["one"], hidden, TWO, "transfer=feature")
    alone = [t if "source.columns" not in t else "source.columns={image: photo}" for t in given]
    with pytest.raises(TransferError, match=r"^no val row of hidden has image$"):
        ranked(alone, tmp_path)


@pytest.mark.parametrize("most", [3, 7, 30, 59])
def test_rows_are_taken_evenly_from_each_class(most: int) -> None:
    random = np.random.default_rng(0)
    values = torch.from_numpy(random.permutation(np.repeat([0, 1, 2], [30, 20, 10])))
    rows = np.sort(random.permutation(100)[:60])
    everything = torch.zeros(100, dtype=torch.int64)
    everything[torch.from_numpy(rows)] = values
    taken = sample_evenly(rows, everything, Target("classes", ("a", "b", "c")), most)
    assert len(taken) == most
    assert list(taken) == sorted(set(taken) & set(rows))
    counts = np.bincount(everything[torch.from_numpy(taken)], minlength=3)
    for count, share in zip(counts, (30, 20, 10), strict=True):
        assert abs(count - share / 60 * most) <= 1
    assert sample_evenly(rows, everything, Target("classes", ("a", "b", "c")), 60) is rows


@pytest.mark.parametrize("width", [3, 40])
def test_the_probe_is_a_ridge_regression(width: int) -> None:
    random = np.random.default_rng(1)
    x = random.normal(2, 3, (30, width)) * np.linspace(1, 50, width)
    x[:, 1] = 7.0  # does not vary
    y = random.integers(0, 3, 30)
    train, val = slice(0, 20), slice(20, 30)
    mean, spread_ = x[train].mean(0), x[train].std(0)
    unit = (x - mean) / np.where(spread_ > 0, spread_, 1)
    ridge = Ridge(alpha=0.01 * 20).fit(unit[train], np.eye(3)[y[train]])
    right = (ridge.predict(unit[val]).argmax(1) == y[val]).mean()
    parts = [(torch.from_numpy(x[part]), torch.from_numpy(y[part])) for part in (train, val)]
    name, value = score_short_probe(parts[0], parts[1], Target("classes", ("a", "b", "c")))
    assert (name, value) == ("accuracy", right)
    number = x[:, 0] - 0.1 * x[:, -1]
    ridge = Ridge(alpha=0.01 * 20).fit(unit[train], number[train])
    parts = [(torch.from_numpy(x[p]), torch.from_numpy(number[p])) for p in (train, val)]
    name, value = score_short_probe(parts[0], parts[1], Target("regression"))
    assert name == "r2"
    assert value == pytest.approx(ridge.score(unit[val], number[val]), rel=1e-4)


def test_the_probe_of_labels_takes_the_likelier() -> None:
    x = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    y = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    assert score_short_probe((x, y), (x, y), Target("multilabel", ("a", "b"))) == ("f1_macro", 1.0)


def test_what_cannot_start_is_said_before_the_source_is_trained(
    overrides: Overrides, tables: Tables, tmp_path: Path
) -> None:
    short = ("target.columns={image: picture, tabular: [b]}", "transfer.min_copied=0.9")
    said: list[Event] = []
    with pytest.raises(TransferError, match=r"^7 of the 8 tensors of the tabular encoder would"):
        ranked(overrides(tables["one"], tables["two"], TWO, *short), tmp_path, said=said)
    assert [event for event in said if event.kind == "stage"] == []
