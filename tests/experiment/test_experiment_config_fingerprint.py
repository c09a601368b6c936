"""The fingerprint: what an experiment is, not where, how fast or how it was typed."""

from __future__ import annotations

import copy
import functools
import random

import pytest

from mmx.config import compose
from mmx.experiment import assemble
from mmx.experiment.config_fingerprint import fingerprint


@pytest.fixture(scope="module")
def composer():
    with compose.composer():
        yield lambda *overrides: compose.compose_job(overrides).config


@pytest.fixture(scope="module")
def of(composer):
    return functools.cache(lambda *overrides: assemble(composer(*overrides)).fingerprint)


@pytest.fixture(scope="module")
def usual(of):
    return of()


@pytest.mark.parametrize(
    "override",
    [
        "data_dir=/elsewhere",
        "output_dir=/elsewhere",
        "download=true",
        "cache=off",
        "cache_gb=1",
        "trainer.workers=0",
        "trainer.threads=1",
        "trainer.resident=false",
        "trainer.checkpoint_seconds=1",
        "trainer.clip=1",  # 1.0
        "encoder/text=lstm",  # nobody reads text here
    ],
)
def test_where_and_how_fast_do_not_count(of, usual, override):
    assert of(override) == usual


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "control=none",
        "device=cpu",
        "precision=fp32",
        "compile=true",
        "source=none",
        "target=digits",
        "source.name=other",
        "target.per_class=11",
        "target.image.crop=0",
        "encoder/image=resnet18",
        "encoder.audio.mels=32",
        "fusion=gmu",
        "fusion.dropout=0.1",
        "transfer=feature",
        "transfer.layer_decay=0.9",
        "objective.label_smoothing=0.1",
        "optimizer=sgd",
        "optimizer.lr=0.001",
        "trainer.epochs=3",
        "trainer.clip=null",
        "trainer.patience=2",
    ],
)
def test_all_else_counts(of, usual, override):
    assert of(override) != usual


def leaves(node, path=()):
    for key, value in node.items():
        inner = isinstance(value, dict) and value
        yield from leaves(value, (*path, key)) if inner else [(*path, key)]


FREE = {"data_dir", "output_dir", "cache", "cache_gb", "download"} | {
    "workers",
    "threads",
    "resident",
    "checkpoint_seconds",
}


def test_every_key_of_the_config_counts_or_is_listed(composer):
    config = assemble(composer("target=cifar10")).config
    usual = fingerprint(config)
    for path in leaves(config):
        changed = copy.deepcopy(config)
        node = changed
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = "changed"
        assert (fingerprint(changed) == usual) is (path[-1] in FREE), path


def test_the_order_of_keys_and_overrides_does_not_count(of, composer):
    overrides = ["seed=3", "fusion=gmu", "trainer.epochs=2"]
    assert of(*overrides) == of(*reversed(overrides))

    def shuffled(node):
        if not isinstance(node, dict):
            return node
        return {key: shuffled(node[key]) for key in random.Random(0).sample(list(node), len(node))}

    assert fingerprint(shuffled(composer(*overrides))) == fingerprint(composer(*overrides))


@pytest.mark.parametrize("transfer", ["parameter", "feature", "structure", "scratch"])
def test_without_a_source_every_transfer_is_scratch(of, transfer):
    assert of("source=none", f"transfer={transfer}") == of("source=digits", "transfer=scratch")
    assert of("source=none", f"transfer={transfer}", "control=none") == of(
        "source=fsdd", "transfer=scratch"
    )


def test_names_that_look_like_free_keys_count():
    """``data_dir`` may be the name of a class."""
    node = {"_target_": "mmx.transfer.parameter.Parameter"}
    found = {
        fingerprint({"transfer": {**node, "class_map": class_map}})
        for class_map in ({}, {"data_dir": "a"}, {"data_dir": "b"}, {"workers": "a"})
    }
    assert len(found) == 4


def test_lists_and_tuples_are_the_same_and_their_order_counts():
    assert fingerprint({"a": (1, 2)}) == fingerprint({"a": [1.0, 2]})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": True}) != fingerprint({"a": 1})
