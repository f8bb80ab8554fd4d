"""Fetching from peers: honest ones, and those that lie, stall, refuse or know nothing."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from assay_node.artifacts import ArtifactSettings, open_artifacts, unixfs
from assay_node.artifacts.blockstore import Block
from assay_node.artifacts.exchange_frames import (
    PROTOCOL,
    FoundBlock,
    Refusal,
    decode_answer,
    encode_answer,
    encode_request,
)
from assay_node.ports import ArtifactLimits
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import LocalError, MalformedMessage, Refused, RemoteError
from assay_node.protocol.ids import Cid
from tests.fakes.network import FakeStream
from tests.integration.artifacts.conftest import OpenPeer
from tests.integration.artifacts.peers import Peer
from tests.integration.artifacts.trees import (
    ROOMY,
    SAMPLE,
    block_files,
    noise,
    read_tree,
    write_tree,
)

CHUNK = 262_144


async def share(peer: Peer, path: Path, tree: object) -> Cid:
    """Add a tree to a peer's store."""
    return await peer.artifacts.add(write_tree(path, tree), limits=ROOMY)  # type: ignore[arg-type]


async def test_a_fetched_tree_is_the_same_and_counts_its_bytes(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    cid = await share(source, tmp_path / "in", SAMPLE)
    assert not await reader.artifacts.has(cid)
    assert await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY) == 600_015
    assert await reader.artifacts.has(cid)
    await reader.artifacts.export(cid, tmp_path / "out")
    assert read_tree(tmp_path / "out") == SAMPLE


async def test_a_large_file_of_more_blocks_than_are_ever_in_flight(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    source.intercept()
    data = noise(400 * CHUNK + 1)
    cid = await share(source, tmp_path / "in", data)
    assert await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY) == len(data)
    await reader.artifacts.export(cid, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert len(source.asked) == len(set(source.asked)) == 401 + 3 + 1


async def test_a_file_of_zeros_asks_for_its_only_chunk_once(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    source.intercept()
    cid = await share(source, tmp_path / "in", bytes(600 * CHUNK))
    assert await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY) == 600 * CHUNK
    assert len(source.asked) == len(set(source.asked)) < 10
    assert await reader.artifacts.has(cid)


@pytest.mark.parametrize("codec", [cids.RAW, cids.DAG_CBOR])
async def test_single_blocks_are_fetched_and_read(open_peer: OpenPeer, codec: int) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    cid = await source.artifacts.add_bytes(b"\xa0", codec=codec)
    with pytest.raises(LocalError, match="not in the artifact store"):
        await reader.artifacts.read_bytes(cid, bytes_max=1)
    assert await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY) == 1
    assert await reader.artifacts.read_bytes(cid, bytes_max=1) == b"\xa0"
    with pytest.raises(LocalError, match="has 1 bytes; at most 0"):
        await reader.artifacts.read_bytes(cid, bytes_max=0)


async def test_blocks_that_are_here_are_not_fetched_again(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    source.intercept()
    old, new = noise(20 * CHUNK, seed=1), noise(CHUNK, seed=2)
    await share(reader, tmp_path / "old", {"data": old})
    cid = await share(source, tmp_path / "both", {"data": old, "more": new})
    await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY)
    assert source.asked == [cid, cids.of_block(cids.RAW, new)]

    await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY)
    assert len(source.asked) == 2
    await reader.artifacts.fetch(cid, [], limits=ROOMY)


async def test_a_fetch_goes_on_where_the_last_source_failed(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    first, second, reader = [await open_peer(name) for name in ("first", "second", "reader")]
    data = noise(300 * CHUNK)
    cid = await share(first, tmp_path / "in", data)
    await second.artifacts.add(tmp_path / "in", limits=ROOMY)
    sent = 0

    def fail_after_200(frame: bytes) -> bytes:
        nonlocal sent
        sent += 1
        return frame if sent <= 200 else encode_answer(Refusal(reason="enough"))

    first.intercept(fail_after_200)
    second.intercept()
    await reader.artifacts.fetch(cid, [first.peer_id, second.peer_id], limits=ROOMY)
    assert await reader.artifacts.has(cid)
    assert len(second.asked) <= 303 - 200 + 2 * 32  # what was not yet stored is asked for again


def _lie(frame: bytes) -> bytes:
    answer = decode_answer(frame)
    assert isinstance(answer, FoundBlock)
    return encode_answer(FoundBlock(cid=answer.cid, data=answer.data[:-1] + b"?"))


def _answer_another(frame: bytes) -> bytes:
    return encode_answer(FoundBlock(cid=cids.of_block(cids.RAW, b"other"), data=b"other"))


def _refuse(frame: bytes) -> bytes:
    return encode_answer(Refusal(reason="closed\n\x1b[31m"))


def _stall(frame: bytes) -> None:
    return None


def _babble(frame: bytes) -> bytes:
    return b"\xff" + frame


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_lie, "lied: sent bytes that do not hash to b"),
        (_answer_another, "answered with another block"),
        (_refuse, r"refused: 'closed\\n\\x1b\[31m'"),
        (_stall, "stalled: no block for 0.2 s"),
        (_babble, "sent not an answer"),
    ],
)
async def test_a_bad_source_is_left_for_the_next_and_named(
    open_peer: OpenPeer, tmp_path: Path, change: "object", reason: str
) -> None:
    bad, ignorant, good = [await open_peer(name) for name in ("bad", "ignorant", "good")]
    reader = await open_peer("reader", block_timeout_s=0.2)
    cid = await share(bad, tmp_path / "in", SAMPLE)
    await good.artifacts.add(tmp_path / "in", limits=ROOMY)
    bad.intercept(change)  # type: ignore[arg-type]

    with pytest.raises(RemoteError, match=reason) as caught:
        await reader.artifacts.fetch(cid, [bad.peer_id, ignorant.peer_id], limits=ROOMY)
    assert f"{bad.peer_id} " in str(caught.value)
    assert f"{ignorant.peer_id} does not have block {cid}" in str(caught.value)
    assert not block_files(tmp_path / "reader")

    await reader.artifacts.fetch(cid, [bad.peer_id, good.peer_id], limits=ROOMY)
    assert await reader.artifacts.has(cid)


async def test_a_source_that_goes_away_is_left_for_the_next(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    gone, good, reader = [await open_peer(name) for name in ("gone", "good", "reader")]
    cid = await share(good, tmp_path / "in", SAMPLE)
    await gone.artifacts.add(tmp_path / "in", limits=ROOMY)

    def cut(frame: bytes) -> bytes:
        gone.network._hub.sever(gone.network, reader.network)
        return frame

    gone.intercept(cut)
    await reader.artifacts.fetch(cid, [gone.peer_id, good.peer_id], limits=ROOMY)
    assert await reader.artifacts.has(cid)
    with pytest.raises(RemoteError, match="not connected"):
        await reader.artifacts.fetch(
            cids.of_block(cids.RAW, b"?"), [gone.peer_id, gone.peer_id], limits=ROOMY
        )


async def test_without_sources_or_network_only_local_artifacts_are_fetched(
    open_peer: OpenPeer, settings: ArtifactSettings, tmp_path: Path
) -> None:
    peer = await open_peer("peer")
    absent = cids.of_block(cids.RAW, b"absent")
    with pytest.raises(LocalError, match="no peer to fetch it from"):
        await peer.artifacts.fetch(absent, [], limits=ROOMY)
    async with open_artifacts(settings, None) as alone:
        cid = await alone.add(write_tree(tmp_path / "in", SAMPLE), limits=ROOMY)
        assert await alone.fetch(cid, [], limits=ROOMY) == 600_015
        with pytest.raises(LocalError, match="no peer to fetch it from"):
            await alone.fetch(absent, [peer.peer_id], limits=ROOMY)


async def test_limits_end_a_fetch_before_its_blocks_are_asked_for(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    source.intercept()
    cid = await share(source, tmp_path / "in", noise(100 * CHUNK))
    with pytest.raises(Refused, match="more than the 1000 bytes allowed"):
        await reader.artifacts.fetch(cid, [source.peer_id], limits=ArtifactLimits(bytes_max=1000))
    assert source.asked == [cid]


async def test_a_malformed_artifact_is_nobodys_lie(open_peer: OpenPeer, tmp_path: Path) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    chunk = cids.of_block(cids.RAW, b"x")
    entries = (unixfs.DirectoryEntry(name="..", cid=chunk, tsize=1),)
    block = unixfs.encode(unixfs.Directory(entries=entries))
    evil = cids.of_block(cids.DAG_PB, block)
    source.artifacts._blocks.put([Block(cid=evil, data=block)], hold=None)
    with pytest.raises(MalformedMessage, match="not a name of its own"):
        await reader.artifacts.fetch(evil, [source.peer_id], limits=ROOMY)
    assert not block_files(tmp_path / "reader")


async def test_concurrent_fetches_of_the_same_root_and_of_shared_blocks(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    one, two, reader = [await open_peer(name) for name in ("one", "two", "reader")]
    tree = {"a": noise(80 * CHUNK), "b": {"c": noise(10, seed=3)}}
    cid = await share(one, tmp_path / "in", tree)
    await two.artifacts.add(tmp_path / "in", limits=ROOMY)
    part = cids.of_block(cids.RAW, noise(10, seed=3))
    async with asyncio.TaskGroup() as fetches:
        for sources in ([one], [two], [one, two], [two, one]):
            peers = [peer.peer_id for peer in sources]
            fetches.create_task(reader.artifacts.fetch(cid, peers, limits=ROOMY))
            fetches.create_task(reader.artifacts.fetch(part, peers, limits=ROOMY))
    await reader.artifacts.export(cid, tmp_path / "out")
    assert read_tree(tmp_path / "out") == tree
    files = block_files(tmp_path / "reader")
    usage = await reader.artifacts.usage()
    assert usage.used_bytes == sum(path.stat().st_size for path in files)


async def test_a_cancelled_fetch_holds_nothing_and_can_be_taken_up(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    cid = await share(source, tmp_path / "in", noise(300 * CHUNK))
    fetching: asyncio.Task[int]
    sent = 0

    def cancel_midway(frame: bytes) -> bytes:
        nonlocal sent
        sent += 1
        if sent == 150:
            fetching.cancel()
        return frame

    source.intercept(cancel_midway)
    fetching = asyncio.create_task(reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY))
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert 0 < len(block_files(tmp_path / "reader")) <= 150
    assert not list((tmp_path / "reader" / "partial").iterdir())
    before = len(source.asked)
    await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY)
    assert before + len(source.asked) >= 302
    assert len(source.asked) - before < 302

    fetching = asyncio.create_task(reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY))
    await fetching
    await reader.artifacts.collect_garbage()
    assert not block_files(tmp_path / "reader")


async def test_a_damaged_block_is_not_served_but_removed(
    open_peer: OpenPeer, tmp_path: Path
) -> None:
    source, reader = await open_peer("source"), await open_peer("reader")
    cid = await share(source, tmp_path / "in", b"content")
    (path,) = block_files(tmp_path / "source")
    path.write_bytes(b"CONTENT")
    with pytest.raises(RemoteError, match="does not have block"):
        await reader.artifacts.fetch(cid, [source.peer_id], limits=ROOMY)
    assert not path.exists()
    assert (await source.artifacts.usage()).used_bytes == 0


async def test_streams_are_bounded_for_each_peer_and_for_all(open_peer: OpenPeer) -> None:
    server = await open_peer("server", streams_per_peer_max=2, streams_max=3)
    greedy, modest, late = [await open_peer(name) for name in ("greedy", "modest", "late")]
    block = await server.artifacts.add_bytes(b"x", codec=cids.RAW)

    async def answer_to(peer: Peer) -> object:
        stream = await peer.network.open_stream(server.peer_id, PROTOCOL)
        with suppress(RemoteError):  # it may have refused already
            await stream.send(encode_request([block]))
        frame = await stream.receive()
        assert frame is not None
        return decode_answer(frame)

    assert await answer_to(greedy) == await answer_to(greedy) == FoundBlock(cid=block, data=b"x")
    assert await answer_to(greedy) == Refusal(
        reason="you have 2 streams open, and may not have more"
    )
    assert isinstance(await answer_to(modest), FoundBlock)
    assert await answer_to(late) == Refusal(reason="too many peers are fetching; try again later")
    ending = list(server.network._tasks[greedy.peer_id])
    server.network._hub.sever(server.network, greedy.network)
    await asyncio.gather(*ending, return_exceptions=True)
    assert isinstance(await answer_to(late), FoundBlock)


@pytest.mark.parametrize("frame", [b"", b"\x01" + bytes(36), b"\x01" * 100])
async def test_a_malformed_request_is_refused_and_ends_the_stream(
    open_peer: OpenPeer, frame: bytes
) -> None:
    server, peer = await open_peer("server"), await open_peer("peer")
    stream = await peer.network.open_stream(server.peer_id, PROTOCOL)
    await stream.send(frame)
    answer = await stream.receive()
    assert answer is not None
    assert isinstance(decode_answer(answer), Refusal)
    assert await stream.receive() is None


async def test_an_idle_stream_is_closed(open_peer: OpenPeer) -> None:
    server, peer = await open_peer("server", serve_idle_s=0.05), await open_peer("peer")
    stream = await peer.network.open_stream(server.peer_id, PROTOCOL)
    assert await stream.receive() is None


async def test_a_cancelled_handler_leaves_no_task_behind(open_peer: OpenPeer) -> None:
    server = await open_peer("server")
    ours, theirs = FakeStream(server.peer_id), FakeStream(server.peer_id)
    ours.other, theirs.other = theirs, ours
    before = asyncio.all_tasks()
    handler = asyncio.ensure_future(server.network._stream_handlers[PROTOCOL](theirs))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks() - before) == 2  # the handler, and the store's task inside it
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler
    assert asyncio.all_tasks() == before


async def test_a_closed_store_ends_its_streams(
    settings: ArtifactSettings, open_peer: OpenPeer
) -> None:
    server, peer = await open_peer("server"), await open_peer("peer")
    async with open_artifacts(settings, server.network):
        stream = await peer.network.open_stream(server.peer_id, PROTOCOL)
        await asyncio.sleep(0)
    assert await stream.receive() is None
    late = await peer.network.open_stream(server.peer_id, PROTOCOL)
    frame = await late.receive()
    assert frame is not None
    assert decode_answer(frame) == Refusal(reason="this artifact store is closed")
