"""From the CID of an environment to a root that can be mounted: fetch, check, unpack, pack, keep.

Jobs that want the same layer at the same time wait for the one that came first. What one of them
began is finished even if all of them give up meanwhile: the next job will want it too.
"""

import asyncio
import logging
import platform
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay_node.ports import ArtifactLimits, Artifacts
from assay_node.protocol import environment
from assay_node.protocol.environment import (
    MANIFEST_BYTES_MAX,
    EnvironmentLayer,
    EnvironmentManifest,
)
from assay_node.protocol.errors import AssayError, LocalError, Refused
from assay_node.protocol.ids import Cid
from assay_node.protocol.units import size_to_text
from assay_provider.environments.cache import LayerCache
from assay_provider.environments.packing import Packer
from assay_provider.runtime.sandbox import EnvironmentRoot

logger = logging.getLogger(__name__)

Fetch = Callable[[Cid, ArtifactLimits], Awaitable[None]]
"""Makes an artifact local, within limits, from whoever a job's scheduler can be asked for."""

_TRIES: Final = 3
"""A layer that was made and dropped before it could be taken is made again so often: the cache is
then too small for what runs at once, which `adopt` says sooner or later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentLimits:
    """What one environment may cost here. `unpacked_bytes_max` counts all its layers."""

    unpacked_bytes_max: int
    prepare_s_max: int


@dataclass(slots=True, kw_only=True)
class Environments:
    """Prepares environments; open it with `open_environments`."""

    artifacts: Artifacts
    cache: LayerCache
    packer: Packer
    limits: EnvironmentLimits
    _making: dict[Cid, asyncio.Task[None]] = field(default_factory=dict)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Unpacking takes a layer's size three times over on the disk, for a while."""

    @asynccontextmanager
    async def root(self, cid: Cid, fetch: Fetch) -> AsyncIterator[EnvironmentRoot]:
        """Prepare an environment and keep its layers in the cache inside the block.

        Raises:
            Refused: it is for other machines, or larger than this provider takes.
            MalformedMessage: the manifest, or a layer of it, is not what it should be.
            RemoteError: nobody has all of it.
            LocalError: this machine could not unpack or keep it.
        """
        manifest = await self._manifest(cid, fetch)
        taken: list[Cid] = []
        try:
            images = []
            for layer in manifest.layers:
                images.append(await self._take(layer, fetch))
                taken.append(layer.cid)
            yield EnvironmentRoot(
                digest=cid, layers=tuple(images), variables=dict(manifest.variables)
            )
        finally:
            for layer_cid in taken:
                self.cache.release(layer_cid)

    async def close(self) -> None:
        """End what is being made."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _manifest(self, cid: Cid, fetch: Fetch) -> EnvironmentManifest:
        await fetch(cid, ArtifactLimits(bytes_max=MANIFEST_BYTES_MAX, files_max=1))
        data = await self.artifacts.read_bytes(cid, bytes_max=MANIFEST_BYTES_MAX)
        manifest = environment.decode(data)
        machine = platform.machine()
        if manifest.architecture != machine:
            raise Refused(f"the environment is for {manifest.architecture}; this is {machine}")
        if manifest.unpacked_bytes > self.limits.unpacked_bytes_max:
            raise Refused(
                f"the environment unpacks to {size_to_text(manifest.unpacked_bytes)}; this "
                f"provider takes {size_to_text(self.limits.unpacked_bytes_max)}"
            )
        return manifest

    async def _take(self, layer: EnvironmentLayer, fetch: Fetch) -> Path:
        for _ in range(_TRIES):
            # Shielded, or a cancellation could leave a layer held by nobody.
            taking = asyncio.ensure_future(asyncio.to_thread(self.cache.take, layer.cid))
            try:
                image = await asyncio.shield(taking)
            except asyncio.CancelledError:
                if await taking is not None:
                    self.cache.release(layer.cid)
                raise
            if image is not None:
                return image
            await self._make_or_wait(layer, fetch)
        raise LocalError(f"layer {layer.cid} does not stay in the cache; give it a larger quota")

    async def _make_or_wait(self, layer: EnvironmentLayer, fetch: Fetch) -> None:
        others = self._making.get(layer.cid)
        if others is not None:
            try:
                await asyncio.shield(others)
            except AssayError as error:
                logger.info("another job could not get layer %s: %s", layer.cid, error)
            else:
                return
        # Somebody else may have begun again meanwhile.
        task = self._making.get(layer.cid)
        if task is None:
            task = asyncio.create_task(self._make(layer, fetch), name=f"layer {layer.cid}")
            self._making[layer.cid] = task
            task.add_done_callback(lambda done: self._made(layer.cid, done))
        await asyncio.shield(task)

    async def _make(self, layer: EnvironmentLayer, fetch: Fetch) -> None:
        limits = ArtifactLimits(bytes_max=layer.tar_bytes, files_max=1)
        allowed_s = self.limits.prepare_s_max
        try:
            async with asyncio.timeout(allowed_s):
                await fetch(layer.cid, limits)
                async with self._one_at_a_time:
                    # At once while it is all here; what waited for its turn may have been dropped.
                    await fetch(layer.cid, limits)
                    await self._pack(layer)
        except TimeoutError:
            raise LocalError(
                f"layer {layer.cid} was not ready within {allowed_s} s; raise "
                "provider.environments.prepare_s_max if this machine or its line is slow"
            ) from None

    async def _pack(self, layer: EnvironmentLayer) -> None:
        needed = layer.tar_bytes + 2 * layer.unpacked_bytes
        with self.cache.workplace(needed) as folder:
            tar = folder / "tar"
            await self.artifacts.export(layer.cid, tar)
            packed = await self.packer.pack(tar, folder, layer, seconds=self.limits.prepare_s_max)
            await asyncio.to_thread(self.cache.adopt, layer, packed)
        logger.info("layer %s is ready, in %d bytes", layer.cid, packed.bytes)

    def _made(self, cid: Cid, task: asyncio.Task[None]) -> None:
        del self._making[cid]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.info("layer %s was not made: %s", cid, error)


@asynccontextmanager
async def open_environments(
    artifacts: Artifacts, cache: LayerCache, packer: Packer, limits: EnvironmentLimits
) -> AsyncIterator[Environments]:
    """Prepare environments until the block ends; what is being made then is given up."""
    environments = Environments(artifacts=artifacts, cache=cache, packer=packer, limits=limits)
    try:
        yield environments
    finally:
        await environments.close()
