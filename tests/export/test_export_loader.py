"""``run_model.py`` without mmx answers raw pictures, sounds, texts and cells as ``mmx predict``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmx.runs.directory import RunDirectory

Loading = Callable[[Path, list[dict[str, Any]]], list[Any]]
Predicting = Callable[[Path, Path], list[dict[str, str]]]
FORMATS = ("onnx", "pt2")


def read_raw(table: Path) -> list[dict[str, Any]]:
    """Return the rows of a table as ``rows.json`` holds them."""
    with table.open(newline="") as file:
        cells = list(csv.DictReader(file))
    rows = []
    for row in cells:
        raw: dict[str, Any] = {"tabular": {"a": row["a"] or None, "b": row["b"]}}
        if row["picture"]:
            raw["image"] = str(table.parent / row["picture"])
        if row["sound"]:
            raw["audio"] = str(table.parent / row["sound"])
        raw["text"] = row["words"]
        rows.append(raw)
    return rows


@pytest.fixture(scope="module")
def run(
    train: Callable[..., RunDirectory],
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
) -> Path:
    more = ("target.tabular.categorical=[b]", "fusion=gated", "control=none")
    more += ("calibration=temperature", "precision=fp32")  # that of an export
    return train(*overrides(None, tables["two"], ("image", "audio", "text", "tabular"), *more)).path


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_raw_inputs_are_answered_as_by_predict(
    name: str,
    run: Path,
    tables: dict[str, Path],
    exporting: Callable[..., Path],
    loading: Loading,
    predicting: Predicting,
    tmp_path: Path,
) -> None:
    folder = exporting(run, name, tmp_path / "out")
    found = loading(folder, read_raw(tables["one"]))
    wanted = predicting(run, tables["one"])
    assert len(found) == len(wanted) == 48
    for answer, row in zip(found, wanted, strict=True):
        assert list(answer) == ["high", "low", "middle"]
        for label, chance in answer.items():
            assert abs(chance - float(row[f"p({label})"])) < 1e-5
    code = (folder / "run_model.py").read_text()
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 30
    about = json.loads((folder / "model.json").read_text())
    assert about["checked"]["largest_difference"] <= 1e-5
    assert about["checked"]["rows"] == 15
    assert about["checked"]["ways_to_leave_inputs_out"] == 9
    assert about["calibration"]["scale"][0] > 0
    assert about["inputs"]["text"]["shape"] == ["batch", "steps"]
    assert about["inputs"]["audio"]["lengths"] == "audio.lengths"
    assert {each.name for each in folder.iterdir()} == {
        *("README.md", "LICENCES.md", "model.json", "readers", "run_model.py", f"model.{name}"),
    }
    assert "| `image` | path of an image file | uint8 |" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_safetensors_are_built_again_by_mmx(
    run: Path, exporting: Callable[..., Path], tmp_path: Path
) -> None:
    import torch

    from mmx.experiment import assemble
    from mmx.export.rebuild import rebuild
    from mmx.stages import load_trained

    folder = exporting(run, "safetensors", tmp_path / "out")
    directory = RunDirectory.open(run)
    own = load_trained(assemble(directory.config()), directory, torch.device("cpu")).model
    again = rebuild(folder).model.state_dict()
    for name, tensor in own.state_dict().items():
        assert torch.equal(again.pop(name), tensor)
    assert not again


def test_a_difference_fails_by_name_and_leaves_nothing(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mmx.cli import main
    from mmx.export.formats.safetensors import Safetensors

    opened = Safetensors.open

    def shift(self: Safetensors, folder: Path, allowed: Any) -> Any:
        program = opened(self, folder, allowed)

        def run_shifted(tensors: Any) -> Any:
            outputs, answers = program(tensors)
            return outputs + 0.001, answers

        return run_shifted

    monkeypatch.setattr(Safetensors, "open", shift)
    out = tmp_path / "deep" / "out"
    assert main(["export", str(run), "--format", "safetensors", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "the safetensors model answers otherwise than the run, by up to 0.001" in said
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said", "tip"),
    [
        (["--format", "onxx"], "accepted: onnx, pt2, safetensors", "--format onnx"),
        (["fusion=gated"], "mmx export changes where a run's data is", "mmx reproduce"),
    ],
)
def test_what_cannot_be_is_refused(
    words: list[str], said: str, tip: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmx.cli import main

    assert main(["export", str(run), *words]) != 0
    err = capsys.readouterr().err
    assert said in err
    assert tip in err


def test_what_no_format_can_describe_leads_to_the_run_itself(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmx.cli import main
    from mmx.errors import DataError
    from mmx.export.inputs.image import ImageInput

    def refuse(self: ImageInput) -> None:
        raise DataError("only code could describe it")

    monkeypatch.setattr(ImageInput, "describe", refuse)
    assert main(["export", str(run), "--format", "safetensors"]) == 1
    err = capsys.readouterr().err
    assert "image: only code could describe it" in err
    assert f"tip: mmx predict {run} <table>" in err


def test_a_folder_with_something_in_it_is_not_overwritten(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmx.cli import main

    (tmp_path / "kept.txt").write_text("mine")
    assert main(["export", str(run), "--out", str(tmp_path)]) == 2
    assert "exists already, and is not overwritten" in capsys.readouterr().err
    assert (tmp_path / "kept.txt").read_text() == "mine"


def test_a_library_that_is_absent_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    from mmx.cli import main

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", str(run), "--format", "onnx"]) == 1
    err = capsys.readouterr().err
    assert "needs onnxruntime, which is not installed" in err
    assert "pip install 'mmx[export]'" in err
    assert not (run / "exports").exists()


def test_reads_rows_from_numpy_alone() -> None:
    """The readers beside a model import nothing of mmx."""
    import ast

    from mmx.export import readers

    for path in Path(readers.__path__[0]).glob("*.py"):
        tree = ast.parse(path.read_text())
        names = [
            n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names
        ]
        names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [name for name in names if name.split(".")[0] == "mmx"]
