"""A tiny trained run and its table, and how its rows are asked for."""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from mmx.runs.directory import RunDirectory
from mmx.verbs.predict import open_model
from mmx.verbs.predict_answers import OpenedModel

FILES = {"image": "picture", "audio": "sound"}


@pytest.fixture(scope="session")
def served(
    train: Callable[..., RunDirectory], tables: dict[str, Path], overrides: Callable[..., list[str]]
) -> RunDirectory:
    """Return a run on images, sounds, texts and cells."""
    return train(*overrides(None, tables["one"]))


@pytest.fixture
def opened(served: RunDirectory) -> OpenedModel:
    return open_model(served, {})


@pytest.fixture(scope="session")
def asked(tables: dict[str, Path]) -> list[dict[str, Any]]:
    """Return the rows of the table as a client would send them; a missing cell is left out."""
    found = []
    with tables["one"].open() as file:
        for line in csv.DictReader(file):
            row: dict[str, Any] = {}
            for name, column in FILES.items():
                if line[column]:
                    content = (tables["one"].parent / line[column]).read_bytes()
                    row[name] = base64.b64encode(content).decode()
            row |= {"text": line["words"]} if line["words"] else {}
            cells = {key: line[key] for key in ("a", "b") if line[key]}
            row |= {"tabular": {key: _as_number(cell) for key, cell in cells.items()}}
            found.append(row)
    return found


def _as_number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


@pytest.fixture(scope="session")
def predicted(
    served: RunDirectory, tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, str]]:
    """Return the lines that ``mmx predict`` writes for the table."""
    from mmx.cli import main

    output = tmp_path_factory.mktemp("predicted") / "predictions.csv"
    assert main(["predict", str(served.path), str(tables["one"]), "--output", str(output)]) == 0
    with output.open() as file:
        return [*csv.DictReader(file)]
