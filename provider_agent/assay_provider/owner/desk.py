"""What the owner may ask of a running daemon through its control socket."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay_node.ports import Clock
from assay_node.protocol.errors import Refused
from assay_provider.owner.control import Command
from assay_provider.owner.drain import Afterwards, Drain, forget_drain, write_drain
from assay_provider.owner.gate import Gate

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerDesk:
    """Carries out the owner's commands. What they change is durable before they are answered."""

    home: Path
    gate: Gate
    clock: Clock
    live: Callable[[], Awaitable[dict[str, Any]]]

    def commands(self) -> Mapping[str, Command]:
        """Return every command by its name."""
        return {"status": self.status, "drain": self.drain, "resume": self.resume}

    async def status(self, _: Mapping[str, Any]) -> Any:
        """Return the live document."""
        return await self.live()

    async def drain(self, request: Mapping[str, Any]) -> Any:
        """Begin a drain, or change the one under way; return it.

        Raises:
            Refused: its options are none.
            LocalError: its deadline is too far away, or it cannot be kept.
        """
        now = self.clock.now()
        deadline_s, afterwards = request.get("deadline_s"), request.get("afterwards")
        if not (deadline_s is None or isinstance(deadline_s, int | float)):
            raise Refused("deadline_s is a number of seconds, or null")
        if afterwards not in tuple(Afterwards):
            raise Refused(f"afterwards is one of {', '.join(Afterwards)}")
        drain = Drain(
            since=now if self.gate.drain is None else self.gate.drain.since,
            deadline=None if deadline_s is None else now + deadline_s,
            afterwards=Afterwards(afterwards),
        )
        write_drain(self.home, drain)
        self.gate.drain = drain
        self.gate.changed.set()
        logger.info("draining: no new jobs are let in")
        return asdict(drain)

    async def resume(self, _: Mapping[str, Any]) -> Any:
        """End a drain; return whether there was one.

        Raises:
            LocalError: it cannot be ended durably.
        """
        was_draining = forget_drain(self.home) or self.gate.drain is not None
        self.gate.drain = None
        self.gate.changed.set()
        if was_draining:
            logger.info("the drain was ended")
        return {"was_draining": was_draining}
