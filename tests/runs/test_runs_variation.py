"""In what jobs differ: by their resolved configs, seed aside, whatever their values look like."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest

from mmx.runs.variation import Variant, format_varied, join_overrides, label_variants

BASE: dict[str, Any] = {
    "seed": 0,
    "target": {"_target_": "mmx.tasks.table.Table", "label": "y", "split_seed": 0, "path": "/t"},
    "fusion": {"_target_": "mmx.fusion.concat.Concat", "width": 8},
    "optimizer": {"_target_": "mmx.training.optimizer.AdamW", "lr": 0.1},
}
UNRESOLVED = {"target": {"split_seed": "${seed}"}}


def job(typed: dict[str, Any], seed: int = 0, **more: Any) -> Variant:
    """Return a job whose line sets values by dotted path."""
    config = copy.deepcopy(BASE)
    config["seed"] = config["target"]["split_seed"] = seed
    for path, value in typed.items():
        node = config
        *above, last = path.split(".")
        for key in above:
            node = node.setdefault(key, {})
        node[last] = value
    given: dict[str, Any] = {"unresolved": UNRESOLVED, "names": {"fusion": "concat"}, **more}
    return Variant(config, config, typed=list(typed), **given)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("shoe size", "shoe type"),
        ("size 'EU'", "size 'US'"),
        ('a"b', 'a"c'),
        ("x=1", "x=2"),
        ("x=1 seed=2", "x=1 seed=3"),
        ("a,b", "a, b"),
        ("größe", "große"),
        ("two\nlines", "two lines"),
        ("1", "1.0"),
        ("null", "none"),
        ("[a]", "[b]"),
        ("", " "),
        ("\x1b[1m", "\x1b[2m"),
        ("1", 1),
        ("null", None),
        ("true", True),
        (["a,b"], ["a", "b"]),
        (["a"], "[a]"),
        ({"k": "v"}, {"k": ["v"]}),
        ({"k": "v"}, {"l": "v"}),
        ("absent", "…"),
    ],
)
def test_two_values_are_two_groups_of_their_seeds(one: Any, two: Any) -> None:
    found = label_variants(
        [job({"target.label": value}, seed) for value in (one, two) for seed in range(2)]
    )
    assert found[0] == found[1] != found[2] == found[3]
    for label in found:
        assert list(label) == ["target.label"]
        assert label["target.label"].isprintable()


def test_a_value_of_the_seed_makes_groups_of_one_seed() -> None:
    jobs = [job({"optimizer.lr": seed}, seed) for seed in (1, 2, 3)]
    assert label_variants(jobs) == [{"optimizer.lr": str(seed)} for seed in (1, 2, 3)]


def test_the_seeds_own_values_make_no_groups() -> None:
    assert label_variants([job({}, seed) for seed in range(3)]) == [{}] * 3
    inner = {"unresolved": {**UNRESOLVED, "fusion": {"seed": "${seed}"}}}
    assert (
        label_variants([job({"fusion.seed": seed}, seed, **inner) for seed in range(3)]) == [{}] * 3
    )


def test_a_split_seed_that_was_set_is_a_value_like_any_other() -> None:
    jobs = [
        job({"target.split_seed": split}, seed, unresolved={"target": {"split_seed": split}})
        for split, seed in itertools.product(range(2), range(2))
    ]
    assert [each["target.split_seed"] for each in label_variants(jobs)] == ["0", "0", "1", "1"]


def test_a_choice_stands_for_all_that_follows_from_it() -> None:
    def chosen(name: str, width: int, seed: int) -> Variant:
        node = {"_target_": f"mine.{name.upper()}", "width": width, name: 1}
        found = job({}, seed, names={"fusion": name})
        config = {**found.config, "fusion": node}
        return Variant(config, config, UNRESOLVED, {"fusion": name}, ["fusion", "seed"])

    jobs = [chosen(name, 8, seed) for name in "ab" for seed in range(2)]
    assert label_variants(jobs) == [{"fusion": name} for name in "aabb"]
    jobs = [chosen(name, width, 0) for name in "ab" for width in (8, 16)]
    assert label_variants(jobs) == [
        {"fusion": name, "fusion.width": width} for name in "ab" for width in ("8", "16")
    ]


def test_classes_of_one_name_are_told_apart() -> None:
    jobs = [job({"fusion._target_": f"{module}.Sum"}) for module in ("one", "two")]
    assert len({tuple(label.items()) for label in label_variants(jobs)}) == 2


def test_a_whole_experiment_is_called_by_its_name_where_that_says_all() -> None:
    def of(name: str, seed: int, **typed: Any) -> Variant:
        found = job({"optimizer.lr": {"a": 0.1, "b": 0.2}[name[0]], "epochs": 3, **typed}, seed)
        choices = {"experiment": name}
        return Variant(found.config, found.what, UNRESOLVED, {}, ["experiment", *typed], choices)

    jobs = [of(name, seed) for name in "ab" for seed in range(2)]
    assert label_variants(jobs) == [{"experiment": name} for name in "aabb"]
    jobs = [of("a", 0), of("a_again", 1)]  # two names of what is one group
    assert label_variants(jobs) == [{}, {}]
    jobs = [of(name, 0, width=width) for name in "ab" for width in (1, 2)]
    assert label_variants(jobs) == [{"experiment": n, "width": w} for n in "ab" for w in ("1", "2")]


def test_equal_numbers_are_one_group_however_they_were_typed() -> None:
    jobs = [job({"optimizer.lr": lr}, seed) for seed, lr in enumerate((1, 1.0, 0.5))]
    whole = [
        Variant(each.config, {**each.what, "optimizer": {"lr": value}}, typed=["optimizer.lr"])
        for each, value in zip(jobs, (1, 1, 0.5), strict=True)
    ]
    assert label_variants(whole) == [
        {"optimizer.lr": "1", "target.split_seed": "0"},
        {"optimizer.lr": "1", "target.split_seed": "1"},
        {"optimizer.lr": "0.5", "target.split_seed": "2"},
    ]


def test_a_path_is_shown_from_here_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / "my data" / "one.csv", "/elsewhere/two.csv"]
    found = label_variants([job({"target.path": str(path)}) for path in paths])
    assert found == [{"target.path": "my data/one.csv"}, {"target.path": "/elsewhere/two.csv"}]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["{here}/a b.csv", "a b.csv"], ["a b.csv", '"a b.csv"']),
        (["a.csv", "{here}/a.csv"], ["a.csv", '"{here}/a.csv"']),
        (["null", '"null"', "{here}/null"], ['"null"', r'"\"null\""', '"{here}/null"']),
    ],
)
def test_paths_that_look_the_same_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, paths: list[str], expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [path.replace("{here}", str(tmp_path)) for path in paths]
    found = label_variants(
        [job({"target.path": path}, seed=seed) for path in given for seed in (1, 2)]
    )
    texts = [label["target.path"] for label in found]
    wanted = [text.replace("{here}", str(tmp_path)) for text in expected]
    assert texts == [text for text in wanted for _ in (1, 2)]


def test_overrides_on_one_line_can_be_told_apart() -> None:
    assert join_overrides(["seed=1", "a=[b,c]", "d={e: f}"]) == 'seed=1 a=[b,c] "d={e: f}"'
    assert join_overrides(["a=b c=d"]) != join_overrides(["a=b", "c=d"])
    assert format_varied([1.0, None, "a b"]) == "[1.0,null,a b]"


def test_folders_of_models_are_shown_as_they_were_typed() -> None:
    """They count by the digest of their files, and nobody knows a model by that."""

    def start(model: str, digest: str) -> Variant:
        one = job({"encoder.text.model": model})
        what = {**copy.deepcopy(BASE), "encoder": {"text": {"weights": digest}}}
        return Variant(one.config, what, typed=["encoder.text.model"])

    jobs = [start("models/a", "1" * 32), start("models/b", "2" * 32), start("c/copy", "1" * 32)]
    labels = label_variants(jobs)
    assert labels[:2] == [{"encoder.text.model": "models/a"}, {"encoder.text.model": "models/b"}]
    assert labels[2] == labels[0]  # the same weights in another folder


def test_runs_that_differ_in_fold_and_repeat_are_one_group() -> None:
    folds = {"target.folds": 2}
    jobs = [
        job({**folds, "target.fold": fold, "target.repeat": repeat, "fusion.width": width})
        for width in (8, 16)
        for fold in (1, 2)
        for repeat in (1, 2)
    ]
    labels = label_variants(jobs)
    assert labels == [{"fusion.width": "8"}] * 4 + [{"fusion.width": "16"}] * 4


def test_a_fold_of_the_source_that_follows_the_targets_is_no_difference() -> None:
    unresolved = {**UNRESOLVED, "source": {"fold": "${target.fold}"}}
    follow, fixed = (
        [job({"target.fold": fold, "source.fold": fold}, unresolved=given) for fold in (1, 2)]
        for given in (unresolved, UNRESOLVED)
    )
    assert label_variants(follow) == [{}, {}]
    assert len({tuple(label.items()) for label in label_variants(fixed)}) == 2
