"""What the chain paid an operator, today and in all, from the Vault's own events.

Reading every block since the deployment takes long on a public endpoint, so what lies too deep for
a reorganisation is summed up once and kept in the home; a first reading goes on with every look.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from assay_node.chain.events import Earnings
from assay_node.ports import Head
from assay_node.private_files import replace_private
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address

EARNINGS_FILE: Final = "earnings.json"
SETTLED_BLOCKS: Final = 64
"""Two epochs of Ethereum: what is this deep does not change any more."""
LOOK_BLOCKS_MAX: Final = 50_000
"""25 requests for logs: seconds, not minutes, for somebody who waits for a status."""
_NOTHING: Final = Earnings(paid_microusd=0, slashed_microusd=0, jobs_paid=0, jobs_slashed=0)


class EarningsChain(Protocol):
    """What is asked of the chain."""

    async def head(self) -> Head:
        """Return the newest block."""
        ...

    async def block_time(self, number: int) -> int | None:
        """Return when a block was mined."""
        ...

    async def earnings(
        self, operator: Address, *, from_block: int | None, to_block: int | None
    ) -> Earnings:
        """Return what these blocks paid and cost, both included."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """`today` is None where a day has more blocks than one look reads.

    `in_all` reaches to `to_block`, which is the newest one when `is_complete`.
    """

    today: Earnings | None
    in_all: Earnings
    to_block: int
    is_complete: bool


@dataclass(slots=True, kw_only=True)
class EarningsReader:
    """Reads one operator's earnings, again and again. `market` tells chains' deployments apart."""

    operator: Address
    market: str
    deploy_block: int
    home: Path
    _midnight: tuple[float, int] | None = None
    _kept: Mapping[str, Any] = field(default_factory=dict)

    async def read(self, chain: EarningsChain, *, midnight: float) -> Earned:
        """Return what was earned since `midnight` (Unix seconds) and in all.

        Raises:
            ChainError: the chain cannot be asked now.
        """
        head = (await chain.head()).number
        deep, deep_to = await self._deep(chain, head)
        is_complete = head - deep_to <= SETTLED_BLOCKS
        newest = _NOTHING
        if is_complete and deep_to < head:
            newest = await chain.earnings(self.operator, from_block=deep_to + 1, to_block=head)
        return Earned(
            today=await self._since(chain, midnight, head),
            in_all=_sum(deep, newest),
            to_block=head if is_complete else deep_to,
            is_complete=is_complete,
        )

    async def _deep(self, chain: EarningsChain, head: int) -> tuple[Earnings, int]:
        """Return the sum over what cannot change any more, read on by one look, and its end."""
        found, at = self._remembered()
        until = min(head - SETTLED_BLOCKS, at + LOOK_BLOCKS_MAX)
        if until > at:
            more = await chain.earnings(self.operator, from_block=at + 1, to_block=until)
            found, at = _sum(found, more), until
            self._remember(found, at)
        return found, at

    async def _since(self, chain: EarningsChain, midnight: float, head: int) -> Earnings | None:
        if self._midnight is None or self._midnight[0] != midnight:
            self._midnight = (midnight, await self._first_block_since(chain, midnight, head))
        first = self._midnight[1]
        if head - first >= LOOK_BLOCKS_MAX:
            return None
        if first > head:
            return _NOTHING
        return await chain.earnings(self.operator, from_block=first, to_block=head)

    async def _first_block_since(self, chain: EarningsChain, moment: float, head: int) -> int:
        """Return the first block at or after a moment, by halving: two dozen requests."""
        low, high = self.deploy_block, head + 1
        while low < high:
            middle = (low + high) // 2
            time = await chain.block_time(middle)
            if time is not None and time < moment:
                low = middle + 1
            else:
                high = middle
        return low

    def _remembered(self) -> tuple[Earnings, int]:
        document = self._kept or self._read()
        with contextlib.suppress(KeyError, TypeError, ValueError):
            if (document["market"], document["operator"]) == (self.market, self.operator):
                sums = {name: int(document[name]) for name in asdict(_NOTHING)}
                return Earnings(**sums), int(document["to_block"])
        return _NOTHING, self.deploy_block - 1

    def _read(self) -> Mapping[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            document = json.loads((self.home / EARNINGS_FILE).read_text(encoding="ascii"))
            return document if isinstance(document, dict) else {}
        return {}

    def _remember(self, found: Earnings, to_block: int) -> None:
        self._kept = {
            "market": self.market,
            "operator": self.operator,
            "to_block": to_block,
            **asdict(found),
        }
        with contextlib.suppress(LocalError):  # a home that is not ours to write: read again then
            replace_private(self.home / EARNINGS_FILE, json.dumps(self._kept).encode() + b"\n")


def _sum(one: Earnings, other: Earnings) -> Earnings:
    return Earnings(
        paid_microusd=one.paid_microusd + other.paid_microusd,
        slashed_microusd=one.slashed_microusd + other.slashed_microusd,
        jobs_paid=one.jobs_paid + other.jobs_paid,
        jobs_slashed=one.jobs_slashed + other.jobs_slashed,
    )
