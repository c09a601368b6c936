"""Threads for calls that may never end: neither other calls nor the end of the process wait."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

NAME, GRACE = "model", 1.0
"""What the threads are called; seconds that the end of the process gives each to end by itself."""
ResultT = TypeVar("ResultT")


class CallThread:
    """A thread that answers calls in turn, until it is dismissed.

    What it calls cannot be interrupted: a call that hangs is left to itself, and the process ends
    without it.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, name=NAME, daemon=True).start()

    def call(self, function: Callable[[], ResultT]) -> asyncio.Future[ResultT]:
        """Return what a function will return."""
        found = Future[ResultT]()
        self._calls.put((function, found))
        return asyncio.wrap_future(found)

    def dismiss(self) -> None:
        """Let the thread end after the calls that it has."""
        self._calls.put(None)

    def _run(self) -> None:
        while (given := self._calls.get()) is not None:
            function, found = given
            if not found.set_running_or_notify_cancel():
                continue
            try:
                found.set_result(function())
            except BaseException as error:  # own code of a model may raise anything
                found.set_exception(error)


async def call_in_own_thread(function: Callable[[], ResultT]) -> ResultT:
    """Return what a function returns, called in a thread of its own."""
    thread = CallThread()
    found = thread.call(function)
    thread.dismiss()
    return await found


def is_any_left() -> bool:
    """Return whether a thread does not end, after all have been dismissed."""
    left = [each for each in threading.enumerate() if each.name == NAME]
    for each in left:
        each.join(GRACE)
    return any(each.is_alive() for each in left)
