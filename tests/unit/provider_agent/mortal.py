"""A daemon that is killed at the n-th thing it does to the world, whatever it is doing then.

Its parts are wrapped. Each write of the database, message, artifact, run and transaction is a point
before it takes effect and one after, before the daemon learns of it. At the chosen point the daemon
dies: nothing it does from then on reaches anybody, `finally` blocks included. That is what SIGKILL
or a power cut leaves: the database, the artifacts, the chain and what others have heard.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay_node.ports import RequestHandler
from assay_node.protocol.ids import PeerId
from assay_provider.assembly import ProviderParts
from assay_provider.runtime.sandbox import RunMeter, RunRequest, RunResult
from tests.fakes.sandbox import FakeSandbox, a_result

STORE_WRITES = frozenset(
    {
        "add", "save", "sign_set", "keep_assign", "keep_evidence", "forget_closed_before",
        "next_offer_generation", "heard",
    }
)  # fmt: skip
RUN_WRITES = frozenset({"begin", "end"})
ARTIFACT_WORK = frozenset({"add", "add_bytes", "fetch", "export", "pin", "unpin"})
CHAIN_STEPS = frozenset({"start_step"})


class Mortal:
    """One life of a daemon. Point 0 is the first; None lives on.

    `at_point` is called with the number of each point before the daemon goes on from it.
    """

    def __init__(
        self, dies_at: int | None = None, at_point: Callable[[int], None] = lambda _: None
    ) -> None:
        self.killed = asyncio.Event()
        self.points: list[str] = []
        self._dies_at = dies_at
        self._at_point = at_point

    def parts(self, parts: ProviderParts) -> ProviderParts:
        """Return the parts with a point around everything that has an effect."""
        leases = _Wrapped(parts.leases, self, "store", STORE_WRITES)
        leases.runs = _Wrapped(parts.leases.runs, self, "log", RUN_WRITES)
        changes: dict[str, Any] = {
            "leases": leases,
            "artifacts": _Wrapped(parts.artifacts, self, "artifacts", ARTIFACT_WORK),
            "chain": _Wrapped(parts.chain, self, "chain", CHAIN_STEPS),
            "sandbox": _Wrapped(parts.sandbox, self, "sandbox", frozenset({"run"})),
            "network": _MortalNetwork(parts.network, self),
        }
        return dataclasses.replace(parts, **changes)

    def check(self) -> None:
        """Let a dead daemon do nothing more."""
        if self.killed.is_set():
            raise asyncio.CancelledError

    def point(self, name: str) -> None:
        """Die here, if it is time."""
        self.check()
        self.points.append(name)
        if len(self.points) - 1 == self._dies_at:
            self.killed.set()
            raise asyncio.CancelledError
        self._at_point(len(self.points) - 1)


class _Wrapped:
    """An object whose coroutine methods end with the daemon; those named have points."""

    def __init__(self, inner: Any, mortal: Mortal, label: str, effects: frozenset[str]) -> None:
        self._inner = inner
        self._mortal = mortal
        self._label = label
        self._effects = effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not asyncio.iscoroutinefunction(found):
            return found
        if name not in self._effects:
            return self._checked(found)
        return self._with_points(found, f"{self._label}.{name}")

    def _checked(self, found: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._mortal.check()
            result = await found(*args, **kwargs)
            self._mortal.check()
            return result

        return call

    def _with_points(self, found: Callable[..., Any], name: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self._mortal.point(f"before {name}")
            result = await found(*args, **kwargs)
            self._mortal.point(f"after {name}")
            return result

        return call


class _MortalNetwork(_Wrapped):
    """What is asked of the daemon has points too: before it acts, and before its answer leaves."""

    def __init__(self, inner: Any, mortal: Mortal) -> None:
        super().__init__(inner, mortal, "network", frozenset({"request"}))

    def serve_requests(self, protocol: str, handler: RequestHandler) -> None:
        short = protocol.rsplit("/", 2)[-2]

        async def handle(peer_id: PeerId, payload: bytes) -> bytes:
            self._mortal.point(f"asked {short}")
            answer = await handler(peer_id, payload)
            self._mortal.point(f"answering {short}")
            return answer

        self._inner.serve_requests(protocol, handle)


class FickleSandbox(FakeSandbox):
    """Every run takes another time and comes to another output: what no two commits may show."""

    def __init__(self) -> None:
        super().__init__()
        self.run_s = 3.0
        self._taken: set[int] = set()

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        assert slot not in self._taken, "one run per slot at a time"
        self._taken.add(slot)
        try:
            await asyncio.sleep(self.run_s)
            return await self._end(request, slot)
        finally:
            self._taken.discard(slot)

    async def _end(self, request: RunRequest, slot: int) -> RunResult:
        number = len(self.requests) + 1
        started_ns = round(asyncio.get_running_loop().time() * 1e9)
        meter = RunMeter(
            source="cgroup v2",
            started_ns=started_ns,
            exited_ns=started_ns + number * 1_000_000_000,
            memory_anonymous_bytes=None,
            oom_kills=0,
            pids_refused=0,
        )
        self.result = a_result(meter=meter, log_tail=f"run {number}\n".encode())
        self.write_output = _numbered(number)
        return await super().run(request, slot)


def _numbered(number: int) -> Callable[[Path], None]:
    return lambda directory: (directory / "result").write_text(f"of run {number}") and None
