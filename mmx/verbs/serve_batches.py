"""Concurrent requests answered together: a queue, and one thread in which the model computes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mmx.verbs.serve_limits import BusyError

RowT = TypeVar("RowT")
AnswerT = TypeVar("AnswerT")


@dataclass
class _Waiting(Generic[RowT, AnswerT]):
    rows: Sequence[RowT]
    answers: asyncio.Future[Sequence[AnswerT]]


@dataclass
class Batcher(Generic[RowT, AnswerT]):
    """Answers rows of several requests in one call.

    Args:
        answer: Answers rows, in their order; called in one thread, never twice at once.
        most_rows: Rows of a call. A request with more is a call of its own.
        wait: Seconds for which the first request of a call waits for others.
        most_waiting: Rows that may wait.
        count: Called with the number of rows of each call.
    """

    answer: Callable[[Sequence[RowT]], Sequence[AnswerT]]
    most_rows: int
    wait: float
    most_waiting: int
    count: Callable[[int], None] = lambda rows: None
    waiting: int = 0
    _queue: asyncio.Queue[_Waiting[RowT, AnswerT]] = field(default_factory=asyncio.Queue)
    _held: _Waiting[RowT, AnswerT] | None = None

    async def submit(self, rows: Sequence[RowT]) -> Sequence[AnswerT]:
        """Return the answers to a request's rows.

        Raises:
            BusyError: Too many rows wait already.
        """
        if self.waiting and self.waiting + len(rows) > self.most_waiting:
            raise BusyError(f"{self.waiting:,} rows are waiting")
        entry = _Waiting(rows, asyncio.get_running_loop().create_future())
        self.waiting += len(rows)
        try:
            self._queue.put_nowait(entry)
            return await entry.answers
        finally:  # also where the client has gone, or waited too long
            self.waiting -= len(rows)

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="model") as thread:
            while True:
                batch = await self._gather()
                rows = [row for each in batch for row in each.rows]
                if not rows:
                    continue
                self.count(len(rows))
                try:
                    answers = await loop.run_in_executor(thread, self.answer, rows)
                    if len(answers) != len(rows):  # others would get them
                        raise RuntimeError(f"{len(answers)} answers to {len(rows)} rows")
                except (Exception, SystemExit) as error:  # own code of a model may raise anything
                    _fail(batch, RuntimeError(str(error)))
                    continue
                _hand_out(batch, answers)

    async def _gather(self) -> list[_Waiting[RowT, AnswerT]]:
        """Return the requests of the next call, without those whose clients have gone."""
        first, self._held = self._held or await self._queue.get(), None
        batch, count = [first], len(first.rows)
        until = asyncio.get_running_loop().time() + self.wait
        while count < self.most_rows:
            left = until - asyncio.get_running_loop().time()
            try:
                other = await asyncio.wait_for(self._queue.get(), max(0.0, left))
            except asyncio.TimeoutError:
                break
            if count + len(other.rows) > self.most_rows:
                self._held = other
                break
            batch.append(other)
            count += len(other.rows)
        return [each for each in batch if not each.answers.done()]


def _hand_out(batch: Sequence[_Waiting[RowT, AnswerT]], answers: Sequence[AnswerT]) -> None:
    start = 0
    for each in batch:
        if not each.answers.done():
            each.answers.set_result(answers[start : start + len(each.rows)])
        start += len(each.rows)


def _fail(batch: Sequence[_Waiting[RowT, AnswerT]], error: Exception) -> None:
    for each in batch:
        if not each.answers.done():
            each.answers.set_exception(error)
