"""Requests at the same time: answered together, in order, and refused where too many wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from mmx.verbs.serve_batches import MOST_ASIDE, Batcher
from mmx.verbs.serve_limits import BusyError


def double(rows: Sequence[int]) -> list[int]:
    return [2 * row for row in rows]


async def ask(batcher: Batcher[int, int], *requests: list[int]) -> list[object]:
    task = asyncio.create_task(batcher.run())
    found = await asyncio.gather(*map(batcher.submit, requests), return_exceptions=True)
    task.cancel()
    return found


def test_everybody_gets_their_own_answers_from_few_calls():
    calls: list[int] = []
    batcher = Batcher[int, int](double, 8, 0.05, 1000, calls.append)
    requests = [[place, place + 100] for place in range(50)]
    found = asyncio.run(ask(batcher, *requests))
    assert found == [double(each) for each in requests]
    assert sum(calls) == 100
    assert max(calls) == 8
    assert batcher.waiting == 0


def test_a_request_larger_than_a_batch_is_a_call_of_its_own():
    calls: list[int] = []
    batcher = Batcher[int, int](double, 4, 0.05, 1000, calls.append)
    found = asyncio.run(ask(batcher, [1], [*range(10)], [2]))
    assert found == [[2], double(range(10)), [4]]
    assert sorted(calls) == [1, 1, 10]


def test_a_fault_fails_its_call_alone():
    def fail_at_7(rows: Sequence[int]) -> list[int]:
        if 7 in rows:
            raise RuntimeError("seven")
        return double(rows)

    batcher = Batcher[int, int](fail_at_7, 1, 0.0, 1000)
    first, second, third = asyncio.run(ask(batcher, [1], [7], [2]))
    assert (first, str(second), third) == ([2], "seven", [4])


def test_a_queue_that_is_full_refuses():
    batcher = Batcher[int, int](double, 1, 0.0, 3)
    found = asyncio.run(ask(batcher, *([place] for place in range(6))))
    assert [isinstance(each, BusyError) for each in found] == [False] * 3 + [True] * 3
    assert batcher.waiting == 0


def test_a_client_that_has_gone_is_not_answered():
    computed: list[int] = []
    blocked = threading.Event()

    def compute(rows: Sequence[int]) -> list[int]:
        blocked.wait(10)
        computed.extend(rows)
        return double(rows)

    async def leave() -> None:
        batcher = Batcher[int, int](compute, 1, 0.0, 100)
        task = asyncio.create_task(batcher.run())
        first = asyncio.create_task(batcher.submit([1]))
        await asyncio.sleep(0.05)
        gone = asyncio.create_task(batcher.submit([2]))
        last = asyncio.create_task(batcher.submit([3]))
        await asyncio.sleep(0.05)
        gone.cancel()
        blocked.set()
        assert await first == [2]
        assert await last == [6]
        task.cancel()

    asyncio.run(leave())
    assert computed == [1, 3]


@pytest.mark.parametrize("count", [1, 5])
def test_the_first_waits_for_others_but_not_for_long(count):
    calls: list[int] = []
    batcher = Batcher[int, int](double, 100, 0.01, 100, calls.append)
    asyncio.run(ask(batcher, *([place] for place in range(count))))
    assert calls == [count]


def test_answers_that_are_not_one_for_each_row_are_given_to_nobody():
    batcher = Batcher[int, int](lambda rows: double(rows[1:]), 8, 0.05, 1000)
    found = asyncio.run(ask(batcher, [1, 2], [3]))
    assert [str(each) for each in found] == ["2 answers to 3 rows"] * 2


def test_what_hangs_keeps_neither_later_requests_nor_those_beside_it() -> None:
    ended = threading.Event()

    def hang_at_7(rows: Sequence[int]) -> list[int]:
        if 7 in rows:
            ended.wait(60)
        return double(rows)

    async def go_on() -> None:
        batcher = Batcher[int, int](hang_at_7, 8, 0.05, 100, patience=0.05)
        task = asyncio.create_task(batcher.run())
        hangs, beside = (asyncio.create_task(batcher.submit([row])) for row in (7, 1))
        assert await beside == [2]
        assert [await batcher.submit([row]) for row in (2, 3)] == [[4], [6]]
        assert not hangs.done()
        ended.set()
        assert await hangs == [14]
        task.cancel()

    asyncio.run(go_on())


def test_requests_are_refused_where_too_many_calls_do_not_end() -> None:
    ended = threading.Event()

    def hang(rows: Sequence[int]) -> list[int]:
        ended.wait(60)
        return double(rows)

    async def fill() -> None:
        batcher = Batcher[int, int](hang, 1, 0.0, 100, patience=0.01)
        task = asyncio.create_task(batcher.run())
        asked = [asyncio.create_task(batcher.submit([row])) for row in range(MOST_ASIDE)]
        while not batcher.is_stuck:
            await asyncio.sleep(0.01)
        with pytest.raises(BusyError, match="16 calls of the model have not ended yet"):
            await batcher.submit([1])
        ended.set()
        assert await asyncio.gather(*asked) == [double([row]) for row in range(MOST_ASIDE)]
        assert not batcher.is_stuck
        task.cancel()

    asyncio.run(fill())
