"""A run as an object: its files as values, its model, and predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmx.api.frames import import_pandas, read_frame_cell, write_frame
from mmx.api.paths import read_path
from mmx.errors import MmxError, RunError, UsageError
from mmx.json_object import Json

if TYPE_CHECKING:
    import pandas as pd

    from mmx.model import MultimodalModel
    from mmx.runs.directory import RunDirectory
    from mmx.runs.summary import Summary
    from mmx.verbs.predict import OpenedModel

METRIC_COLUMNS = ("stage", "epoch", "step", "split", "name", "value", "seconds")
"""Columns of :attr:`Run.metrics`, also for a run that has no line yet."""
NO_CHANGE_OF_RUN = ("output_dir", "cache", "cache_gb")
"""Keys that reading a run does not use, since it makes no run and fills no cache."""


class Run:
    """A run directory, read when something of it is asked for. :func:`load` makes one.

    Args:
        directory: The run directory.
        moved: Settings on where its data is now and on what it is computed.
        allow: Packages whose classes its config may name.
    """

    def __init__(
        self, directory: RunDirectory, moved: Mapping[str, Any], allow: Sequence[str]
    ) -> None:
        self._directory = directory
        self._moved = {"device": "cpu", **moved}
        self._allow = tuple(allow)

    def __repr__(self) -> str:
        return f"mmx.load({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run directory."""
        return self._directory.path

    @property
    def status(self) -> str:
        """``pending``, ``running``, ``done``, ``failed``, ``interrupted`` or ``killed``."""
        return str(self._directory.status().get("status", "?"))

    @property
    def config(self) -> Json:
        """The resolved config, plain data: ``config.yaml``."""
        return self._directory.config()

    @property
    def summary(self) -> Summary:
        """The final numbers of ``summary.json``.

        ``docs/reference/summary.schema.json`` says what they are.

        Raises:
            RunError: The run is not done, or the file is not what mmx wrote.
        """
        if not (self.path / "summary.json").exists():
            raise RunError(
                f"{self.path} has no summary: its status is {self.status}",
                tip=f"mmx resume {self.path}",
            )
        return self._directory.read_summary()

    @property
    def metrics(self) -> pd.DataFrame:
        """The lines of ``metrics.jsonl``: a value of one metric on one split after one epoch.

        Example::

            val = run.metrics.query("stage == 'target' and split == 'val' and name == 'accuracy'")
            val.plot(x="epoch", y="value")

        Raises:
            RunError: A line is not what mmx wrote.
        """
        lines = self._directory.metrics()
        others = [key for line in lines for key in line if key not in METRIC_COLUMNS]
        columns = list(dict.fromkeys([*METRIC_COLUMNS, *others]))
        return import_pandas().DataFrame(lines, columns=columns)

    @property
    def model(self) -> MultimodalModel:
        """The trained target model in evaluation mode, with its best weights.

        It is on the CPU unless :func:`load` was given another ``device=``. Opening it asks torch
        for deterministic algorithms and the run's number of threads, as the verbs do.

        Raises:
            RunError: The run has no trained target, or its files are damaged.
        """
        return self._opened.trained.model

    def predict(
        self,
        data: pd.DataFrame | str | PathLike[str] | None = None,
        *,
        keep: Sequence[str] = (),
        strict: bool = False,
    ) -> pd.DataFrame:
        """Return the rows that ``mmx predict`` writes: a prediction and its probabilities each.

        A row that cannot be predicted has an empty prediction (None, or NaN for numbers); the
        column ``reason`` says why. Notes on such rows are printed on stderr.

        Args:
            data: A table, by path or as a frame with the columns of the run's table, which needs
                no label; or a file or folder of images or sounds. None: the run's own test split.
                The result for a frame has its index. Relative paths in a frame start from the
                run's ``target.root`` or, where it has none, from the working directory.
            keep: Columns of the table to carry over, such as an id, as text.
            strict: Fail where a row has no prediction, or names a file that does not exist.

        Example::

            answers = run.predict(frame)
            frame.join(answers[["prediction", "reason"]])

        Raises:
            UsageError: The run cannot read such data.
            DataError: No row can be predicted, or with ``strict`` some row cannot.
        """
        pandas = import_pandas()
        if isinstance(data, pandas.DataFrame):
            with tempfile.TemporaryDirectory() as folder:
                table = write_frame(data, Path(folder) / "frame.parquet")
                opened = self._open_for_frame()
                try:
                    cells = self._answer(opened, table, keep, strict)
                except MmxError as error:  # whose reader knows of no such file
                    error.message = error.message.replace(str(table), "the frame")
                    raise
            return pandas.DataFrame(cells, index=data.index)
        if isinstance(data, Mapping | Sequence) and not isinstance(data, str):
            raise UsageError(
                f"predict takes a frame or a path, not {type(data).__name__}",
                tip="run.predict(pandas.DataFrame(rows))",
            )
        path = None if data is None else read_path(data)
        return pandas.DataFrame(self._answer(self._opened, path, keep, strict))

    def export(self, format: str = "onnx", folder: str | PathLike[str] | None = None) -> Path:
        """Write the trained model into a new folder that runs without mmx, and return the folder.

        As ``mmx export``: it is checked against the run on rows of the test split, on the CPU.

        Args:
            format: ``onnx``, ``pt2`` or ``safetensors``.
            folder: Where to; None for ``exports/<format>`` in the run directory.

        Raises:
            UsageError: There is no such format, or something is in the folder.
            RunError: The format cannot hold the model, or it answers otherwise than the run.
            DataError: The run's own data cannot be read, or a library is not installed.
        """
        from mmx.export.folder import find_format
        from mmx.verbs.export import export_run

        written = find_format(format)
        given = None if folder is None else read_path(folder)
        return export_run(self._directory, written, given, self._moved, self._allow).folder

    @cached_property
    def _opened(self) -> OpenedModel:
        from mmx.verbs.predict import open_model

        return open_model(self._directory, self._moved, self._allow)

    def _open_for_frame(self) -> OpenedModel:
        """Return the opened model with the folder that relative paths in a frame start from.

        Raises:
            UsageError: The run's target is no table.
        """
        from mmx.tasks.table import Table

        opened = self._opened
        target = opened.experiment.target
        if not isinstance(target, Table):
            raise UsageError(
                f"the run's target {target.name} is no table, and a frame is one",
                tip="run.predict()   (its own test split), or the path of a file or folder",
            )
        if target.root is not None:
            return opened
        node = {**opened.experiment.config["target"], "root": str(Path.cwd())}
        rooted = opened.experiment.replace_nodes({"target": node})
        return replace(opened, experiment=rooted)

    def _answer(
        self, opened: OpenedModel, path: Path | None, keep: Sequence[str], strict: bool
    ) -> dict[str, list[Any]]:
        """Return column to cells, as ``mmx predict`` writes them, numbers as numbers."""
        from mmx.verbs.predict import answer_rows, print_notes
        from mmx.verbs.predict_rows import REASON

        asked, answers = answer_rows(opened, path, keep)
        if strict:
            asked.counts.require_all()
        columns = answers.columns()
        print_notes(asked)
        as_they_are = {"row", "file", REASON, *answers.kept}
        numbers = answers.target.kind == "regression"
        return {
            name: list(cells)
            if name in as_they_are
            else [read_frame_cell(cell, numbers or name.startswith("p(")) for cell in cells]
            for name, cells in columns.items()
        }


def load(path: str | PathLike[str], *moved: str, allow: Sequence[str] = ()) -> Run:
    """Return a run; nothing but its directory is looked at before something is asked for.

    Args:
        path: The run directory.
        moved: Where its own data has moved, as for ``mmx predict``: ``"data_dir=/data"``,
            ``"target.path=new.csv"``; ``"device=cuda"`` puts the model on a GPU.
        allow: Packages whose classes its config may name, as ``--allow``.

    Raises:
        NoRunError: The path leads to no run.
        UsageError: A setting is none that may be changed of a run.
    """
    from mmx.runs.directory import RunDirectory

    directory = RunDirectory.open(read_path(path))
    if not moved:
        return Run(directory, {}, allow)
    from mmx.verbs.opening import read_typed

    return Run(directory, read_typed(moved, "predict", directory.path, NO_CHANGE_OF_RUN), allow)
