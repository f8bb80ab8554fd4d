"""Which environments the launcher has mounted, and for whom: the daemon's side of it."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

from assay_provider.runtime.sandbox import EnvironmentRoot, SandboxUnavailable

IDLE_MAX: Final = 2
"""Environments that stay mounted without a job: the next job finds what the last one decompressed
in memory. An image that the cache drops meanwhile keeps its place on the disk until it goes."""


class Mounter(Protocol):
    """Mounts environments by name. Both methods block for milliseconds."""

    def mount(self, root: EnvironmentRoot) -> None:
        """Mount an environment that is not mounted."""
        ...

    def unmount(self, root: EnvironmentRoot) -> None:
        """Take one away; jobs that have it keep it."""
        ...


class MountedEnvironments:
    """What one launcher has mounted; it all goes with the launcher."""

    def __init__(self, mounter: Mounter) -> None:
        self._mounter = mounter
        self._mutex = threading.Lock()
        self._mounted: dict[str, EnvironmentRoot] = {}
        """By digest, the one unused for longest first."""
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def held(self, root: EnvironmentRoot | None) -> AsyncIterator[None]:
        """Keep an environment mounted inside the block; None needs nothing.

        Raises:
            SandboxUnavailable: it cannot be mounted.
        """
        if root is None:
            yield
            return
        self._users[root.digest] += 1
        try:
            await asyncio.to_thread(self._ensure, root)
            yield
        finally:
            # A mount that is still under way becomes an idle one.
            self._users[root.digest] -= 1
            await asyncio.shield(asyncio.to_thread(self._trim))

    def _ensure(self, root: EnvironmentRoot) -> None:
        with self._mutex:
            if root.digest not in self._mounted:
                self._mounter.mount(root)
            self._mounted[root.digest] = self._mounted.pop(root.digest, root)

    def _trim(self) -> None:
        with self._mutex:
            idle = [root for root in self._mounted.values() if not self._users[root.digest]]
            for root in idle[: max(0, len(idle) - IDLE_MAX)]:
                del self._mounted[root.digest]
                with contextlib.suppress(SandboxUnavailable):  # the launcher is gone, and it all
                    self._mounter.unmount(root)
