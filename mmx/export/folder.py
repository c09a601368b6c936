"""The exported folder: written whole or not at all."""

from __future__ import annotations

import json
import secrets
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from mmx.errors import DataError, RunError, UsageError, closest
from mmx.experiment import Experiment
from mmx.export import readers
from mmx.export.check import Agreement, choose_checked_rows, compare_answers
from mmx.export.description import (
    MEANING,
    Exported,
    format_json,
    list_licences,
    list_needed_packages,
    write_classes,
)
from mmx.export.formats import ExportFormat, find_formats
from mmx.export.graph import ExportGraph
from mmx.export.inputs import GraphInput, make_input
from mmx.json_object import Json
from mmx.reports.summary_lines import format_gains, format_title
from mmx.runs.atomic import make_folder
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role
from mmx.stages import Loaded

GIVEN = {
    "image": "path of an image file",
    "audio": "path of a sound file",
    "video": "path of a video file",
    "text": "a text",
    "sub_words": "a text",
    "tabular": "cells by the name of their column",
    "vector": "a list of numbers, or the path of a `.npy` file",
    "sequence": "a list of steps, or the path of a `.npy` file",
}
"""Reader to what a row of JSON holds for it."""
EXAMPLES: Json = {
    "image": "picture.png",
    "audio": "sound.wav",
    "video": "clip.mp4",
    "text": "some words",
    "sub_words": "some words",
    "vector": "numbers.npy",
    "sequence": "steps.npy",
}


@dataclass(frozen=True)
class Finished:
    """An exported folder.

    Attributes:
        folder: Where it is.
        agreement: How far it answers as its run.
    """

    folder: Path
    agreement: Agreement


def find_format(name: str) -> ExportFormat:
    """Return a format by name, its libraries checked.

    Raises:
        UsageError: There is no such format.
        DataError: A library is not installed; says what to type.
    """
    formats = find_formats()
    if name not in formats:
        near = closest(name, list(formats))
        raise UsageError(
            f"--format {name}: accepted: {', '.join(formats)}",
            tip=f"--format {near or 'onnx'}",
        )
    found = formats[name]()
    found.require()
    return found


def export(
    directory: RunDirectory,
    experiment: Experiment,
    trained: Loaded,
    written: ExportFormat,
    folder: Path,
    allowed: Sequence[str] = (),
) -> Finished:
    """Export a run's trained model into a new folder, checked against the run.

    Args:
        directory: The run.
        experiment: Assembled from its config, with its data where it is now.
        trained: Its model, on the CPU.
        written: The format.
        folder: Where to; it does not exist, or is empty.
        allowed: Packages besides mmx whose classes the run's config may name.

    Raises:
        RunError: The format cannot hold the model, or it answers otherwise than the run.
        DataError: The run's data cannot be read, so that nothing can be compared, or an input's
            preprocessing cannot be described.
    """
    require_free(folder)
    graph = ExportGraph(trained.model, _make_inputs(directory, experiment, trained), trained.target)
    checked = choose_checked_rows(experiment, trained)
    with _build(folder) as building:
        made = written.write(graph, directory.config(), building)
        program = written.open(building, allowed)
        agreement = compare_answers(written, program, graph, trained, checked, made.fixed)
        exported = Exported(directory, written, graph, made, agreement)
        _write_around(exported, building)
    return Finished(folder, agreement)


def _make_inputs(
    directory: RunDirectory, experiment: Experiment, trained: Loaded
) -> dict[str, GraphInput[Any]]:
    """Return how each input enters the graph.

    Raises:
        DataError: The preprocessing of one cannot be described, in any format.
    """
    modalities = experiment.modalities[Role.TARGET]
    try:
        return {
            name: make_input(name, modalities[name], spec) for name, spec in trained.specs.items()
        }
    except DataError as error:
        run = shlex.quote(str(directory.path))
        tip = f"mmx predict {run} <table>   (where mmx is, the run itself answers)"
        raise DataError(error.message, tip=tip) from error


def require_free(folder: Path) -> None:
    """Refuse a folder in which something is.

    Raises:
        UsageError: Something is.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} exists already, and is not overwritten",
            tip=f"--out <another folder>; or rm -r {shlex.quote(str(folder))}",
        )


@contextmanager
def _build(folder: Path) -> Iterator[Path]:
    """Make a folder that takes its name when the ``with`` block has ended well."""
    make_folder(folder.parent, tip="--out FOLDER   (in a folder that can be made)")
    building = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        building.mkdir()
        yield building
        building.replace(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write_around(exported: Exported, folder: Path) -> None:
    """Write what lies beside the model: its description, card, loader, readers and licence."""
    about = exported.describe()
    _write(folder / "model.json", format_json(about) + "\n")
    pages = Environment(
        loader=PackageLoader("mmx", "export"), autoescape=False, keep_trailing_newline=True
    )
    loader = exported.written.loader
    packages = ", ".join(list_needed_packages(exported.written, exported.graph))
    code = pages.get_template("run_model.py.jinja").render(
        packages=packages, imports=loader.imports, open=loader.open, call=loader.call
    )
    _write(folder / "run_model.py", code)
    summary = exported.directory.read_summary()
    licences = list_licences(exported.directory.manifest())
    card = pages.get_template("model_card.md.jinja").render(
        about=about,
        title=format_title(summary),
        example=json.dumps(_make_example(about), ensure_ascii=False),
        meaning=MEANING[exported.graph.target.kind],
        given=GIVEN,
        classes=write_classes(about["target"]["classes"]),
        metrics=(about["provenance"]["test_metrics"] or {}),
        gains=format_gains(summary),
        precision=summary.precision,
        licences=licences,
    )
    _write(folder / "README.md", card)
    _write(folder / "LICENCES.md", _format_licences(licences))
    _copy_readers(exported, folder)


def _copy_readers(exported: Exported, folder: Path) -> None:
    """Copy the readers of the model's inputs, and what they need."""
    needed = {each.reader for each in exported.graph.list_inputs().values()}
    needed |= {"image"} if "video" in needed else set()
    (folder / "readers").mkdir()
    for name in sorted(needed):
        shutil.copyfile(Path(readers.__path__[0]) / f"{name}.py", folder / "readers" / f"{name}.py")
    for each in exported.graph.list_inputs().values():
        for name, content in each.files().items():
            _write(folder / name, content)


def _make_example(about: Json) -> Json:
    """Return a row of raw inputs, as an example."""
    row: Json = {}
    for name, each in about["inputs"].items():
        if each["reader"] == "tabular":
            row[name] = {column["name"]: _make_cell(column) for column in each["columns"][:3]}
        else:
            row[name] = EXAMPLES[each["reader"]]
    return row


def _make_cell(column: Json) -> Any:
    """Return a cell that the column may hold."""
    if column["kind"] == "number":
        return round(column["mean"], 3)
    return next(iter(column["codes"]), "")


def _format_licences(licences: dict[str, str]) -> str:
    lines = [f"- {part}: {licence or 'unknown'}" for part, licence in licences.items()]
    text = "\n".join(lines)
    return (
        f"# Licences\n\n{text}\n\nThe licence of published weights and of data may bind what was "
        "trained on them. MIT: https://opensource.org/license/mit\n"
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
