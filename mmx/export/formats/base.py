"""The contract of every format of an exported model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from mmx.export.graph import ExportGraph
from mmx.json_object import Json

Program = Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]]
"""Tensors by name, in the order of ``ExportGraph.names`` -> outputs, answers."""


@dataclass(frozen=True)
class Loader:
    """What ``run_model.py`` does in a format.

    Attributes:
        imports: Its import.
        open: An expression of the opened model, in which ``HERE`` is its folder and ``ABOUT`` what
            ``model.json`` holds.
        call: An expression of the answers to the tensors by name in ``feed``, as an array.
    """

    imports: str
    open: str
    call: str


@dataclass(frozen=True)
class Written:
    """What a format has written.

    Attributes:
        fixed: Input to its number of steps, where the model takes that number alone.
        facts: For ``model.json``.
    """

    fixed: dict[str, int]
    facts: Json


class ExportFormat(ABC):
    """Base of all formats: writes a graph into a file, and reads it again to be checked.

    Attributes:
        name: What ``--format`` takes.
        file: The name of the model's file.
        packages: What a machine needs to run it, besides those of the readers.
        loader: What ``run_model.py`` does.
    """

    name: ClassVar[str]
    file: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    loader: ClassVar[Loader]

    @abstractmethod
    def require(self) -> None:
        """Check that the libraries are there which write and read the format.

        Raises:
            DataError: One is not; says what to type.
        """

    @abstractmethod
    def write(self, graph: ExportGraph, config: Json, folder: Path) -> Written:
        """Write the model into a folder.

        Args:
            graph: The model.
            config: Of the run.
            folder: Where to.

        Raises:
            RunError: The format cannot hold the model; says why, and which format can.
        """

    @abstractmethod
    def open(self, folder: Path, allowed: Sequence[str]) -> Program:
        """Return the model in a folder, read as ``run_model.py`` reads it.

        Args:
            folder: Where it was written to.
            allowed: Packages besides mmx whose classes the run's config may name.
        """
