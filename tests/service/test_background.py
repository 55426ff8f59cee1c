"""Work beside the requests."""

import asyncio
from contextlib import suppress

from congrad_service.background import background, pause


def test_work_that_swallows_its_cancellation_ends_in_its_next_pause() -> None:
    begun = asyncio.Event()

    async def stubborn(stopped: asyncio.Event) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await pause(stopped, 60)

    async def run() -> None:
        async with asyncio.timeout(10), background(stubborn):
            await begun.wait()

    asyncio.run(run())


def test_a_pause_lasts_as_long_as_it_should() -> None:
    async def run() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await pause(asyncio.Event(), 0.1)
        return loop.time() - begun

    assert 0.09 < asyncio.run(run()) < 5
