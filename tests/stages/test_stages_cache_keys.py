"""Every key of a config counts for an artifact, unless a table says why it cannot matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmx.experiment import Experiment, Settings
from mmx.experiment.assemble import PART_KEYS
from mmx.model import MultimodalModel
from mmx.runs.essence import HOW_NOT_WHAT
from mmx.stage_id import Role, StageId
from mmx.stages.core import cache_keys
from mmx.stages.core.cache_keys import Inputs, Reasons
from mmx.stages.core.context import Context
from mmx.stages.core.stage_model import make_model
from mmx.stages.selection.prepare import Prepared, make_context, open_tasks
from mmx.training.events import StopRequest
from mmx.training.trainer import Trainer
from mmx.transfer import Source
from mmx.transfer.scratch import Scratch

TWO = ("image", "tabular")
SETTINGS = [field.name for field in fields(Settings)]
TRAINER = [field.name for field in fields(Trainer)]
OF_ANOTHER_STAGE = {"source": {"epochs"}, "control": {"source_epochs"}}
"""With ``source_epochs`` given: the trainer's key that a stage does not read."""
LINES = {
    "feature": ["transfer=feature"],
    "parameter": ["transfer=parameter", "regularizer=l2_sp", "balance=weights"],
    "label_free": ["source_objective=info_nce"],
    "trunk": ["sharing=trunk"],
    "adapter": ["transfer=adapter"],
}


@dataclass(frozen=True)
class Case:
    """A run that has opened its data: what each kind of artifact depends on in it."""

    context: Context
    begun: Prepared
    model: MultimodalModel

    @property
    def experiment(self) -> Experiment:
        return self.context.experiment

    def describe(self, kind: str, experiment: Experiment) -> Inputs:
        context, target = replace(self.context, experiment=experiment), self.begun.target
        image = self.model.encoders["image"]
        if kind == "source":
            assert self.begun.source is not None
            return cache_keys.describe_source(context, self.begun.source)
        if kind == "control":
            return cache_keys.describe_control(context, target, Scratch(), None)
        if kind == "features":
            return cache_keys.describe_features(context, target, self.model, "image")
        if kind == "channel_weights":
            return cache_keys.describe_channel_weights(context, target, "image", image, 5)
        return cache_keys.describe_mapping(context, StageId.TARGET, target, self.model, ())

    def ignored(self, kind: str) -> Reasons:
        return {
            "source": lambda: cache_keys.list_ignored_by_source(self.experiment),
            "control": lambda: cache_keys.list_ignored_by_control(self.experiment),
            "features": lambda: cache_keys.FEATURES,
            "channel_weights": lambda: cache_keys.CHANNEL_WEIGHTS,
            "mapping": lambda: cache_keys.list_ignored_by_mapping(
                self.experiment, Role.TARGET, self.model
            ),
        }[kind]()


KINDS = ("source", "control", "features", "channel_weights", "mapping")


@pytest.fixture
def case(
    overrides: Callable[..., list[str]], tables: dict[str, Path], prepared: Any, tmp_path: Path
) -> Callable[..., Case]:
    def make(name: str) -> Case:
        words = [*LINES[name], "cache=off", "mapping=pca", "trainer.source_epochs=3"]
        line = overrides(tables["one"], tables["two"], TWO, *words)
        experiment, directory = prepared(line, tmp_path)
        context = make_context(experiment, directory, lambda event: None, StopRequest())
        begun = open_tasks(context)
        ends = begun.target.task.target
        model = make_model(experiment, Role.TARGET, begun.target.specs, ends, Scratch())
        return Case(context, begun, model)

    return make


def change(experiment: Experiment, key: str) -> Experiment:
    """Return the experiment with another value of a root key, which nothing checks."""
    if key in SETTINGS:
        return replace(experiment, settings=replace(experiment.settings, **{key: "changed"}))
    if key == "trainer":
        return change_trainer(experiment, "batch_size")
    node = {**(experiment.config.get(key) or {}), "changed": 1}
    if key == "encoder":
        node = {name: {**each, "changed": 1} for name, each in experiment.config[key].items()}
    return replace(experiment, config={**experiment.config, key: node})


def change_trainer(experiment: Experiment, key: str) -> Experiment:
    return replace(experiment, trainer=replace(experiment.trainer, **{key: 77}))


@pytest.mark.parametrize("name", LINES)
def test_a_root_key_counts_unless_a_reason_says_why_it_cannot_matter(
    name: str, case: Callable[..., Case]
) -> None:
    it = case(name)
    # The task that is read counts as `task` where what is computed belongs to either role.
    of_either = {"features": "target", "channel_weights": "target", "mapping": "target"}
    for kind in KINDS:
        before, ignored = it.describe(kind, it.experiment), it.ignored(kind)
        counts = {
            key: it.describe(kind, change(it.experiment, key)) != before
            for key in [*SETTINGS, *PART_KEYS, "a_key_of_tomorrow"]
        }
        expected = {key: key not in ignored or key == of_either.get(kind) for key in counts}
        assert counts == expected, kind
        assert ignored.keys() <= counts.keys(), kind
        assert all(len(reason) > 5 for reason in ignored.values()), kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_of_the_trainer_counts_where_a_stage_is_trained(
    kind: str, case: Callable[..., Case]
) -> None:
    it = case("parameter")
    before = it.describe(kind, it.experiment)
    counts = {
        key: it.describe(kind, change_trainer(it.experiment, key)) != before for key in TRAINER
    }
    trained = kind in OF_ANOTHER_STAGE
    unread = {*HOW_NOT_WHAT, *OF_ANOTHER_STAGE.get(kind, ())}
    assert counts == {key: trained and key not in unread for key in TRAINER}


def test_what_is_ignored_depends_on_what_a_stage_reads(case: Callable[..., Case]) -> None:
    plain, own, label_free = (case(name) for name in ("feature", "parameter", "label_free"))
    fusion = {"fusion", "match", "match_params"}
    assert fusion <= plain.ignored("source").keys()
    assert not fusion & own.ignored("source").keys()
    assert fusion | {"mapping", "missing", "objective"} <= label_free.ignored("source").keys()
    assert not fusion & label_free.ignored("control").keys()
    trunk, adapter = case("trunk"), case("adapter")
    assert {"sharing", "transfer"} <= plain.ignored("mapping").keys()
    assert "sharing" not in trunk.ignored("mapping")
    assert "transfer" not in adapter.ignored("mapping")


def test_a_setting_left_to_its_default_is_the_setting_written_out(
    case: Callable[..., Case],
) -> None:
    it = case("feature")
    config = {key: value for key, value in it.experiment.config.items() if key != "compile"}
    config["trainer"] = {"epochs": 1}
    shorter = replace(it.experiment, config=config)
    for kind in KINDS:
        assert it.describe(kind, shorter) == it.describe(kind, it.experiment), kind


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("source", {"train", "val"}),
        ("control", {"train", "val"}),
        ("channel_weights", {"train"}),
        ("mapping", {"train"}),
    ],
)
def test_the_rows_that_an_artifact_is_made_from_count(
    case: Callable[..., Case], kind: str, read: set[str]
) -> None:
    it = case("feature")
    opened = it.begun.source if kind == "source" else it.begun.target
    assert opened is not None
    before, whole = it.describe(kind, it.experiment), opened.data.splits
    counts = set()
    for split, rows in whole.items():
        opened.data.splits = {**whole, split: rows[:-1]}
        if it.describe(kind, it.experiment) != before:
            counts.add(split)
    assert counts == read


def test_what_a_control_takes_from_a_source_counts(case: Callable[..., Case]) -> None:
    it = case("feature")
    weights = {"head.bias": torch.tensor([1.0, 2.0])}
    sources = [
        None,
        Source(weights, ("a", "b")),
        Source(weights, ("b", "a")),  # the head's rows are of other classes
        Source({"head.bias": torch.tensor([1.0, 3.0])}, ("a", "b")),
    ]
    keys = [
        cache_keys.describe_control(it.context, it.begun.target, Scratch(), each)["source"]
        for each in sources
    ]
    assert len({repr(key) for key in keys}) == len(sources)


def test_the_digest_of_tensors_is_of_names_types_shapes_and_bits() -> None:
    zeros = torch.zeros(4)
    different = [
        {"a": zeros},
        {"b": zeros},
        {"a": zeros.to(torch.int32)},  # of the same bytes
        {"a": zeros.reshape(2, 2)},
        {"a": torch.tensor([0.0, 0.0, 0.0, -0.0])},  # equal numbers
        {"a": zeros, "b": zeros},
    ]
    digests = {cache_keys.digest_tensors(each) for each in different}
    assert len(digests) == len(different)
    turned = torch.arange(6.0).reshape(2, 3).T  # not contiguous
    assert cache_keys.digest_tensors({"a": turned, "b": zeros}) == cache_keys.digest_tensors(
        {"b": zeros, "a": turned.contiguous()}
    )


def test_a_class_of_a_package_without_files_is_kept_under_no_key(
    case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = case("feature").context
    for code, kept in (({}, {"a": 1}), ({"own": "12"}, {"a": 1, "code": {"own": "12"}})):
        monkeypatch.setattr(cache_keys, "digest_packages", lambda inputs, allowed, code=code: code)
        assert cache_keys.add_code(context, {"a": 1}) == kept
    code = {"own": "12", "typed": None}
    monkeypatch.setattr(cache_keys, "digest_packages", lambda inputs, allowed: code)
    assert cache_keys.add_code(context, {"a": 1}) is None
