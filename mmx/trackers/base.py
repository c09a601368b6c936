"""The contract of every tracker, and what it is told of a run."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, ClassVar

from pydantic import Field

from mmx.variants import variant

TOLD = {
    "tracker": "copies numbers, and makes none",
    "callbacks": "are told of numbers, and must not change them",
}
"""Root keys of a config that say who is told of a run, and why its numbers are not theirs."""
Scalar = str | int | float | bool | None
Key = tuple[str, int]
"""What identifies a point of a run: its name and its epoch."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers know it.

    Attributes:
        name: Of its directory.
        key: Hex digest that identifies it: the same while it trains, after it was resumed, and
            when it is copied later.
        folder: Output folder of the run, in which a tracker puts its own files by default.
        config: Dotted key to value.
        tags: Facts to search by: target, source, fusion, seed, sweep, fingerprint.
        began: When the run was created, in seconds since 1970.
        only_here: Whether nothing but ``folder`` may be read or written, as where a tracker is
            checked: no account, no address of the environment.
    """

    name: str
    key: str
    folder: Path
    config: Mapping[str, Scalar] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    began: float = 0.0
    only_here: bool = False


@dataclass(frozen=True)
class Point:
    """One metric of a stage after an epoch.

    Attributes:
        name: Stage and metric, such as ``target/val.accuracy``.
        epoch: Counted from 1, in its stage; 0 for what is fitted without epochs.
        value: The metric.
        seconds: Since the run was created.
    """

    name: str
    epoch: int
    value: float
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What identifies it in its run."""
        return self.name, self.epoch


@dataclass(frozen=True)
class Ending:
    """How a run has ended.

    Attributes:
        status: done, failed or interrupted.
        values: Number of its summary by name, such as ``summary/target.test.accuracy``.
        answer: The summary in one sentence; empty if it is not done.
        files: Small files to keep with it: the report and the summary.
    """

    status: str
    values: Mapping[str, float] = field(default_factory=dict)
    answer: str = ""
    files: Sequence[Path] = ()


class OpenRun(ABC):
    """A run that is open at a tracker; what :meth:`Tracker.open` returns.

    All methods are called from one thread. They may raise anything and take any time: whoever
    calls them copes. Use it in a ``with`` block, which closes it.

    Attributes:
        where: How to look at it: an address or a command.
        shown_running: Whether the tracker shows the run as one that goes on.
        keeps: Whether what is written stays anywhere.
    """

    where: str = ""
    shown_running: bool = False
    keeps: bool = True

    @abstractmethod
    def find_known(self) -> Collection[Key]:
        """Return what identifies the points that the tracker has of this run."""

    @abstractmethod
    def has_ended(self) -> bool:
        """Return whether the tracker has the end of a finished run."""

    @abstractmethod
    def add(self, points: Sequence[Point]) -> None:
        """Write points that it does not have, in the order in which they were measured."""

    @abstractmethod
    def end(self, ending: Ending) -> None:
        """Write how the run has ended; only what is ``done`` is final."""

    @abstractmethod
    def close(self) -> None:
        """Write what is still buffered, and let go of files and connections."""

    def __enter__(self) -> OpenRun:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


@dataclass(frozen=True, kw_only=True)
class Tracker(ABC):
    """Base of all trackers. A subclass is a frozen dataclass whose fields are its options.

    It opens a run, which it finds again by its key::

        @dataclass(frozen=True, kw_only=True)
        class Lines(Tracker):
            def open(self, run: TrackedRun) -> OpenRun:
                return OpenLines(run.folder / f"{run.key}.jsonl")

    Its library is imported where a run is opened, and not before.

    Args:
        wait: Most seconds that a run waits for the tracker when it has ended.

    Attributes:
        library: The module that it needs; empty for none.
        extra: The extra of mmx that installs it.
        places: Options that say where it writes. A run that is resumed takes all others from its
            config; where to write is said by whoever resumes it.
    """

    wait: Annotated[float, Field(gt=0, le=3600)] = 60.0
    library: ClassVar[str] = ""
    extra: ClassVar[str] = ""
    places: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Refuse to be made without its library.

        Raises:
            ValueError: The library is not installed.
        """
        require_library(self.library, self.extra)

    @property
    def name(self) -> str:
        """Its name in messages."""
        return variant(type(self))

    @abstractmethod
    def open(self, run: TrackedRun) -> OpenRun:
        """Return the run at the tracker: a new one, or the one of that key to go on with."""


def require_library(library: str, extra: str) -> None:
    """Check that a library can be found, without importing it.

    Raises:
        ValueError: It is not installed; says what to type.
    """
    if library and importlib.util.find_spec(library) is None:
        raise ValueError(f"needs {library}, which is not installed: pip install 'mmx[{extra}]'")


@contextlib.contextmanager
def silence_loggers(*loggers: str) -> Iterator[None]:
    """Keep libraries' log lines below errors off the terminal inside the ``with`` block."""
    before = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def set_defaults(**values: str) -> None:
    """Set variables of the environment that the user has not set."""
    for name, value in values.items():
        os.environ.setdefault(name, value)
