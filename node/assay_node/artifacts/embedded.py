"""The artifact store that runs inside an Assay process. Implements `ports.Artifacts`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from assay_node.artifacts import reader
from assay_node.artifacts.blockstore import Blockstore, Collected
from assay_node.artifacts.catalog import Pin
from assay_node.artifacts.dag_pb import BLOCK_BYTES_MAX
from assay_node.artifacts.exchange_frames import PROTOCOL
from assay_node.artifacts.exchange_server import BlockServer
from assay_node.artifacts.exporter import export
from assay_node.artifacts.fetching import ArtifactFetch
from assay_node.artifacts.importer import Importer
from assay_node.artifacts.operation import Operation
from assay_node.artifacts.reader import ArtifactSize, Entry
from assay_node.artifacts.settings import ArtifactSettings
from assay_node.artifacts.worker_threads import Stop, WorkerThreads
from assay_node.ports import ArtifactLimits, Network
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Cid, PeerId

LONG_THREADS = 4
"""Imports, exports and collections at a time; each saturates a core or a disk."""

BLOCK_THREADS = 4
"""Threads that read and write blocks for peers, so that these never queue behind an import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Bytes of blocks in the store, the most it may have, and bytes of content that are pinned.

    Artifacts that share blocks count in full in `pinned_bytes` and once in `used_bytes`.
    """

    used_bytes: int
    quota_bytes: int
    pinned_bytes: int


@asynccontextmanager
async def open_artifacts(
    settings: ArtifactSettings, network: Network | None
) -> AsyncIterator["EmbeddedArtifacts"]:
    """Open a store, made when absent, and serve its blocks to peers when there is a network.

    Any number of processes may have the same store open.

    Raises:
        LocalError: the folder cannot be used, or was written by a newer Assay.
    """
    long_threads = WorkerThreads("artifacts-long", LONG_THREADS)
    block_threads = WorkerThreads("artifacts-blocks", BLOCK_THREADS)
    try:
        blocks = await long_threads.run(
            lambda _: Blockstore(settings.root, quota_bytes=settings.quota_bytes)
        )
        server = BlockServer(blocks, block_threads, settings)
        if network is not None:
            network.serve_streams(PROTOCOL, server.serve)
        try:
            yield EmbeddedArtifacts(settings, network, blocks, long_threads, block_threads)
        finally:
            await server.close()
            await long_threads.run(lambda _: blocks.close())
    finally:
        long_threads.close()
        block_threads.close()


async def cid_of_path(path: Path, *, limits: ArtifactLimits) -> Cid:
    """Return the CID that `Artifacts.add` would give a file or directory, without storing it.

    Raises:
        LocalError: as `Artifacts.add`.
    """
    threads = WorkerThreads("artifacts-cid", 1)
    try:
        return await threads.run(
            lambda stop: Importer(lambda _cid, _data: None, limits=limits, stop=stop).add(path).cid
        )
    finally:
        threads.close()


class EmbeddedArtifacts:
    """Made by `open_artifacts`.

    Disk and hashing work runs in threads, and memory does not grow with the size of artifacts.
    """

    def __init__(
        self,
        settings: ArtifactSettings,
        network: Network | None,
        blocks: Blockstore,
        long_threads: WorkerThreads,
        block_threads: WorkerThreads,
    ) -> None:
        self._settings = settings
        self._network = network
        self._blocks = blocks
        self._long_threads = long_threads
        self._block_threads = block_threads

    async def add(self, path: Path, *, limits: ArtifactLimits) -> Cid:
        """Import a file or directory and return its CID.

        That is the one which `ipfs add` gives it with `--cid-version=1 --raw-leaves
        --chunker=size-262144 --hidden`; permissions and times are no part of it. The artifact stays
        safe from collection for `grace_s`, and after that while it is pinned.

        Raises:
            LocalError: it cannot be read, exceeds the limits or the quota, changes meanwhile, or
                holds anything but regular files and directories with UTF-8 names.
        """

        def work(stop: Stop) -> Cid:
            with Operation(self._blocks, grace_s=self._settings.grace_s) as operation:
                root = Importer(operation.emit, limits=limits, stop=stop).add(path)
                return operation.finish(root.cid)

        return await self._long_threads.run(work)

    async def add_bytes(self, data: bytes, *, codec: int) -> Cid:
        """Store one block, safe from collection for `grace_s`, and return its CID.

        Raises:
            LocalError: the codec is neither raw nor dag-cbor, the block is larger than
                `BLOCK_BYTES_MAX`, or the quota is exceeded.
        """
        if codec not in (cids.RAW, cids.DAG_CBOR):
            raise LocalError(f"multicodec {codec:#x} is not raw or dag-cbor")
        if len(data) > BLOCK_BYTES_MAX:
            raise LocalError(
                f"{len(data)} bytes exceed one block of {BLOCK_BYTES_MAX}: add them as a file"
            )

        def work(_: Stop) -> Cid:
            cid = cids.of_block(codec, data)
            with Operation(self._blocks, grace_s=self._settings.grace_s) as operation:
                operation.emit(cid, data)
                return operation.finish(cid)

        return await self._block_threads.run(work)

    async def read_bytes(self, cid: Cid, *, bytes_max: int) -> bytes:
        """Return one local block, verified against its CID.

        Raises:
            LocalError: it is not here, was damaged, or is larger than `bytes_max`.
        """
        data = await self._block_threads.run(lambda _: reader.read_block(self._blocks, cid))
        if len(data) > bytes_max:
            raise LocalError(f"block {cid} has {len(data)} bytes; at most {bytes_max} are accepted")
        return data

    async def has(self, cid: Cid) -> bool:
        """Tell whether the whole artifact below `cid` is here: nodes verified, chunks by length.

        Raises:
            MalformedMessage: a block of it is not a UnixFS node that Assay knows.
        """
        return await self._long_threads.run(lambda stop: reader.is_whole(self._blocks, cid, stop))

    async def fetch(self, cid: Cid, sources: Sequence[PeerId], *, limits: ArtifactLimits) -> int:
        """Make the whole artifact local and return its bytes.

        Blocks that are here are not asked for again, whatever became of earlier fetches.
        Every block is verified before it is stored. Sources are tried in turn, each until it
        stalls, lies, refuses or lacks a block.

        Raises:
            RemoteError: no source is left; the text says what each did.
            Refused: the artifact exceeds the limits.
            MalformedMessage: it is not an artifact as Assay makes them.
            LocalError: the quota is exceeded, or blocks are missing and there is nobody to ask.
        """
        operation = Operation(self._blocks, grace_s=self._settings.grace_s)
        try:
            await self._block_threads.run(lambda _: operation.hold(cid))
            fetch = ArtifactFetch(
                self._blocks, self._block_threads, self._settings, self._network, operation
            )
            size = await fetch.complete(cid, sources, limits)
            await self._block_threads.run(lambda _: operation.finish(cid))
            return size
        finally:
            await self._block_threads.run(lambda _: operation.close())

    async def export(self, cid: Cid, destination: Path) -> None:
        """Write a local artifact to a path that does not exist yet, atomically.

        Raises:
            LocalError: the destination exists, its parent does not, the disk refuses, or the
                artifact is not whole here.
            MalformedMessage: it is not an artifact as Assay makes them.
            Refused: its folders multiply beyond `reader.LOCAL_LIMITS`.
        """

        def work(stop: Stop) -> None:
            with Operation(self._blocks) as operation:
                operation.hold(cid)
                export(self._blocks, cid, destination, stop)

        await self._long_threads.run(work)

    async def pin(self, cid: Cid, *, owner: str) -> None:
        """Keep an artifact that is whole here until `unpin` by the same owner.

        Raises:
            LocalError: it is not whole here.
            MalformedMessage, Refused: as `export`.
        """

        def work(stop: Stop) -> None:
            with Operation(self._blocks) as operation:
                operation.hold(cid)
                size = reader.measure(self._blocks, cid, stop)
                self._blocks.catalog.pin(Pin(owner=owner, cid=cid, bytes=size.bytes))

        await self._long_threads.run(work)

    async def unpin(self, *, owner: str) -> None:
        """Let go of everything `owner` pinned, which may be nothing."""
        await self._block_threads.run(lambda _: self._blocks.catalog.unpin(owner))

    async def pins(self) -> tuple[Pin, ...]:
        """Return all pins, sorted by owner and CID."""
        return await self._block_threads.run(lambda _: self._blocks.catalog.pins())

    async def usage(self) -> Usage:
        """Return what the store holds and may hold."""
        catalog = self._blocks.catalog
        used = await self._block_threads.run(lambda _: catalog.used_bytes())
        pinned = {pin.cid: pin.bytes for pin in await self.pins()}
        return Usage(
            used_bytes=used,
            quota_bytes=self._settings.quota_bytes,
            pinned_bytes=sum(pinned.values()),
        )

    async def ls(self, cid: Cid) -> tuple[Entry, ...]:
        """Return the entries of a local directory, sorted by the bytes of their names.

        Raises:
            LocalError: it is a file, or is not whole here.
            MalformedMessage, Refused: as `export`.
        """
        return await self._long_threads.run(
            lambda stop: reader.list_directory(self._blocks, cid, stop)
        )

    async def stat(self, cid: Cid) -> ArtifactSize:
        """Return the bytes and files of a local artifact.

        Raises:
            LocalError: it is not whole here.
            MalformedMessage, Refused: as `export`.
        """
        return await self._long_threads.run(lambda stop: reader.measure(self._blocks, cid, stop))

    async def collect_garbage(self) -> Collected:
        """Delete all blocks that no pin needs, and no operation or grace of any process."""
        return await self._long_threads.run(lambda _: self._blocks.collect_garbage())
