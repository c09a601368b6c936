"""Concurrent requests answered together: a queue, and one thread in which the model computes.

A call that takes long, such as one with a picture whose decoding hangs, is set aside: it goes on in
its thread, and another thread answers the requests after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from mmx.verbs.serve_limits import BusyError
from mmx.verbs.serve_threads import CallThread

MOST_ASIDE = 16
"""Calls that are set aside at most; with more, requests are refused."""
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
        answer: Answers rows, in their order; called in one thread, and in others only beside calls
            that take long.
        most_rows: Rows of a call. A request with more is a call of its own.
        wait: Seconds for which the first request of a call waits for others.
        most_waiting: Rows that may wait.
        count: Called with the number of rows of each call.
        patience: Seconds after which a call is set aside; its requests are then answered each by
            itself too, so that one of them alone waits for what hangs.
    """

    answer: Callable[[Sequence[RowT]], Sequence[AnswerT]]
    most_rows: int
    wait: float
    most_waiting: int
    count: Callable[[int], None] = lambda rows: None
    patience: float = 10.0
    waiting: int = 0
    _queue: asyncio.Queue[_Waiting[RowT, AnswerT]] = field(default_factory=asyncio.Queue)
    _held: _Waiting[RowT, AnswerT] | None = None
    _aside: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def is_stuck(self) -> bool:
        """Whether so many calls do not end that no more are begun."""
        return len(self._aside) >= MOST_ASIDE

    async def submit(self, rows: Sequence[RowT]) -> Sequence[AnswerT]:
        """Return the answers to a request's rows.

        Raises:
            BusyError: Too many rows wait already, or too many calls do not end.
        """
        if self.is_stuck:
            raise BusyError(f"{len(self._aside)} calls of the model have not ended yet")
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
        thread = CallThread()
        try:
            while True:
                batch = await self._gather()
                if not batch:
                    continue
                call = asyncio.create_task(self._answer(thread, batch))
                ended, _ = await asyncio.wait({call}, timeout=self.patience)
                if not ended:
                    thread.dismiss()
                    thread = CallThread()
                    self._set_aside(call, batch)
        finally:
            thread.dismiss()
            for each in self._aside:
                each.cancel()

    def _set_aside(
        self, call: asyncio.Task[None], batch: Sequence[_Waiting[RowT, AnswerT]]
    ) -> None:
        """Let a call go on beside others, and answer its requests each by itself."""
        alone = [[each] for each in batch] if len(batch) > 1 else []
        calls = [call, *(asyncio.create_task(self._answer_once(each)) for each in alone)]
        for one in calls:
            self._aside.add(one)
            one.add_done_callback(self._aside.discard)

    async def _answer_once(self, batch: Sequence[_Waiting[RowT, AnswerT]]) -> None:
        """Answer requests in a thread of their own."""
        thread = CallThread()
        try:
            await self._answer(thread, batch)
        finally:
            thread.dismiss()

    async def _answer(self, thread: CallThread, batch: Sequence[_Waiting[RowT, AnswerT]]) -> None:
        """Answer requests in one call of the model."""
        rows = [row for each in batch for row in each.rows]
        self.count(len(rows))
        try:
            answers = await thread.call(partial(self.answer, rows))
            if len(answers) != len(rows):  # others would get them
                raise RuntimeError(f"{len(answers)} answers to {len(rows)} rows")
        except (Exception, SystemExit) as error:  # own code of a model may raise anything
            _fail(batch, RuntimeError(str(error)))
            return
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
