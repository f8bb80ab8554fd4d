"""The world of a daemon in virtual time: its hours take milliseconds, the same each time."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from assay_provider.road_terms import RoadTerms
from tests.fakes.provider_leases import Tables
from tests.unit.provider_agent.dealing import Dealer
from tests.unit.provider_agent.mortal import FickleSandbox
from tests.unit.provider_agent.world import NOW, FakeChain, FakeClock, World, open_world

KEEP_S = 20


class LoopClock(FakeClock):
    """Tells the loop's time; setting `time` jumps."""

    def __init__(self) -> None:
        self._ahead_s = NOW

    @property
    def time(self) -> float:
        return asyncio.get_running_loop().time() + self._ahead_s

    @time.setter
    def time(self, moment: float) -> None:
        self._ahead_s = moment - asyncio.get_running_loop().time()


@asynccontextmanager
async def prepared(directory: Path) -> AsyncIterator[tuple[World, Dealer]]:
    async with open_world(directory) as world:
        world.clock = LoopClock()
        world.chain = FakeChain(world.clock)
        world.tables = Tables()
        world.scheduler.heartbeat_s = 5
        world.sandbox = FickleSandbox()
        world.supply = dataclasses.replace(
            world.supply,
            result_keep_s=KEEP_S,
            road=RoadTerms(patience_s=10_000, margin_s=50, turn_s=1, poll_s=2.0),
        )
        yield world, Dealer(world)
