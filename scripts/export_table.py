"""Which models are exported into which formats, and how far each answers as its run.

    python scripts/export_table.py [--only WORD] [--kept FOLDER] [--write docs/guides/export.md]

Trains a tiny run of every case below on one table of pictures, sounds, videos, texts, vectors and
sequences, exports it in every format, and answers raw rows, which lack inputs, by `run_model.py` in
a process that cannot import mmx. A cell of the table is the largest difference from the run: of
what `mmx export` has compared on rows of the test split, inputs left out, and of those answers from
`mmx predict`. What is refused is named below the table. --write puts the table between the two
marks in a document. Published encoders are those of `tests/tiny_models.py`, of random weights.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "export")]

import tiny_models as tiny  # noqa: E402
from raw_table import COLUMNS, read_raw_rows, write_raw_table  # noqa: E402

from mmx.cli import main as mmx  # noqa: E402

FORMATS = ("onnx", "pt2", "safetensors")
ROWS, COMPARED = 330, 100
"""Rows of the table, a third of which is tested on; rows that `run_model.py` answers."""
OBJECTIVES = {"regression": "mean_squared_error", "multilabel": "binary_cross_entropy"}
BEGIN, END = "<!-- export table -->", "<!-- end of the export table -->"


@dataclass(frozen=True)
class Case:
    """A run that is exported.

    Attributes:
        encoders: Of each input, with options.
        fusion: Its fusion.
        more: Further words of its command line.
        kind: What is predicted.
    """

    encoders: tuple[str, ...]
    fusion: str
    more: tuple[str, ...] = ()
    kind: str = "classes"

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs."""
        return tuple(each.partition("=")[0] for each in self.encoders)

    def describe(self) -> list[str]:
        """Return the cells of its line: encoders, fusion, and the rest."""
        names = ", ".join(f"`{name_encoder(each)}`" for each in self.encoders)
        rest = [f"`{word}`" for word in self.more]
        if self.kind != "classes":
            rest.append({"multilabel": "several labels"}.get(self.kind, self.kind))
        return [names, f"`{self.fusion}`", ", ".join(rest)]


def name_encoder(given: str) -> str:
    """Return an encoder's name, a published one with that of its model."""
    chosen, *options = given.split(",")
    model = next((each.partition("=")[2] for each in options if each.startswith("model=")), "")
    return f"{chosen} ({Path(model).name})" if model else chosen


def list_cases(models: Path) -> list[Case]:
    """Return all cases; each encoder, level of fusion, imputation and kind of target is in one.

    Published encoders get tiny models, which are written into a folder.
    """

    def publish(modality: str, option: str, name: str) -> str:
        folder = models / f"{modality}-{option}" / name
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            tiny.MAKERS[f"mmx.encoders.{modality}.{option}"][name](folder)
        return f"{modality}={option},model={folder}"

    image, text, vector = "image=small_cnn,width=8", "text=embedding_mean,width=8", "vector=linear"
    return [
        Case((image, "audio=spectrogram_cnn", text, vector), "concat",
             ("missing=knn", "calibration=temperature")),
        Case(("video=small_cnn_3d,width=8", "sequence=gru,width=8", "text=lstm,width=8"),
             "cross_attention", ("missing=mask",)),
        Case((publish("image", "timm", "efficientnet"), publish("text", "transformers", "bert"),
              publish("audio", "transformers", "whisper")), "hierarchical"),
        Case((publish("image", "transformers", "clip"), publish("text", "transformers", "clip")),
             "late_weighted", kind="regression"),
        Case((publish("image", "open_clip", "vit"), "text=tfidf,width=8", "vector=mlp,width=8"),
             "algorithm"),
        Case(("video=frames", "audio=logmel_cnn", "text=text_cnn,width=8"), "tensor",
             ("missing=generate", "calibration=vector")),
        Case((publish("text", "open_clip", "causal"), vector), "gated"),
        Case((publish("image", "transformers", "vit"), publish("text", "transformers", "roberta"),
              publish("video", "transformers", "videomae")), "bottleneck", ("missing=drop",)),
        Case((publish("image", "timm", "vit"), publish("audio", "transformers", "wav2vec2"),
              "sequence=transformer,width=8"), "transformer", ("missing=mean",)),
        Case((publish("image", "transformers", "siglip"),
              publish("text", "transformers", "siglip")), "poe", kind="multilabel"),
        Case(("image=resnet18", "audio=logmel_lstm", "sequence=lstm,width=8"), "late_mean"),
        Case(("sequence=tcn,width=8", "text=grid_cnn"), "gated"),
        Case(("audio=spectrogram_resnet18", vector), "gated"),
        Case(("video=r3d_18", vector), "gated"),
        Case(("video=mc3_18", vector), "gated"),
    ]  # fmt: skip


def train(case: Case, table: Path, outputs: Path) -> Path:
    """Train a case for one epoch, and return its run."""
    columns = ", ".join(f"{name}: {COLUMNS[name]}" for name in case.inputs)
    label = {"classes": "label", "regression": "number", "multilabel": "labels"}[case.kind]
    words = ["target=table", f"target.path={table}", f"target.label={label}"]
    words += ["target.split=split", f"target.columns={{{columns}}}", "source=none"]
    words += ["control=none", "trainer.epochs=1", "trainer.batch_size=16", "trainer.workers=0"]
    words += [
        "trainer.threads=1",
        "precision=fp32",
        "device=cpu",
        f"output_dir={outputs}",
        "cache=off",
    ]
    if case.kind != "classes":
        words.append(f"target.kind={case.kind}")
    for modality, size in (("image", 32), ("video", 32)):
        if modality in case.inputs:
            words.append(f"target.{modality}.size={size}")
    if "video" in case.inputs:
        words.append("target.video.frames=4")
    words.append(f"fusion={case.fusion}")
    if case.kind != "classes":
        words.append(f"objective={OBJECTIVES[case.kind]}")
    for each in case.encoders:
        chosen, *options = each.split(",")
        modality = chosen.partition("=")[0]
        words.append(f"encoder/{chosen}")
        words += [f"encoder.{modality}.{option}" for option in options]
    return Path(call(["train", *words, *case.more]).strip().splitlines()[-1])


def call(words: list[str]) -> str:
    """Run a verb and return its stdout.

    Raises:
        RuntimeError: It fails; holds what it said.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = mmx(words)
    if code:
        said = [line for line in err.getvalue().splitlines() if not line.startswith("note:")]
        raise RuntimeError("\n".join(said[-6:]))
    return out.getvalue()


def predict(case: Case, run: Path, table: Path) -> list[list[float]]:
    """Return the run's own answers to the rows of a table: probabilities, or numbers."""
    answers = table.with_name("predicted.csv")
    call(["predict", str(run), str(table), "--output", str(answers)])
    with answers.open(newline="") as file:
        lines = list(csv.DictReader(file))
    names = [each for each in lines[0] if each.startswith("p(")] or ["prediction"]
    return [[float(line[name] or "nan") for name in names] for line in lines]


def answer(rows: list[Any], folder: Path, *, alone: bool) -> list[Any]:
    """Return what `run_model.py` answers; alone: in a process in which importing mmx fails."""
    asked = folder.parent / "rows.json"
    asked.write_text(json.dumps(rows), encoding="utf-8")
    blocked = folder.parent / "blocked"
    blocked.mkdir(exist_ok=True)
    (blocked / "mmx.py").write_text("raise ImportError('mmx is blocked')\n")
    done = subprocess.run(
        [sys.executable, str(folder / "run_model.py"), str(asked)],
        env={**os.environ, "PYTHONPATH": str(blocked) if alone else str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError("\n".join(done.stderr.splitlines()[-3:]))
    return [json.loads(line) for line in done.stdout.splitlines()]


def measure(run: Path, rows: list[Any], wanted: list[list[float]], name: str, out: Path) -> float:
    """Export a run, answer raw rows by `run_model.py`, and return the largest difference."""
    call(["export", str(run), "--format", name, "--out", str(out)])
    worst = json.loads((out / "model.json").read_text())["checked"]["largest_difference"]
    found = answer(rows, out, alone=name != "safetensors")
    for one, own in zip(found, wanted, strict=True):
        numbers = list(one.values()) if isinstance(one, dict) else [one]
        pairs = zip(own, numbers, strict=True)
        worst = max(worst, *(abs(a - b) / max(1, abs(a)) for a, b in pairs))
    return float(worst)


def try_case(case: Case, table: Path, asked: Path, folder: Path) -> dict[str, float | str]:
    """Return format to largest difference, or to why there is none.

    Args:
        case: To be trained.
        table: To train on.
        asked: The raw rows that are answered, a part of the table.
        folder: For its files.
    """
    run = train(case, table, folder / "outputs")
    raw = read_raw_rows(asked, {each: COLUMNS[each] for each in case.inputs})
    wanted = predict(case, run, asked)
    places = [place for place, row in enumerate(raw) if any(row.values())]
    rows, wanted = [raw[place] for place in places], [wanted[place] for place in places]
    found: dict[str, float | str] = {}
    for name in FORMATS:
        try:
            found[name] = measure(run, rows, wanted, name, folder / name)
        except RuntimeError as error:
            found[name] = str(error)
    return found


def cut_table(table: Path, rows: int) -> Path:
    """Return a table beside another, of its first rows."""
    lines = table.read_text(encoding="utf-8").splitlines()
    path = table.with_name("asked.csv")
    path.write_text("\n".join(lines[: rows + 1]) + "\n", encoding="utf-8")
    return path


def write_lines(results: dict[str, Any]) -> str:
    """Return the table in Markdown, and a list of what is refused."""
    lines = [f"| encoders | fusion | with | {' | '.join(FORMATS)} |", "|---" * 6 + "|"]
    refused = []
    for each in results.values():
        cells = []
        for name in FORMATS:
            value = each["found"][name]
            if isinstance(value, str):
                refused.append(f"- {each['cells'][0]}, {name}: {value.splitlines()[0]}")
            cells.append("refused" if isinstance(value, str) else f"{value:.1e}")
        lines.append(f"| {' | '.join([*each['cells'], *cells])} |")
    return "\n".join([*lines, *([""] if refused else []), *refused])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="cases whose line holds this word")
    parser.add_argument("--kept", type=Path, help="results so far, which are not measured again")
    parser.add_argument("--write", type=Path, help="a document")
    given = parser.parse_args()
    kept = given.kept and given.kept.exists()
    results: dict[str, Any] = json.loads(given.kept.read_text()) if kept else {}
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        (place / "data").mkdir()
        table = write_raw_table(place / "data", ROWS)
        asked = cut_table(table, COMPARED)
        for number, case in enumerate(list_cases(place / "models")):
            cells = case.describe()
            key = " | ".join(cells)
            if given.only not in key or key in results:
                continue
            folder = place / str(number)
            folder.mkdir()
            start = time.process_time()
            try:
                results[key] = {"cells": cells, "found": try_case(case, table, asked, folder)}
                print(results[key]["found"], flush=True)
            except (RuntimeError, ValueError) as error:
                print(f"not trained: {error}", flush=True)
            print(f"{time.process_time() - start:.0f} s: {key}", flush=True)
            if given.kept:
                given.kept.write_text(json.dumps(results, indent=1))
    if given.write:
        text = given.write.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        after = rest.split(END)[1]
        made_lines = f"{BEGIN}\n{write_lines(results)}\n{END}"
        given.write.write_text(before + made_lines + after, encoding="utf-8")
    else:
        print(write_lines(results))


if __name__ == "__main__":
    main()
