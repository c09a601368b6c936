"""Every error that mmx raises on purpose, and how it prints.

    MmxError                exit 1
    ├── UsageError          exit 2    a command line that cannot be read
    ├── ConfigError         exit 2    every problem of a config, collected
    ├── UnreadableFileError exit 1    a file that its reader cannot handle
    ├── DataError           exit 1    a file, row or split that cannot be used
    ├── TransferError       exit 1    a source that does not fit its target
    ├── RunError            exit 1    a run directory that cannot be used
    │   ├── DamagedFileError          a file that has changed since mmx wrote it
    │   └── NoRunError      exit 2    a path that leads to no run
    ├── CallbackError       exit 1    own code that was told of a run, and raised
    ├── TrainingError       exit 1    a training that cannot go on
    │   ├── DivergedError             NaN or infinite loss
    │   ├── DeadParameterError        trainable, and no gradient reaches it
    │   ├── MemoryExceededError       the device is out of memory
    │   └── ProcessError              processes of one run that cannot go on together
    └── Interrupted         exit 130 (Ctrl-C) or 143 (SIGTERM)

A message says what was given, what is accepted and the closest match; the tip
is what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from mmx.printable import LINE, shorten


class MmxError(Exception):
    """Base of all deliberate errors; anything else that is raised is a fault of mmx.

    Args:
        message: What is wrong, with the values that were given.
        tip: What to type or do next; printed on a separate line.

    Example::

        raise UsageError("there is no verb 'tran'; the verbs are train, …", tip="mmx train")

        mmx: there is no verb 'tran'; the verbs are train, …
          tip: mmx train
    """

    exit_code = 1

    def __init__(self, message: str, *, tip: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.tip = tip

    def __str__(self) -> str:
        message = "\n".join(shorten(line, LINE) for line in self.message.split("\n"))
        return message if self.tip is None else f"{message}\n  tip: {self.tip}"

    def __reduce__(self) -> tuple[object, ...]:
        # By default an exception is unpickled by calling its class with `args`, which does not
        # fit the constructors below; a worker process would die of it.
        return (_rebuild, (type(self), dict(self.__dict__), self.args))


def _rebuild(kind: type[MmxError], state: dict[str, object], args: tuple[object, ...]) -> MmxError:
    """Restore an error that travelled between processes."""
    error = kind.__new__(kind)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class UsageError(MmxError):
    """A command line that cannot be read."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a config.

    Args:
        given: What was written, as it was written.
        reason: Why it cannot be used.
        accepted: What would be accepted, in words.
        closest: The accepted word nearest to the one given.
        type_this: A complete override that would work.
        where: The file and line to mend, where it was not typed.
    """

    given: str
    reason: str
    accepted: str | None = None
    closest: str | None = None
    type_this: str | None = None
    where: str | None = None

    def __str__(self) -> str:
        lines = [f"{shorten(self.given)}: {self.reason}"]
        if self.where:
            lines.append(f"  in:       {shorten(self.where)}")
        if self.accepted:
            lines.append(f"  accepted: {self.accepted}")
        if self.closest:
            lines.append(f"  closest:  {self.closest}")
        if self.type_this and len(self.type_this) <= LINE:  # cut, it would not work
            lines.append(f"  type:     {self.type_this}")
        return "\n".join(lines)


class ConfigError(MmxError):
    """All problems of a config, in one message."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 problem in the config" if count == 1 else f"{count} problems in the config"
        super().__init__("\n".join([head, *(str(problem) for problem in self.problems)]))


class UnreadableFileError(MmxError):
    """A file that is absent, too large, nested too deeply, or not of the expected kind or format.

    Args:
        path: The file.
        reason: Why it cannot be used, in words that follow its path.
        missing: Whether it does not exist.
        tip: What to type or do next.
    """

    def __init__(
        self, path: object, reason: str, *, missing: bool = False, tip: str | None = None
    ) -> None:
        super().__init__(f"{path} {reason}", tip=tip)
        self.path = str(path)
        self.reason = reason
        self.missing = missing


class DataError(MmxError):
    """Data that is absent, unreadable or not what the config says it is."""


class TransferError(MmxError):
    """A source that does not fit its target."""


class RunError(MmxError):
    """A run directory that does not exist, is in use or cannot be continued."""


class DamagedFileError(RunError):
    """A file of a run that has changed since mmx wrote it."""


class NoRunError(RunError):
    """A path that was given as a run and does not lead to one."""

    exit_code = 2


class CallbackError(MmxError):
    """A callback of the user's own raised an exception, or changed what it may only read."""


class TrainingError(MmxError):
    """A training that cannot go on."""


class DivergedError(TrainingError):
    """The loss is NaN or infinite."""


class DeadParameterError(TrainingError):
    """A trainable parameter that the loss does not depend on."""


class MemoryExceededError(TrainingError):
    """The device has no memory left for this batch size."""


class ProcessError(TrainingError):
    """The processes of one run cannot go on together: one has died, or their weights differ."""


BUDGET_USED = 124
"""The exit code where a budget of time is used up, as of ``timeout``."""


class Interrupted(MmxError):
    """A signal asked the run to stop, or its budget of time is used up; its state is saved.

    ``signal_number`` is None in the second case.
    """

    def __init__(self, message: str, *, signal_number: int | None, tip: str | None = None) -> None:
        super().__init__(message, tip=tip)
        self.signal_number = signal_number
        # 128 and a signal: the convention of shells
        self.exit_code = BUDGET_USED if signal_number is None else 128 + signal_number


def closest(word: str, accepted: Iterable[str], *, cutoff: float = 0.5) -> str | None:
    """Return the accepted word most like ``word``, or None where none is near.

    Short words resemble each other by chance, so the shorter an accepted word is, the more
    similar the given word must be.

    Args:
        word: What was given.
        accepted: What could have been meant.
        cutoff: The similarity, from 0 to 1, that a long word needs.
    """
    names = list(accepted)
    matches = difflib.get_close_matches(word, names, n=max(1, len(names)), cutoff=cutoff)
    for name in matches:  # from the most similar to the least
        similarity = difflib.SequenceMatcher(None, name, word).ratio()
        if similarity >= max(cutoff, _short_cutoff(name)):
            return name
    return None


def _short_cutoff(accepted: str) -> float:
    """Return the similarity that a word needs to be taken for a short one."""
    if len(accepted) <= 2:
        return 0.7  # one letter too many is 0.8, two are 0.67
    return 0.65 if len(accepted) <= 4 else 0.0
