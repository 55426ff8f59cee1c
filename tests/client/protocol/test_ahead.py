"""A few requests in flight at once: in threads and in tasks."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from queue import SimpleQueue

import pytest
from congrad.errors import APITimeoutError
from congrad.protocol.ahead import ahead
from congrad.protocol.ahead_async import ahead_async, each

PATIENCE_S = 20


def test_an_answer_does_not_wait_for_a_source_that_is_slow() -> None:
    """An item comes when the one before has been dealt with, so that the first answer is there long before the last."""
    answered: SimpleQueue[int] = SimpleQueue()
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for taken in range(1, 200):
            yield taken
            answered.get(timeout=PATIENCE_S)

    outcomes = ahead(source(), lambda item, _: answered.put(item), 200)
    assert next(outcomes) == (1, None)
    assert taken < 100
    outcomes.close()


def test_an_answer_does_not_wait_for_an_asynchronous_source_that_is_slow() -> None:
    async def watch() -> None:
        answered = asyncio.Event()

        async def source() -> AsyncIterator[int]:
            yield 1
            await answered.wait()
            yield 2
            await asyncio.Event().wait()  # there is nothing more, and no end

        async def run(_: int) -> None:
            answered.set()

        outcomes = ahead_async(source(), run, 3)
        async with asyncio.timeout(PATIENCE_S):
            assert await anext(outcomes) == (1, None)
        await outcomes.aclose()

    asyncio.run(watch())


def test_no_more_is_taken_of_a_source_than_requests_may_be_in_flight() -> None:
    """A request ends when as many items have been taken as may be in flight with it."""
    changed = threading.Condition()
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        while True:
            with changed:
                taken += 1
                changed.notify_all()
            yield taken - 1

    def run(item: int, _: threading.Event) -> bool:
        with changed:
            return changed.wait_for(lambda: taken >= item + 3, PATIENCE_S)

    outcomes = ahead(source(), run, 3)
    for number in range(50):
        assert next(outcomes) == (number, True)
        assert taken == number + 3
    outcomes.close()


def test_a_request_is_told_when_nobody_wants_its_answer_any_more() -> None:
    both, told = threading.Barrier(2, timeout=PATIENCE_S), SimpleQueue[bool]()

    def run(item: int, abandoned: threading.Event) -> None:
        both.wait()
        if item:
            told.put(abandoned.wait(PATIENCE_S))

    outcomes = ahead([0, 1], run, 2)
    assert next(outcomes) == (0, None)
    outcomes.close()
    assert told.get(timeout=2 * PATIENCE_S)


def test_tasks_end_when_nobody_wants_their_answers_any_more() -> None:
    async def watch() -> list[int]:
        ended: list[int] = []

        async def run(item: int) -> None:
            if item:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append(item)

        outcomes = ahead_async(each([0, 1, 2]), run, 3)
        assert await anext(outcomes) == (0, None)
        async with asyncio.timeout(PATIENCE_S):
            await outcomes.aclose()
        return ended

    assert asyncio.run(watch()) == [1, 2]


def test_a_request_without_an_end_is_a_timeout_and_does_not_hold_up_the_others() -> None:
    released = threading.Event()

    def run(item: int, _: threading.Event) -> int:
        if item == 0:
            released.wait(PATIENCE_S)
        return item

    outcomes = [outcome for _, outcome in ahead([0, 1], run, 2, seconds=0.05)]
    released.set()
    assert isinstance(outcomes[0], APITimeoutError)
    assert outcomes[1] == 1


def test_what_an_asynchronous_source_raises_comes_after_the_answers_before() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise OSError("the file is gone")

    async def run(item: int) -> int:
        return item

    async def watch() -> list[object]:
        outcomes = ahead_async(source(), run, 5)
        found: list[object] = [await anext(outcomes), await anext(outcomes)]
        with pytest.raises(OSError, match="the file is gone"):
            await anext(outcomes)
        return found

    assert asyncio.run(watch()) == [(1, 1), (2, 2)]
