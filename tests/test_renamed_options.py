"""Words of earlier versions lead to those of this one, and configs of earlier runs still open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmx import renamed_options
from mmx.config import compose
from mmx.config.locate import find_options
from mmx.config.override_problems import check_overrides
from mmx.errors import ConfigError, Problem, RunError
from mmx.experiment import assemble
from mmx.renamed_options import (
    NODES,
    WORDS,
    find_key,
    translate_config,
    translate_names,
    translate_overrides,
    translate_summary,
)
from mmx.runs.directory import read_config

Node = dict[str, Any]
CROSS_ENTROPY = {
    "_target_": "mmx.objectives.cross_entropy.CrossEntropy",
    "label_smoothing": 0.0,
    "temperature": 1.0,
    "class_weights": "none",
}
FOCAL = "mmx.objectives.focal.Focal"
CONFIGS = Path(__file__).parents[1] / "configs"
FEATURE = "mmx.transfer.feature.Feature"
COMBINED = "mmx.objectives.combined.Combined"
INFO_NCE = {"_target_": "mmx.objectives.info_nce.InfoNce", "width": 64}
BALANCE = {"_target_": "mmx.balance.focal.Focal", "gamma": 1.5}
SIZES = {"width": 64, "depth": 3}


def trunk(*, modalities: bool, classifier: bool = False) -> Node:
    return {
        "_target_": "mmx.sharing.trunk.Trunk",
        **SIZES,
        "modalities": modalities,
        "classifier": classifier,
    }


def stated(option: str) -> Node:
    """Return a transfer mode's node with every option stated, as its YAML has it."""
    node: Node = yaml.safe_load((CONFIGS / "transfer" / f"{option}.yaml").read_text())
    return node


ENTRIES: dict[tuple[str, str], tuple[Node, Node]] = {
    ("sharing", "mmx.sharing.architecture.Architecture"): (
        SIZES,
        {"sharing": trunk(modalities=False)},
    ),
    ("sharing", "mmx.sharing.modalities.Modalities"): (SIZES, {"sharing": trunk(modalities=True)}),
    ("sharing", "mmx.sharing.parameters.Parameters"): (
        SIZES,
        {"sharing": trunk(modalities=True, classifier=True)},
    ),
    ("sharing", "mmx.sharing.tasks.Tasks"): (SIZES, {"sharing": trunk(modalities=False)}),
    ("sharing", "mmx.sharing.tasks_modalities.TasksModalities"): (
        SIZES,
        {"sharing": trunk(modalities=True)},
    ),
    ("balance", "mmx.balance.focal.Focal"): (
        {"gamma": 1.5},
        {
            "balance": {},
            "objective": {"_target_": FOCAL, "gamma": 1.5, "class_weights": "none"},
            "source_objective": CROSS_ENTROPY,
        },
    ),
    ("objective", "mmx.objectives.contrastive.Contrastive"): (
        {"width": 64},
        {"objective": INFO_NCE},
    ),
    ("source_objective", "mmx.objectives.contrastive.Contrastive"): (
        {"width": 64},
        {"source_objective": INFO_NCE},
    ),
    ("transfer", FEATURE): (
        {"head": "linear", "frozen": False, "normalize": None, "min_copied": 0.25},
        {"transfer": {**stated("parameter"), "fusion": "encoders_alone", "min_copied": 0.25}},
    ),
}


def config_of(group: str, node: Node) -> Node:
    """Return the config of a run with a source, with one node of an earlier version."""
    with compose.composer():
        found = compose.compose_job(["source=digits_av", "target=digits_av"]).config
    return {**found, "objective": CROSS_ENTROPY, group: node}


def test_every_entry_is_tested() -> None:
    assert ENTRIES.keys() == NODES.keys()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry[1])
def test_a_node_of_an_earlier_version(entry: tuple[str, str]) -> None:
    group, target = entry
    options, expected = ENTRIES[entry]
    old = config_of(group, {"_target_": target, **options})
    new = translate_config(old)
    assert {key: value for key, value in new.items() if old[key] != value} == expected
    assert old[group]["_target_"] == target, "the run's own config stays as it was"
    if expected.get("objective") == INFO_NCE:
        new = {**new, "source": {}}
    assemble(new)


def test_a_config_of_this_version_is_left_alone() -> None:
    for node in ({}, {"_target_": FEATURE, "head": "knn"}):
        config = config_of("transfer", node)
        assert translate_config(config) is config


def test_an_encoder_that_was_drawn_fresh_keeps_its_scale() -> None:
    """Its images were centred otherwise: a checkpoint would read others."""
    node = {"_target_": "mmx.encoders.image.resnet.ResNet18", "weights": None, "stem": "small"}
    old = {"encoder": {"image": {**node, "pretrained": False}, "text": {"width": 8}}}
    assert translate_config(old) == {
        "encoder": {"image": {**node, "normalization": "centered"}, "text": {"width": 8}}
    }
    assert "pretrained" in old["encoder"]["image"]
    assert translate_overrides(["encoder.image.pretrained=false", "seed=1"], old) == ["seed=1"]


@pytest.mark.parametrize("given", [{"pretrained": True}, {"pretrained": False, "weights": "w.pth"}])
def test_an_encoder_that_started_from_published_weights_is_refused(given: Node) -> None:
    old = {"encoder": {"image": {"_target_": "mmx.encoders.image.resnet.ResNet18", **given}}}
    with pytest.raises(RunError, match=r"encoder\.image from published weights"):
        translate_config(old)


def test_the_old_key_leads_to_the_source() -> None:
    found = find_key("encoder.image.pretrained", "true")
    assert found is not None
    assert found.typed == "source=published"


def test_encoders_that_are_frozen_are_no_longer_said_to_be() -> None:
    config = {"transfer": {"_target_": FEATURE, "frozen": True, "head": "knn"}}
    assert translate_config(config) == {"transfer": {"_target_": FEATURE, "head": "knn"}}
    names = {"transfer": "mine"}
    assert translate_names(names, config) == names
    summary = {"transfer": {"mode": "feature"}}
    assert translate_summary(summary, config) is summary


def test_a_summary_names_the_mode_of_now() -> None:
    config = {"transfer": {"_target_": FEATURE, "frozen": False}}
    summary = {"gain": {"value": 0.5}, "transfer": {"mode": "feature", "copied": 3}}
    assert translate_summary(summary, config) == {
        "gain": {"value": 0.5},
        "transfer": {"mode": "parameter", "copied": 3},
    }
    assert summary["transfer"]["mode"] == "feature"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"head": "mlp"}, "head=mlp"), ({"head": "linear", "normalize": True}, "normalize=true")],
)
def test_a_head_that_fine_tuning_does_not_have_is_refused(options: Node, said: str) -> None:
    config = {"transfer": {"_target_": FEATURE, "frozen": False, **options}}
    with pytest.raises(RunError) as error:
        translate_config(config)
    assert f"transfer=feature, frozen=false and {said}," in error.value.message
    assert error.value.tip is not None
    assert "version" in error.value.tip


def with_focal(objective: Node, **others: Node) -> Node:
    return translate_config({"objective": objective, "balance": BALANCE, **others})


def test_the_focal_balance_of_an_objective_with_weights_or_a_focal_one() -> None:
    weighed = with_focal({**CROSS_ENTROPY, "class_weights": [1.0, 2.0]})
    assert weighed["objective"] == {"_target_": FOCAL, "gamma": 1.5, "class_weights": [1.0, 2.0]}
    assert "source_objective" not in weighed, "there is no source"
    again = with_focal({"_target_": FOCAL, "gamma": 3.0, "class_weights": "balanced"})
    assert again["objective"] == {"_target_": FOCAL, "gamma": 1.5, "class_weights": "balanced"}
    own = with_focal(CROSS_ENTROPY, source={"name": "a"}, source_objective=INFO_NCE)
    assert own["source_objective"] == INFO_NCE


def test_the_focal_balance_of_a_sum() -> None:
    terms = {"info_nce": 0.1, "cross_entropy": 2.0}
    options = {"info_nce": {"width": 8}, "cross_entropy": {"class_weights": "balanced"}}
    found = with_focal({"_target_": COMBINED, "terms": terms, "options": options})
    assert found["objective"] == {
        "_target_": COMBINED,
        "terms": {"info_nce": 0.1, "focal": 2.0},
        "options": {"info_nce": {"width": 8}, "focal": {"gamma": 1.5, "class_weights": "balanced"}},
    }
    usual = with_focal({"_target_": COMBINED, "terms": None, "options": None})["objective"]
    assert usual["terms"] == {"focal": 1.0}


@pytest.mark.parametrize(
    "objective",
    [
        {"_target_": COMBINED, "terms": {"cross_entropy": 1.0, "focal": 1.0}},
        {"_target_": "mine.Loss"},
    ],
)
def test_what_cannot_be_said_any_more_is_refused(objective: Node) -> None:
    with pytest.raises(RunError, match="earlier mmx with balance=focal and objective ") as error:
        with_focal(objective)
    assert error.value.tip is not None
    assert "version" in error.value.tip


def test_a_name_is_kept_where_the_part_is_what_it_was() -> None:
    config = {"sharing": {"_target_": "mmx.sharing.tasks.Tasks"}, "fusion": {"_target_": "a.B"}}
    names = {"sharing": "tasks", "fusion": "mine", "encoder/image": "small_cnn"}
    assert translate_names(names, config) == {"fusion": "mine", "encoder/image": "small_cnn"}


def test_a_config_is_translated_where_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = yaml.safe_dump({"sharing": {"_target_": "mmx.sharing.tasks.Tasks", **SIZES}})
    path.write_text(text)
    assert read_config(path) == {"sharing": trunk(modalities=False)}
    assert path.read_text() == text


SOURCE = {"source": {"name": "digits"}}
OVERRIDES = {
    "sharing=tasks sharing.width=8": "transfer=joint sharing=trunk sharing.modalities=false "
    "sharing.width=8",
    "transfer=joint sharing=tasks_modalities": "transfer=joint sharing=trunk",
    "balance=focal balance.gamma=3 seed=1": "objective=focal objective.gamma=3 seed=1 "
    "source_objective=cross_entropy",
    "balance=focal objective=cross_entropy objective.class_weights=balanced": "objective=focal "
    "source_objective=cross_entropy objective.class_weights=balanced "
    "source_objective.class_weights=balanced",
    "source_objective=contrastive": "source_objective=info_nce",
    "fusion=gmu seed=3": "fusion=gmu seed=3",
}


@pytest.mark.parametrize("old", OVERRIDES)
def test_overrides_that_a_run_recorded(old: str) -> None:
    assert translate_overrides(old.split(), SOURCE) == OVERRIDES[old].split()


@pytest.mark.parametrize(
    ("old", "frozen", "new"),
    [
        (
            "transfer=feature transfer.frozen=false transfer.head=linear transfer.min_copied=0.1",
            False,
            "transfer=parameter transfer.fusion=encoders_alone transfer.min_copied=0.1",
        ),
        ("transfer=feature transfer.frozen=True seed=1", True, "transfer=feature seed=1"),
    ],
)
def test_overrides_of_a_mode_that_may_have_trained_encoders(
    old: str, frozen: bool, new: str
) -> None:
    config = {**SOURCE, "transfer": {"_target_": FEATURE, "frozen": frozen}}
    assert translate_overrides(old.split(), config) == new.split()


def test_a_run_without_a_source_has_no_objective_for_it() -> None:
    assert translate_overrides(["balance=focal"], {"source": None}) == ["objective=focal"]


# --- what is typed


EVERY = [(group, option) for group, named in WORDS.items() for option in named]


def compose_and_assemble(words: Sequence[str], extra: Sequence[Path] = ()) -> None:
    with compose.composer(extra):
        composed, problems = check_overrides(compose.parse(words), words, extra)
    if problems:
        raise ConfigError(problems)
    assemble(composed.config)


@pytest.mark.parametrize(("group", "option"), EVERY)
def test_what_an_old_word_leads_to_can_be_typed(group: str, option: str) -> None:
    assert option not in find_options(group)
    source = "none" if group == "objective" else "digits_av"
    words = WORDS[group][option].typed.split()
    compose_and_assemble([f"source={source}", "target=digits_av", *words])


@pytest.mark.parametrize("value", ["false", "true"])
def test_what_an_old_key_leads_to_can_be_typed(value: str, tmp_path: Path) -> None:
    line = ["source=digits_av", "target=digits_av", "transfer=feature"]
    (found,) = problems_of([*line, f"transfer.frozen={value}"], tmp_path)
    assert found.given == f"transfer.frozen={value}"
    assert found.type_this is not None
    assert found.type_this.startswith(
        {"false": "transfer=parameter ", "true": "transfer=feature"}[value]
    )
    compose_and_assemble([*line[:2], *found.type_this.split()])


def problems_of(words: Sequence[str], extra: Path) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as error:
        compose_and_assemble(words, [extra])
    return error.value.problems


def test_an_old_word_in_a_files_defaults(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = "# @package _global_\ndefaults:\n  - override /sharing: tasks\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    (found,) = problems_of(["experiment=mine"], tmp_path)
    assert found.given == "sharing=tasks"
    assert found.type_this == WORDS["sharing"]["tasks"].typed


def test_an_old_class_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "sharing").mkdir()
    text = "# one's own\n_target_: mmx.sharing.tasks_modalities.TasksModalities\nwidth: 3\n"
    (tmp_path / "sharing" / "mine.yaml").write_text(text)
    (found,) = problems_of(["source=digits_av", "target=digits_av", "sharing=mine"], tmp_path)
    assert found.given == "sharing._target_=mmx.sharing.tasks_modalities.TasksModalities"
    assert found.type_this == "transfer=joint sharing=trunk"


def test_an_old_class_is_found_by_its_group() -> None:
    assert renamed_options.find_class("mmx.objectives.contrastive.Contrastive") is not None
    assert renamed_options.find_class("mmx.balance.focal.Focal") is not None
    assert renamed_options.find_class("mmx.objectives.focal.Focal") is None
    assert renamed_options.find_class("mine.sharing.tasks.Tasks") is None
