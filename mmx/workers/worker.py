"""The inside of a worker: it runs the jobs that it is given until there are none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

import torch

from mmx.training.events import SIGNALS, Event, EventKind, StopRequest
from mmx.workers.messages import Ended, Heard, Line, Message

STEP_SECONDS = 0.25
"""Least time between two steps of which a worker tells."""
Send = Callable[[Message], None]
Work = Callable[[int, "Teller"], None]
"""Runs the job of a number, and tells about it. Raises SystemExit where the run was interrupted."""


@dataclass
class Teller:
    """Tells the process that gave a job what happens in it.

    Args:
        send: Sends a message.
    """

    send: Send
    _last: float = 0.0

    def say(self, text: str, style: str | None = None) -> None:
        """Tell people something."""
        self.send(Line(text, style))

    def hear(self, event: Event) -> None:
        """Pass on an event of a run; of its steps not all."""
        if event.kind is EventKind.STEP:
            if time.monotonic() - self._last < STEP_SECONDS:
                return
            self._last = time.monotonic()
        self.send(Heard(event))


def serve(
    connection: Connection, work: Work, threads: int | None, inherited: Sequence[Connection] = ()
) -> None:
    """Run jobs by number until None or the end of the connection comes.

    A signal that comes between two jobs ends the worker; in a run, the run handles it. A second one
    also stops a job that waits, for example for another process.

    Args:
        connection: To the process that gives the jobs.
        work: Runs one.
        threads: CPU threads; None for torch's own choice.
        inherited: Ends of pipes that a fork has copied, and that are of the parent alone.
    """
    for other in inherited:
        other.close()
    stop = StopRequest()
    for name in SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)
    if threads is not None:
        torch.set_num_threads(threads)
    _end_with_parent()
    teller = Teller(_send_to(connection))
    while stop.signal_number is None:
        try:
            # Briefly: a signal only sets `stop`, and Python goes on with a wait that it interrupts.
            if not connection.poll(0.2):
                continue
            number = connection.recv()
        except (EOFError, OSError):
            return
        if number is None:
            return
        teller.send(run_work(work, number, teller))


def run_work(work: Work, number: int, teller: Teller) -> Ended:
    """Run a job, and return how it ended; nothing that it raises gets out."""
    try:
        work(number, teller)
    except SystemExit as error:
        return Ended(error.code if isinstance(error.code, int) else 1)
    except KeyboardInterrupt:
        return Ended(130)
    except Exception as error:  # the other jobs run all the same
        return Ended(1, str(error) or type(error).__name__)
    return Ended()


def _send_to(connection: Connection) -> Send:
    def send(message: Message) -> None:
        try:
            connection.send(message)
        except (OSError, ValueError):  # nobody listens any more; the run is saved all the same
            return

    return send


def _end_with_parent() -> None:
    """Stop this process, as by SIGTERM, when the one that started it has died."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="mmx-parent").start()
