"""A line's options are composed once; keys are then set as Hydra sets them."""

from __future__ import annotations

import pytest

from mmx.config import compose, override_problems
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
        compose.compose([])  # mmx's own root config, once a process
    override_problems._choose.cache_clear()
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
def test_keys_are_set_as_hydra_sets_them(keys):
    options = ["fusion=late_mean", "transfer=feature"]
    with compose.composer():
        chosen = compose.compose_choices(options)
        before = compose.compose(options)
        assert chosen.set_keys(compose.parse(keys), keys) == compose.compose([*options, *keys])
        assert chosen.set_keys((), ()) == before, "setting keys changes no other job"
