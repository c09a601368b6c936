"""Callbacks of one's own: what they are told, in which order, and what they may not do."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mmx import execution
from mmx.callbacks import Callback, EndFacts, EpochFacts, StageEndFacts
from mmx.callbacks.calling import call_callbacks
from mmx.cli import main
from mmx.errors import CallbackError
from mmx.experiment import Experiment
from mmx.runs.directory import RunDirectory

OWN = """
from mmx.callbacks import Callback


class Announce(Callback):
    def __init__(self, *, word: str = "at"):
        self.word = word

    def on_epoch(self, facts):
        with open("said.txt", "a") as file:
            file.write(f"{self.word} {facts.stage} {facts.epoch}\\n")

    def on_end(self, facts):
        with open("said.txt", "a") as file:
            file.write(f"{self.word} the end: {facts.summary['target']['task']}\\n")


class Fails(Callback):
    def on_epoch(self, facts):
        raise KeyError("no such thing")
"""
Prepared = Callable[..., tuple[Experiment, RunDirectory]]


class Records(Callback):
    def __init__(self, name: str, told: list[Any]) -> None:
        self.name, self.told = name, told

    def on_epoch(self, facts: EpochFacts) -> None:
        self.told.append((self.name, facts.stage, facts.epoch))
        with pytest.raises(FrozenInstanceError):
            facts.epoch = 7  # type: ignore[misc]
        with pytest.raises(TypeError):
            facts.values["val.accuracy"] = 1.0  # type: ignore[index]

    def on_stage(self, facts: StageEndFacts, model: nn.Module) -> None:
        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        count = sum(each.numel() for each in model.parameters())
        self.told.append((self.name, facts.stage, facts.epochs, facts.cached, count > 0))

    def on_end(self, facts: EndFacts) -> None:
        assert (facts.run / "report.html").exists()
        facts.summary["seed"] = 99  # type: ignore[index]  # a copy: nobody sees it
        self.told.append((self.name, facts.summary["target"]["task"]))


@pytest.fixture
def tiny(tables: dict[str, Path], overrides: Callable[..., list[str]]) -> list[str]:
    return overrides(None, tables["one"], ("tabular",))


def execute(prepared: Prepared, tiny: list[str], folder: Path, *callbacks: Callback) -> Any:
    experiment, directory = prepared(tiny, folder)
    experiment = replace(experiment, callbacks=callbacks)
    return execution.execute(experiment, directory, lambda event: None), directory


def test_order_facts_and_numbers(tiny, prepared, once, tmp_path):
    told: list[Any] = []
    outcome, directory = execute(
        prepared, [*tiny, "control=scratch"], tmp_path, Records("a", told), Records("b", told)
    )
    assert outcome["status"] == "done"
    each = [("target", 1), ("target", 2), ("target", 2, False, True), ("one",)]
    assert told == [(name, *facts) for facts in each for name in ("a", "b")]
    plain = once([*tiny, "control=scratch"])
    for key in ("target", "seed", "gain", "params"):
        assert directory.summary().get(key) == plain.summary().get(key)


def test_an_exception_names_its_callback_and_fails_the_run(tiny, prepared, tmp_path):
    class Breaks(Callback):
        def on_epoch(self, facts: EpochFacts) -> None:
            if facts.epoch == 2:
                raise ValueError("I do not like it")

    outcome, directory = execute(prepared, tiny, tmp_path, Breaks())
    assert (outcome["status"], outcome["exit_code"], outcome["expected"]) == ("failed", 1, True)
    assert "Breaks raised ValueError in on_epoch: I do not like it" in outcome["error"]
    assert "I do not like it" in (directory.path / "traceback.txt").read_text()


def test_a_model_that_was_changed_is_an_error(tiny, prepared, tmp_path):
    class Changes(Callback):
        def on_stage(self, facts: StageEndFacts, model: nn.Module) -> None:
            next(model.parameters()).data.mul_(2)

    outcome, _ = execute(prepared, tiny, tmp_path, Changes())
    assert "Changes" in outcome["error"]
    assert "changed the model of stage target" in outcome["error"]


def test_random_generators_are_put_back():
    class Draws(Callback):
        def on_epoch(self, facts: EpochFacts) -> None:
            torch.manual_seed(7)
            np.random.seed(7)  # noqa: NPY002
            random.seed(7)

    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    call_callbacks([Draws()], "on_epoch", EpochFacts(Path(), "target", 1, {}))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]
    with pytest.raises(CallbackError, match="raised SystemExit"):
        call_callbacks([Leaves()], "on_epoch", EpochFacts(Path(), "target", 1, {}))


class Leaves(Callback):
    def on_epoch(self, facts: EpochFacts) -> None:
        sys.exit(3)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return a package of one's own in the working directory."""
    (tmp_path / "own_hooks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMX_ALLOW", "")
    path, modules = list(sys.path), set(sys.modules)
    yield "own_hooks"
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("own_hooks"):
            del sys.modules[name]


def test_from_the_command_line_only_where_allowed(own, tiny, tmp_path, capsys):
    line = ["train", *tiny, "control=none", "callbacks=[{_target_: own_hooks.Announce, word: now}]"]
    assert main(line) == 2
    assert "--allow own_hooks" in capsys.readouterr().err
    assert not (tmp_path / "said.txt").exists()
    assert main([*line, "--allow", "own_hooks"]) == 0
    run = Path(capsys.readouterr().out.splitlines()[-1])
    said = (tmp_path / "said.txt").read_text().splitlines()
    assert said == ["now target 1", "now target 2", "now the end: one"]
    assert RunDirectory.open(run).config()["callbacks"][0]["word"] == "now"
    # A reproduction runs no code of the run's own, and so needs no permission.
    assert main(["reproduce", str(run)]) == 0
    assert (tmp_path / "said.txt").read_text().splitlines() == said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("callbacks={_target_: own_hooks.Announce}", "callbacks={_target_: own_hooks.Announce}"),
        ("callbacks=[{_target_: own_hooks.Announce, wrod: x}]", "callbacks[0].word"),
        ("callbacks=[{_target_: mmx.fusion.concat.Concat}]", "not a kind of Callback"),
        ("callbacks=[{_target_: own_hooks.Missing}]", "does not exist"),
    ],
)
def test_refusals(own, tiny, capsys, given, said):
    assert main(["train", *tiny, given, "--allow", "own_hooks"]) == 2
    assert said in capsys.readouterr().err
