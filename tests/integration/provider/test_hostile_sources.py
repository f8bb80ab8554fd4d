"""Inputs from a peer that lies, stalls or never ends: the lease is handed back, and says whose
fault it was. Real hosts, real store, real daemon."""

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from assay_node.artifacts.exchange_frames import (
    PROTOCOL,
    FoundBlock,
    Refusal,
    decode_request,
    encode_answer,
)
from assay_node.ports import Stream
from assay_node.protocol import job_spec
from assay_node.protocol.errors import AssayError
from assay_node.protocol.ids import Cid
from assay_node.protocol.job_spec import Resources
from assay_node.protocol.messages import HandBack
from assay_node.protocol.order import SignedOrder, job_id
from assay_node.protocol.units import MIB
from tests.integration.provider.test_provider_run import Market, open_market
from tests.unit.provider_agent.world import DOMAIN

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bwrap is not installed")

STALL_S = 0.5
WHOLE_S = 5
"""Two attempts at a source that stalls take far less, blocks that trickle far longer."""
CHUNK = 262_144
Answer = Callable[["Source", Stream, Cid], Awaitable[None]]


class Source:
    """Serves the scheduler's blocks in a way of its own; the job's spec honestly."""

    def __init__(self, market: Market, spec: bytes, answer: Answer) -> None:
        self.market = market
        self.spec = spec
        self.answer = answer
        self.sent_bytes = 0
        market.scheduler.network.serve_streams(PROTOCOL, self._serve)

    async def send(self, stream: Stream, cid: Cid, data: bytes) -> None:
        self.sent_bytes += len(data)
        await stream.send(encode_answer(FoundBlock(cid=cid, data=data)))

    async def data_of(self, cid: Cid) -> bytes:
        return await self.market.scheduler_artifacts.read_bytes(cid, bytes_max=4 * MIB)

    async def _serve(self, stream: Stream) -> None:
        with suppress(AssayError):  # the other side goes away when it has seen enough
            while (frame := await stream.receive()) is not None:
                for cid in decode_request(frame):
                    data = await self.data_of(cid)
                    if data == self.spec:
                        await self.send(stream, cid, data)
                    else:
                        await self.answer(self, stream, cid)


async def lie(source: Source, stream: Stream, cid: Cid) -> None:
    await source.send(stream, cid, b"x" + (await source.data_of(cid))[1:])


async def stall(source: Source, stream: Stream, cid: Cid) -> None:
    await asyncio.sleep(3600)


async def trickle(source: Source, stream: Stream, cid: Cid) -> None:
    """Each block just before patience with it ends: all of them would take minutes."""
    await asyncio.sleep(STALL_S * 0.6)
    await source.send(stream, cid, await source.data_of(cid))


async def pour(source: Source, stream: Stream, cid: Cid) -> None:
    """Blocks that nobody asked for, for ever."""
    while True:
        await source.send(stream, cid, random.randbytes(CHUNK))


async def refuse(source: Source, stream: Stream, cid: Cid) -> None:
    await stream.send(encode_answer(Refusal(reason="not for you\n\x1b[31m")))


async def honest(source: Source, stream: Stream, cid: Cid) -> None:
    await source.send(stream, cid, await source.data_of(cid))


@asynccontextmanager
async def impatient_market(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Market]:
    monkeypatch.setattr("assay_provider.execution.FETCH_PAUSE_S", 0.01)
    monkeypatch.setattr("assay_provider.execution.FETCH_ATTEMPTS", 2)
    monkeypatch.setattr("assay_provider.execution.FETCH_S_MIN", WHOLE_S)
    async with open_market(directory, block_timeout_s=STALL_S) as market:
        yield market


async def handed_back(market: Market, signed: SignedOrder) -> HandBack:
    assert (await market.scheduler.lease(signed)).accepted
    await market.scheduler.until(lambda: market.scheduler.hand_backs)
    (message,) = market.scheduler.hand_backs
    assert message.job == job_id(signed.order, DOMAIN)
    return message


async def large_order(market: Market, **resources: int) -> SignedOrder:
    """Return an order whose input has some 30 blocks."""
    noise = "".join(random.choices("abcdefgh", k=30 * CHUNK))
    return await market.order(
        f"# {noise}\n", commit_window_s=WHOLE_S, resources=Resources(**resources)
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lie, "lied: sent bytes that do not hash to"),
        (stall, "stalled: no block for 0.5 s"),
        (trickle, f"not there within {WHOLE_S} s"),
        (pour, "lied: sent bytes that do not hash to"),
        (refuse, r"refused: 'not for you\n\x1b[31m'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_hostile_source_costs_a_bounded_time_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer, reason: str
) -> None:
    async with impatient_market(tmp_path, monkeypatch) as market:
        signed = await large_order(market, memory_bytes=256 * MIB)
        spec = await spec_block(market, signed)
        source = Source(market, spec, answer)
        message = await handed_back(market, signed)
        assert reason in message.reason
        assert market.scheduler.network.peer_id in message.reason, "it says whose fault it was"
        assert market.scheduler.commits == []
        assert source.sent_bytes < 64 * MIB
        assert list((market.directory / "work").iterdir()) == []
        market.scheduler.hand_backs.clear()
        source.answer = honest
        reveal = await market.reveal(await market.order("open('/output/x', 'w').write('1')"))
        assert reveal.verdict == "ok", "and the slot is free for another"


async def test_a_source_that_claims_more_than_the_spec_allows_is_not_listened_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with impatient_market(tmp_path, monkeypatch) as market:
        signed = await large_order(market, memory_bytes=256 * MIB, input_bytes=MIB)
        source = Source(market, await spec_block(market, signed), honest)
        message = await handed_back(market, signed)
        assert f"more than the {MIB} bytes allowed" in message.reason
        assert source.sent_bytes < MIB, "its nodes say how large it is before its chunks come"


async def spec_block(market: Market, signed: SignedOrder) -> bytes:
    cid = job_spec.spec_cid(signed.order.spec)
    return await market.scheduler_artifacts.read_bytes(cid, bytes_max=MIB)
