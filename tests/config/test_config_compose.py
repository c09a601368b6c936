"""A line's options are composed once; keys are then set as Hydra sets them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import catalogue
import pytest
import yaml
from composing import Composed, compose_by_choices, compose_whole
from omegaconf import DictConfig, OmegaConf

from mmx.config import compose, override_problems
from mmx.errors import ConfigError
from mmx.verbs.preflight import preflight
from mmx.verbs.train_line import parse_line


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["seed=1", "trainer.epochs=2"], 1),
        (["-m", "seed=1,2,3"], 1),
        (["-m", "fusion=concat,late_mean", "seed=1,2"], 2),
    ],
)
def test_what_is_chosen_is_composed_once(words, count, monkeypatch):
    composed = []
    whole = compose._hydra_compose

    def counting(overrides):
        composed.append(overrides)
        return whole(overrides)

    with compose.composer():
        compose.compose_job([])  # mmx's own root config, once a process
    override_problems.choose_options.cache_clear()
    monkeypatch.setattr(compose, "_hydra_compose", counting)
    preflight(parse_line(words), [])
    assert len(composed) == count


@pytest.mark.parametrize(
    "keys",
    [
        ["seed=3", "trainer.epochs=2"],
        ["+fusion.more={a: [1, 2]}", "~optimizer.lr", "optimizer.weight_decay=0.5"],
        ["output_dir=${data_dir}/x", "data_dir=/tmp"],
        ["seed=1", "seed=2"],
    ],
)
def test_keys_are_set_as_hydra_sets_them(keys, monkeypatch):
    monkeypatch.setattr(compose, "_hydra_compose", compose_whole)
    options = ["fusion=late_mean", "transfer=feature"]
    with compose.composer():
        chosen = compose.compose_options(options)
        before = compose.compose_job(options)
        assert chosen.set_keys(compose.parse(keys), keys) == compose.compose_job([*options, *keys])
        assert chosen.set_keys((), ()) == before, "setting keys changes no other job"


LINES = (
    "source=none target=digits seed=3",
    "transfer=feature trainer.epochs=2 'target.classes=[cat,dog]'",
    "experiment=fashion seed=1 ~target.split",
    "experiment=fashion +target.columns.audio=x ++trainer.epochs=4",
    "fusion=gmu fusion.width=5 output_dir=a control=none",
    "hydra/launcher=joblib seed=2",
    "source=table target=table source.path=a.csv target.path=b.csv 'source.columns={image: x}'",
)


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES)
def test_setting_keys_in_a_copy_of_the_choices_gives_what_hydra_composes(
    line: str, tmp_path: Path
) -> None:
    def show(tree: DictConfig) -> str:
        found: Any = OmegaConf.to_container(tree, resolve=False)
        del found["hydra"]["job"]["override_dirname"]
        return yaml.safe_dump(found, sort_keys=False)

    words = shlex.split(line)
    with compose.composer():
        whole = compose_whole(words)
        chosen: list[list[str]] = []

        def choose(texts: Sequence[str]) -> DictConfig:
            chosen.append(list(texts))
            return compose_whole(texts)

        for composed in (kept := Composed(tmp_path, choose)), kept, Composed(tmp_path, choose):
            assert show(compose_by_choices(words, composed)) == show(whole)
    keys = [word for word in words if word not in chosen[0]]
    assert all("." in key or key.split("=")[0] in catalogue.root_keys() for key in keys)
    assert len(chosen) == 1


@pytest.mark.parametrize("line", ["seed=1 sead=2", "seed=1,2", "transfer=foo seed=1", "a=[1"])
def test_a_line_with_a_mistake_is_composed_as_a_whole(line: str, tmp_path: Path) -> None:
    chosen: list[Sequence[str]] = []

    def choose(texts: Sequence[str]) -> DictConfig:
        chosen.append(texts)
        return compose_whole(texts)

    with compose.composer(), pytest.raises(Exception, match=r"\w"):
        compose_by_choices(line.split(), Composed(tmp_path, choose))
    assert chosen[-1] == line.split()


@pytest.mark.parametrize(
    "words",
    [
        ["target.columns={image:", "a,", "text:", "[b,", "c]}"],
        ["+extra=[1,", "2]"],
    ],
)
def test_a_value_that_the_shell_has_divided_is_joined_again(words):
    whole = " ".join(words)
    with compose.composer(), pytest.raises(ConfigError) as caught:
        compose.parse(["seed=1", *words, "fusion=gmu"])
    (problem,) = caught.value.problems
    assert (problem.given, problem.type_this) == (whole, f"'{whole}'")
    with compose.composer():
        assert len(compose.parse(["seed=1", whole, "fusion=gmu"])) == 3


def test_a_bracket_that_nothing_closes_is_not_taken_for_a_divided_value():
    with compose.composer(), pytest.raises(ConfigError) as caught:
        compose.parse(["target.columns={image:", "fusion=gmu"])
    assert [each.given for each in caught.value.problems] == ["target.columns={image:"]


@pytest.mark.parametrize("text", ["'1'", '"1"', "01"])
def test_a_seed_written_as_text_is_that_number_everywhere(text: str) -> None:
    with compose.composer():
        written = compose.compose_job([f"seed={text}", "target=table"]).config
        expected = compose.compose_job(["seed=1", "target=table"]).config
    assert written == expected
    assert (written["seed"], written["target"]["split_seed"]) == (1, 1)
    assert type(written["seed"]) is int


UMLAUTS = {"image": {"a": "Bild vorne"}, "tabular": ["Preis (EUR)", "Größe"], "text": "no"}


@pytest.mark.parametrize(
    "written",
    [
        "{image: {a: Bild vorne}, tabular: [Preis (EUR), Größe], text: no}",
        '{image: {a: Bild vorne}, tabular: ["Preis (EUR)", Größe], text: no}',
        '"{image: {a: Bild vorne}, tabular: [Preis (EUR), Größe], text: no}"',
    ],
)
def test_what_a_mapping_with_odd_column_names_says_to_type_is_read(written: str) -> None:
    typed = ["target=table", "target.path=a.csv", "target.label=b", f"target.columns={written}"]
    with pytest.raises(ConfigError) as caught:
        preflight(parse_line(typed), ())
    (problem,) = caught.value.problems
    assert problem.type_this is not None
    (word,) = shlex.split(problem.type_this)
    with compose.composer():
        (override,) = compose.parse([word])
    assert override.value() == UMLAUTS


def test_a_text_that_wants_quotes_is_shown_in_quotes_that_are_read() -> None:
    with compose.composer(), pytest.raises(ConfigError) as caught:
        compose.parse(["target.label=it's (so)"])
    (problem,) = caught.value.problems
    assert problem.type_this is not None
    with compose.composer():
        (override,) = compose.parse(shlex.split(problem.type_this))
    assert override.value() == "it's (so)"


def test_a_table_in_place_of_an_override_is_shown_as_a_target() -> None:
    with compose.composer(), pytest.raises(ConfigError) as caught:
        compose.parse(["things.csv"])
    (problem,) = caught.value.problems
    assert problem.type_this == (
        "target=table target.path=things.csv target.label=<column> "
        "'target.columns={<modality>: <column>}'"
    )


def test_a_bare_key_of_the_target_is_shown_as_that_in_quotes() -> None:
    words = ["target=table", "path=a.csv", "label=b", "columns={image: c, text: d}"]
    with pytest.raises(ConfigError) as caught:
        preflight(parse_line(words), ())
    assert [each.type_this for each in caught.value.problems[:3]] == [
        "target.path=a.csv",
        "target.label=b",
        "'target.columns={image:c,text:d}'",
    ]
