"""The daemon's end of the process that works on one device."""

import asyncio
import contextlib
import sys
from typing import Any, Final, Protocol, TypeVar

import dag_cbor

from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_proof import ProofOpening, ProofQuestion
from assay_node.protocol.ids import Digest
from assay_provider.proving.worker_messages import (
    LENGTH_BYTES,
    Compute,
    Computed,
    Failed,
    Load,
    Loaded,
    framed,
    length_of,
)

STOP_S: Final = 5.0
"""A killed process is gone at once, unless a driver holds it."""

_M = TypeVar("_M")


class DeviceWorker(Protocol):
    """What proves one device during one round. All raise LocalError when it cannot go on."""

    async def load(self, load: Load) -> None:
        """Load the matrices; returns when the device could start at once."""
        ...

    async def compute(self, compute: Compute) -> Digest:
        """Compute a part and return the root over it."""
        ...

    async def open(self, question: ProofQuestion) -> ProofOpening:
        """Open rows of what was computed."""
        ...

    async def stop(self) -> None:
        """End it, whatever it is doing. Never raises."""
        ...


class WorkerProcess:
    """A `DeviceWorker` that is a process of its own."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def load(self, load: Load) -> None:
        """Start the process and load the matrices."""
        assert self._process is None, "a process serves one round"
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "assay_provider.proving.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._ask(load, Loaded)

    async def compute(self, compute: Compute) -> Digest:
        """Compute a part and return the root over it."""
        return (await self._ask(compute, Computed)).root

    async def open(self, question: ProofQuestion) -> ProofOpening:
        """Open rows of what was computed."""
        return await self._ask(question, ProofOpening)

    async def stop(self) -> None:
        """Kill the process."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await process.wait()

    async def _ask(self, message: Any, answer: type[_M]) -> _M:
        process = self._process
        assert process is not None, "load() comes first"
        assert process.stdin is not None
        assert process.stdout is not None
        async with self._turn:
            try:
                process.stdin.write(framed(message))
                await process.stdin.drain()
                header = await process.stdout.readexactly(LENGTH_BYTES)
                data = await process.stdout.readexactly(length_of(header))
            except (OSError, asyncio.IncompleteReadError):
                raise LocalError(
                    "the process that proves this machine's hardware ended; the log has more"
                ) from None
        wire = dag_cbor.decode(data)
        if isinstance(wire, dict) and wire.get("type") == Failed.__name__:
            raise LocalError(codec.decode(Failed, data).reason)
        return codec.decode(answer, data)
