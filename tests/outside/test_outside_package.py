"""A package that mmx knows nothing of brings a part of each kind: files and YAMLs, no edits."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from mmx.cli import main
from mmx.contract.world import World, of_batch
from mmx.modalities import StepRows
from mmx.runs.directory import RunDirectory
from mmx.training.checkpoint import read_facts

HERE = Path(__file__).parent
CONFIGS = HERE / "configs"
OWN = ("--config-dir", str(CONFIGS), "--allow", "outside_parts")
QUICK = (
    *("source=digits", "source.limit=40", "encoder/image=flat", "trainer.epochs=1"),
    *("trainer.threads=1", "device=cpu", "cache=off", "control=none"),
)
DIGITS = ("target=digits", "target.limit=40")
LINES: dict[tuple[str, ...], set[str]] = {
    ("target=stripes", "transfer=warm", "regularizer=nearness", "fusion=summed"): {
        *("stripes", "warm", "nearness", "summed", "flat")
    },
    (
        *(*DIGITS, "regularizer=nearness", "objective=brier", "mapping=scaled"),
        *("missing=passing", "balance=halved", "optimizer=rmsprop"),
    ): {"nearness", "brier", "scaled", "passing", "halved", "rmsprop", "flat"},
    (*DIGITS, "transfer=nearest_mean"): {"nearest_mean", "flat"},
    (*DIGITS, "transfer=firsts", "objective=small"): {"firsts", "small", "flat"},
    (*DIGITS, "transfer=thirds"): {"thirds", "flat"},
    (*DIGITS, "transfer=shift"): {"shift", "flat"},
    (*DIGITS, "calibration=cooled"): {"cooled", "flat"},
    (*DIGITS, "transfer=halves", "control=scratch"): {"halves", "flat"},
}
"""What is typed to what of the package the run is to be made of."""


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the package where Python finds it, and forget it afterwards."""
    monkeypatch.syspath_prepend(str(HERE))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "outside_parts"]:
        del sys.modules[name]


def parts_in(node: Any) -> set[str]:
    """Return the files of the package whose classes a config names."""
    if not isinstance(node, dict):
        return set()
    module = str(node.get("_target_")).split(".")
    own = {module[1]} if module[0] == "outside_parts" else set()
    return own.union(*(parts_in(item) for item in node.values()))


@pytest.mark.parametrize("words", LINES, ids=lambda words: words[-1])
def test_trains(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert main(["train", *OWN, *QUICK, f"output_dir={tmp_path}", *words]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert parts_in(yaml.safe_load((run / "config.yaml").read_text())) == LINES[words]
    summary = json.loads((run / "summary.json").read_text())
    assert 0 <= summary["target"]["metrics"]["test"]["accuracy"] <= 1


class Own(torch.nn.Module):
    """What a user has trained elsewhere: the layer of ``Flat``."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3 * 8 * 8, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1)).relu()


class OwnNormed(Own):
    """The same, and a norm behind it, as ``Flat`` has with ``norm=true``."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(16)


X = torch.zeros(2, 3, 8, 8)
SAVED: dict[str, Callable[[torch.nn.Module, Path], object]] = {
    "own.pth": lambda net, path: torch.save(net.state_dict(), path),
    "own.safetensors": lambda net, path: save_file(net.state_dict(), path),
    "own.pt": lambda net, path: torch.jit.save(torch.jit.trace(net, X), path),
    "own.pt2": lambda net, path: torch.export.save(torch.export.export(net, (X,)), path),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAVED)
def test_weights_of_an_own_class_are_a_source(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """State dict, TorchScript and exported program: their tensors, whatever wrote them."""
    net, path = Own(), tmp_path / name
    SAVED[name](net, path)
    quick = [each for each in QUICK if not each.startswith("source")]
    words = ["train", *OWN, *quick, *DIGITS, "source=published", "transfer=feature"]
    words += [f"output_dir={tmp_path}", f"encoder.image.weights={path}"]
    assert main([*words, "control=scratch"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    left_out = read_facts(RunDirectory.open(run).stage_file("target"))["published"]["image"]
    assert left_out["name"] == name
    assert {each.rpartition(".")[2] for each in left_out["tensors"]} == {"weight", "bias"}
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["published"]["image"]["origin"] == str(path)
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary["control"]) == {"scratch"}
    SAVED[name](Own(width=8), path)
    capsys.readouterr()
    assert main(words) != 0
    said = capsys.readouterr().err
    assert "layer.weight: shape (8, 192) in the file, (16, 192) in the network" in said


def test_a_mode_and_an_optimizer_that_may_forget_published_weights_are_noted(
    tmp_path: Path,
) -> None:
    """The traits ``encoder_rate`` and ``is_adaptive`` decide, not who wrote the parts."""
    path = tmp_path / "own.pth"
    torch.save(OwnNormed().state_dict(), path)

    def read_notes(*more: str) -> list[str]:
        quick = [each for each in QUICK if not each.startswith("source")]
        words = ["train", *OWN, *quick, *DIGITS, "source=published", "transfer=warm", *more]
        words += [f"encoder.image.weights={path}", "encoder.image.norm=true"]
        output = tmp_path / str(len(list(tmp_path.iterdir())))
        assert main([*words, f"output_dir={output}"]) == 0
        (run,) = (output / "runs").iterdir()
        notes = RunDirectory.open(run).summary()["notes"]
        return [each for each in notes if "fine-tuned" in each]

    (note,) = read_notes("optimizer=rmsprop", "optimizer.lr=0.004")
    assert note.endswith("optimizer.lr=0.0001, or transfer.slowed=0.025")
    assert read_notes("optimizer=rmsprop", "optimizer.lr=0.004", "transfer.slowed=0.025") == []
    assert read_notes("optimizer=sgd", "optimizer.lr=0.004") == []


def test_a_calibration_with_one_temperature_has_it_in_the_summary(tmp_path: Path) -> None:
    words = [*QUICK, *DIGITS, f"output_dir={tmp_path}", "calibration=cooled"]
    assert main(["train", *OWN, *words]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    found = RunDirectory.open(run).read_summary().target.calibration
    assert found is not None
    assert (found.method, found.temperature, found.scale) == ("cooled", 2.0, [0.5] * 10)


def test_every_file_of_the_package_is_trained() -> None:
    files = {path.stem for path in (HERE / "outside_parts").glob("*.py")} - {"__init__"}
    assert set.union(*LINES.values()) == files
    assert {path.stem for path in CONFIGS.rglob("*.yaml")} == files


CHECKED = (
    *("nearness:Nearness", "summed:Summed", "flat:Flat", "brier:Brier", "scaled:Scaled"),
    *("passing:Passing", "nearest_mean:NearestMean", "small:Small", "stripes:Stripes name=stripes"),
)


@pytest.mark.parametrize("named", CHECKED)
def test_check_looks_at_it(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *f"outside_parts.{named}".split()]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("sizes", [[12], [5, 1, 6], [1] * 12])
def test_the_parts_of_an_accumulated_step_count_the_rows_that_have_a_modality(
    sizes: list[int],
) -> None:
    kind = import_module("outside_parts.nearness").Nearness
    world = World()
    here = world.batch = of_batch(world.batch, lambda x: x[:12])
    assert not all(there.all() for there in here.present.values())
    penalty = kind().bind(world.make_context()).to(world.dtype)
    rows, parts = StepRows(here.target, here.present), []
    for at in torch.arange(12).split(sizes):
        some = replace(of_batch(here, lambda x, at=at: x[at]), complete=frozenset())
        parts.append(penalty.part(world.step(some), rows))
    torch.testing.assert_close(sum(parts), penalty(world.step()))


@pytest.mark.parametrize(
    ("mode", "accepted"), [("adapter", ["none"]), ("structure", ["none", "rkd", "similarity"])]
)
def test_a_mode_that_cannot_hold_it_says_which_it_holds(
    mode: str, accepted: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = (*QUICK, f"output_dir={tmp_path}", "regularizer=nearness", f"transfer={mode}")
    assert main(["train", *OWN, *words]) == 2
    said = capsys.readouterr().err
    assert f"regularizer=nearness: has nothing to hold under transfer={mode}" in said
    (line,) = [line for line in said.splitlines() if line.strip().startswith("accepted:")]
    assert set(accepted) <= set(line.split(":")[1].strip().split(", "))
    assert "l2_sp" not in line
