"""``mmx export RUN --format onnx|pt2|safetensors``: the trained model, in a folder for others.

The folder holds the model, `model.json` (inputs, shapes, preprocessing, classes, calibration, where
it comes from), `run_model.py` and `readers/` (which answer rows of raw inputs without mmx), a model
card and the licences. onnx runs under onnxruntime and pt2 under torch; safetensors holds tensors
by name, which mmx builds into the model again.

Before anything is said to be done, the written model is read again and compared with the run on
100 rows of its test split, as they are and with inputs left out; it answers the same to 1e-5, or
nothing is written. data_dir=DIR, target.path=FILE and the like say where the run's own data has
moved. stdout carries one line, the folder.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmx.export.folder import Finished, export, find_format, require_free
from mmx.export.formats import ExportFormat
from mmx.runs.directory import RunDirectory
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.opening import NOTHING_IS_MADE, read_typed
from mmx.verbs.predict import open_model

SUMMARY = "write a run's trained model for use without mmx: onnx, pt2 or safetensors"
PLACE = 45
COMPLETES = {
    "runs": 1,
    "flags": {"--format": ("onnx", "pt2", "safetensors"), "--out": None, "--allow": ()},
}


def main(arguments: Sequence[str]) -> int:
    """Export, and return the exit code."""
    given = _parser().parse_args(arguments)
    directory = RunDirectory.open(given.run)
    written = find_format(given.format)
    typed = read_typed(given.settings, "export", directory.path, NOTHING_IS_MADE)
    done = export_run(directory, written, given.out, typed, given.allow)
    agreement = done.agreement
    ways = "1 way" if agreement.patterns == 1 else f"{agreement.patterns} ways"
    print(
        f"answers as the run on {agreement.rows} rows of the test split, inputs left out in "
        f"{ways}: the largest difference is {agreement.difference:.2g}",
        file=sys.stderr,
    )
    print(done.folder)
    return 0


def export_run(
    directory: RunDirectory,
    written: ExportFormat,
    folder: Path | None,
    typed: Mapping[str, Any],
    allow: Sequence[str] = (),
) -> Finished:
    """Export a run's trained model into a folder.

    Args:
        directory: The run.
        written: The format.
        folder: Where to; None for a folder of the run's own.
        typed: Settings on where its data is, as :func:`~mmx.verbs.opening.read_typed` returns them.
        allow: Packages whose classes its config may name, besides those of the environment.

    Raises:
        MmxError: The run cannot be opened, or its model cannot be exported.
    """
    folder = folder or directory.path / "exports" / written.name
    require_free(folder)
    opened = open_model(directory, typed, allow, device="cpu")
    allowed = list_allowed_packages(allow)
    return export(directory, opened.experiment, opened.trained, written, folder, allowed)


def _parser() -> Parser:
    parser = Parser("export", description=__doc__).with_run().with_allow()
    parser.add_argument("settings", nargs="*", metavar="key=value", help="see above")
    parser.add_argument("--format", default="onnx", help="onnx (default), pt2 or safetensors")
    parser.add_argument(
        "--out", type=Path, default=None, help="a new folder; default: RUN/exports/<format>"
    )
    return parser
