"""Vectors, sequences and counted terms, imputed where they lack, are answered as by mmx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")

from raw_table import COLUMNS, read_raw_rows, write_raw_table

from mmx.runs.directory import RunDirectory

pytestmark = pytest.mark.slow
INPUTS = ("vector", "sequence", "text")
SMALL = (
    "encoder/vector=mlp",
    "encoder.vector.width=8",
    "encoder.vector.hidden=8",
    "encoder/sequence=gru",
    "encoder.sequence.width=8",
    "encoder/text=tfidf",
    "encoder.text.width=8",
    "fusion=concat",
    "missing=mean",
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw_table(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def run(train: Callable[..., RunDirectory], table: Path) -> Path:
    columns = ", ".join(f"{name}: {COLUMNS[name]}" for name in INPUTS)
    given = ("target=table", f"target.path={table}", "target.label=label", "target.split=split")
    trainer = ("trainer.epochs=1", "trainer.batch_size=6", "trainer.workers=0", "control=none")
    trainer += ("precision=fp32",)  # that of an export
    return train(*given, f"target.columns={{{columns}}}", *trainer, "source=none", *SMALL).path


def test_raw_arrays_and_terms_are_answered_as_by_predict(
    run: Path,
    table: Path,
    exporting: Callable[..., Path],
    loading: Callable[[Path, list[dict[str, Any]]], list[Any]],
    predicting: Callable[[Path, Path], list[dict[str, str]]],
    tmp_path: Path,
) -> None:
    folder = exporting(run, "onnx", tmp_path / "out")
    rows = read_raw_rows(table, {each: COLUMNS[each] for each in INPUTS})
    wanted = predicting(run, table)
    answered = [place for place, row in enumerate(rows) if any(row.values())]
    found = loading(folder, [rows[place] for place in answered])
    differences = [
        abs(chance - float(wanted[place][f"p({label})"]))
        for place, answer in zip(answered, found, strict=True)
        for label, chance in answer.items()
    ]
    assert len(differences) == 2 * len(answered) > 60
    assert max(differences) <= 1e-5
