"""Phases: in the order the transfer asks for, each found by its name, and own ones from outside."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import check_notes

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.stages.phases.base import StageState, find_runner
from mmx.training import checkpoint
from mmx.transfer.phases import Phase

pytestmark = pytest.mark.slow

OUTSIDE = '''
"""A transfer of somebody else: it trains what it copied, then forgets all but one class."""

from dataclasses import dataclass, replace

import torch

from mmx.transfer import Phase
from mmx.transfer.parameter import Parameter
from mmx.transfer.phases import Snapshot, TrainEpochs


@dataclass(frozen=True)
class Favour(Phase):
    """Leave a head that answers one class, whatever the row."""

    index: int

    def run(self, state):
        moved = not torch.equal(state.snapshot["head.weight"], state.model.head.weight)
        with torch.no_grad():
            state.model.head.weight.zero_()
            state.model.head.bias.zero_()
            state.model.head.bias[self.index] = 1.0
        epochs = state.result.epochs
        return (f"class {state.target.classes[self.index]}, {epochs} epochs, moved: {moved}",)


class Favouring(Parameter):
    """Favours a class.

    Args:
        index: Which.
    """

    def __init__(self, *, index: int = 0) -> None:
        super().__init__()
        self.index = index

    def start(self, source, model, classes):
        names = frozenset({"head.weight"})
        phases = (Snapshot(names), TrainEpochs(), Favour(self.index))
        return replace(super().start(source, model, classes), phases=phases)
'''


def descriptions(kind: type[Phase] = Phase) -> Iterator[type[Phase]]:
    """Yield every phase of mmx's own."""
    for each in kind.__subclasses__():
        if each.__module__.startswith("mmx."):
            yield each
        yield from descriptions(each)


def test_every_phase_of_mmx_is_run_by_the_function_of_its_name() -> None:
    import mmx.transfer.feature  # noqa: F401 its phase is among them

    found = list(descriptions())
    assert len(found) >= 5
    for kind in found:
        phase = object.__new__(kind)
        runner: Any = find_runner(phase)
        assert runner.args == (phase,)
        assert runner.func.__module__ == f"mmx.stages.phases.{kind.name}"
        hints = inspect.get_annotations(runner.func)
        assert list(hints.values()) == [kind.__name__, StageState.__name__, "Notes"], kind


def test_a_phase_that_nothing_runs_is_an_error() -> None:
    class Nameless(Phase):
        pass

    with pytest.raises(TypeError, match=r"^Nameless is a phase with neither a name nor run"):
        find_runner(Nameless())


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the config folder of a package that adds a transfer with a phase of its own."""
    (tmp_path / "favourites.py").write_text(OUTSIDE)
    configs = tmp_path / "configs" / "transfer"
    configs.mkdir(parents=True)
    (configs / "favouring.yaml").write_text(
        "# Favours a class\n_target_: favourites.Favouring\nindex: 0\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield configs.parent
    sys.modules.pop("favourites", None)


def test_a_transfer_from_outside_brings_its_own_phase(
    outside: Path,
    tmp_path: Path,
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = overrides(tables["one"], tables["two"], ("image",), "control=none", "device=cpu")
    words += ["transfer=favouring", "transfer.index=1", f"output_dir={tmp_path}/outputs"]
    assert main(["train", "--config-dir", str(outside), "--allow", "favourites", *words]) == 0
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    check_notes(
        [n for n in summary["notes"] if n.startswith("class ")], ("2 epochs", "True", "class")
    )
    tensors = checkpoint.read_checkpoint(RunDirectory(run).stage_file("target"))[0]
    assert not tensors["head.weight"].any()
    assert torch.equal(tensors["head.bias"], torch.tensor([0.0, 1.0, 0.0]))
    capsys.readouterr()
    assert main(["eval", str(run), "--allow", "favourites"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["accuracy"] == 5 / 15
