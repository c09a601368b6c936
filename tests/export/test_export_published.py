"""Published encoders beside a model: what they read, how they answer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("av")
pytest.importorskip("transformers")

from raw_table import COLUMNS, read_raw_rows, write_raw_table
from tiny_models import save_ast, save_text_model, save_videomae

from mmx.encoders.audio.transformers import Transformers
from mmx.errors import RunError
from mmx.export.tracing import refuse_untraceable
from mmx.modalities.audio import Audio
from mmx.runs.directory import RunDirectory

INPUTS = ("text", "video")


def test_a_spectrogram_transformer_is_refused_by_name(tmp_path: Path) -> None:
    folder = str(save_ast(tmp_path / "ast"))
    reader = Transformers.read_with(Audio(sample_rate=16_000, max_seconds=0.5), model=folder)
    assert reader is not None
    encoder = Transformers(reader.example(), model=folder)
    with pytest.raises(RunError, match=r"reader computes .* \(AST\) in numpy") as error:
        refuse_untraceable(encoder)
    assert error.value.tip.startswith("--format safetensors")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw_table(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module")
def run(
    train: Callable[..., RunDirectory], table: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    models = tmp_path_factory.mktemp("models")
    columns = ", ".join(f"{name}: {COLUMNS[name]}" for name in INPUTS)
    given = ("target=table", f"target.path={table}", "target.label=label", "target.split=split")
    published = (
        "encoder/text=transformers",
        f"encoder.text.model={save_text_model(models / 'text')}",
        "encoder/video=transformers",
        f"encoder.video.model={save_videomae(models / 'video')}",
    )
    trainer = ("trainer.epochs=1", "trainer.batch_size=6", "trainer.workers=0", "control=none")
    trainer += ("precision=fp32",)  # that of an export
    columns = f"target.columns={{{columns}}}"
    return train(*given, columns, *trainer, "source=none", "fusion=gated", *published).path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "safetensors"])
def test_sub_words_and_frames_are_answered_as_by_predict(
    name: str,
    run: Path,
    table: Path,
    exporting: Callable[..., Path],
    predicting: Callable[[Path, Path], list[dict[str, str]]],
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    folder = exporting(run, name, tmp_path / "out")
    rows = read_raw_rows(table, {each: COLUMNS[each] for each in INPUTS})
    wanted = predicting(run, table)
    answered = [place for place, row in enumerate(rows) if any(row.values())]
    loading = request.getfixturevalue("loading" if name == "onnx" else "loading_with_mmx")
    found: list[Any] = loading(folder, [rows[place] for place in answered])
    differences = [
        abs(chance - float(wanted[place][f"p({label})"]))
        for place, answer in zip(answered, found, strict=True)
        for label, chance in answer.items()
    ]
    assert len(differences) == 2 * len(answered) > 60
    assert max(differences) <= 1e-5
