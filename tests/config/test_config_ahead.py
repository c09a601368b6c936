"""Options that a fork composes while mmx imports torch."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

LINE = [
    "source=none,digits",
    "target=digits_av",
    "fusion=concat,gmu",
    "seed=1,2",
    "trainer.epochs=2",
    "hydra.sweep.dir=x",
]
FORKED = """
import json, os, sys
from functools import partial
from mmx.config import ahead, compose, override_problems
from mmx.config.choose_all import choose_all
from mmx.verbs import train
line, case = json.loads(sys.argv[1]), sys.argv[2]
ahead._count_cores = lambda: 2
print("torch" in sys.modules)
composed = []
whole = compose._hydra_compose
def counting(overrides):
    composed.append(overrides)
    return whole(overrides)
def make():
    if case == "dies":
        os._exit(1)
    if case == "fails":
        raise ValueError
    return choose_all(line, multirun=True)
def compose_jobs():
    with compose.composer():
        texts = [text for text in line if not text.startswith("hydra.")]
        jobs = compose.list_jobs(compose.parse(texts))
        found = [override_problems.check_overrides(compose.parse(job), job) for job in jobs]
    return [repr(each) for each in found]
with ahead.composing_ahead(make):
    compose._hydra_compose = counting
    found = compose_jobs()
    ended = ahead._Ahead.process is None
print(len(found), len(composed), ended)
override_problems.choose_options.cache_clear()
print(compose_jobs() == found, ahead.take(("fusion=concat",)))
"""


def run(case: str) -> list[str]:
    command = [sys.executable, "-c", FORKED, json.dumps(LINE), case]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.slow
def test_a_fork_composes_all_that_a_sweep_chooses():
    assert run("works") == ["False", "8 0 True", "True None"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["dies", "fails"])
def test_without_the_fork_all_is_composed_here(case):
    assert run(case) == ["False", "8 4 True", "True None"]
