"""Options that another process composes while this one imports torch.

Composing and importing take about as long, and neither needs the other. What the other process
does not compose, for whatever reason, is composed here as if there were none, with its errors.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

PATIENCE = 30.0
"""Seconds to wait for the other process, at most."""
Compose = Callable[[], Mapping[Hashable, Any]]
"""Returns what was composed, by key; see :func:`mmx.config.choose_all.choose_all`."""


class _Ahead:
    """The other process, and what has come from it."""

    process: BaseProcess | None = None
    connection: Connection | None = None
    found: Mapping[Hashable, Any] = {}


@contextmanager
def composing_ahead(compose: Compose) -> Iterator[None]:
    """Let a fork compose while the block runs; :func:`take` returns what it has composed.

    It does not where that gains nothing, or where this process has threads, which a fork breaks.
    """
    usable = hasattr(os, "fork") and "torch" not in sys.modules and threading.active_count() == 1
    if not usable or _Ahead.process is not None or _count_cores() < 2:
        yield
        return
    try:
        _start(compose)
        yield
    finally:
        _end()
        _Ahead.found = {}


def take(key: Hashable) -> Any | None:
    """Return what was composed ahead for a key; None where nothing was.

    The first call waits until the other process has composed everything.
    """
    if (connection := _Ahead.connection) is not None:
        # Only whole messages of a process that this one has forked are unpickled.
        with contextlib.suppress(EOFError, OSError, pickle.UnpicklingError):
            if connection.poll(PATIENCE):
                _Ahead.found = connection.recv()
        _end()
    return _Ahead.found.get(key)


def _count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start(compose: Compose) -> None:
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(
        target=_compose_and_send, args=(compose, there, here), name="mmx-composer", daemon=True
    )
    process.start()
    there.close()  # so that its end is noticed
    _Ahead.process, _Ahead.connection = process, here


def _end() -> None:
    if (connection := _Ahead.connection) is not None:
        connection.close()
    if (process := _Ahead.process) is not None:
        process.kill()
        process.join()
    _Ahead.process, _Ahead.connection = None, None


def _compose_and_send(compose: Compose, connection: Connection, inherited: Connection) -> None:
    """Compose in the fork; what fails there or warns is left to the process that reads."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this one
    inherited.close()
    found: Mapping[Hashable, Any] = {}
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compose()
    with contextlib.suppress(OSError):  # the parent has gone on without it
        connection.send(found)
