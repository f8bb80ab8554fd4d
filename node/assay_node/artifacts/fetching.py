"""Fetching an artifact from several sources in turn."""

import logging
from collections.abc import Sequence

from assay_node.artifacts.blockstore import Blockstore
from assay_node.artifacts.exchange_client import BlockFetch
from assay_node.artifacts.operation import Operation
from assay_node.artifacts.reader import next_missing
from assay_node.artifacts.settings import ArtifactSettings
from assay_node.artifacts.walk import Walk, Want
from assay_node.artifacts.worker_threads import Stop, WorkerThreads
from assay_node.ports import ArtifactLimits, Network
from assay_node.protocol.errors import LocalError, RemoteError
from assay_node.protocol.ids import Cid, PeerId

logger = logging.getLogger(__name__)


class ArtifactFetch:
    """One fetch; what has arrived is kept from collection by its operation."""

    def __init__(
        self,
        blocks: Blockstore,
        threads: WorkerThreads,
        settings: ArtifactSettings,
        network: Network | None,
        operation: Operation,
    ) -> None:
        self._blocks = blocks
        self._threads = threads
        self._settings = settings
        self._network = network
        self._operation = operation

    async def complete(self, cid: Cid, sources: Sequence[PeerId], limits: ArtifactLimits) -> int:
        """Make the artifact whole and return its bytes.

        Each source starts from what is here by then, so the next goes on where the last one failed.

        Raises:
            RemoteError, Refused, MalformedMessage, LocalError: as `Artifacts.fetch`.
        """
        walk, missing = await self._look(cid, limits)
        faults: list[str] = []
        for source in dict.fromkeys(sources):
            if not missing or self._network is None:
                break
            try:
                await self._block_fetch(self._network, source).run(walk, missing)
            except RemoteError as error:
                logger.info(
                    "source of an artifact failed", extra={"peer": source, "reason": str(error)}
                )
                faults.append(f"{source} {error}")
                walk, missing = await self._look(cid, limits)
            else:
                return walk.bytes
        if not missing:
            return walk.bytes
        if faults:
            raise RemoteError(f"no source gave all of {cid}: " + "; ".join(faults))
        raise LocalError(
            f"{cid} is not whole in the artifact store and there is no peer to fetch it from"
        )

    def _block_fetch(self, network: Network, source: PeerId) -> BlockFetch:
        return BlockFetch(
            self._blocks,
            self._threads,
            self._settings,
            operation=self._operation,
            network=network,
            source=source,
        )

    async def _look(self, cid: Cid, limits: ArtifactLimits) -> tuple[Walk, list[Want]]:
        """Begin a walk and go as far as the blocks that are here."""

        def work(stop: Stop) -> tuple[Walk, list[Want]]:
            walk = Walk(cid, limits)
            return walk, next_missing(self._blocks, walk, stop)

        return await self._threads.run(work)
