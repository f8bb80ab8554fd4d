"""The contract `Leases`: services that are paid by the second.

docs/protocol/service-leases.md says what each step does; `protocol.service_terms` has the terms and
the arithmetic.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from assay_node.chain.bindings import structs
from assay_node.chain.bindings.leases import LeaseEnded, LeasePaid, Leases
from assay_node.chain.bound_contract import Call
from assay_node.chain.events import MinedTransaction
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.service_terms import RunningLease, ServiceTerms, SignedTerms, lease_id
from assay_node.protocol.typed_data import Domain
from assay_node.protocol.units import UINT64_MAX

_NONE, _OPEN, _ENDED = range(3)
"""`LeaseStatus` of the contract."""

_NEVER: Final = (1 << 48) - 1
"""How the contract writes that nobody has stopped a lease."""

_Event = TypeVar("_Event", LeaseEnded, LeasePaid)

Do = Callable[[Call, str], Awaitable[MinedTransaction]]


class LeaseState(Enum):
    """How far a lease has come on the chain."""

    UNKNOWN = "unknown"
    """Nobody has started or cancelled it."""
    OPEN = "open"
    """Started. It may be over and wait for somebody to settle it."""
    ENDED = "ended"
    """Settled for the last time, or cancelled before it started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseStanding:
    """Where a lease stands as of a block's time; `books` only while it is open."""

    lease: Digest
    state: LeaseState
    now: int
    books: RunningLease | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePayment:
    """What one transaction paid, in micro-USD; `refund_microusd` is None while the lease goes on.

    A stop by the requester pays nobody yet: then `paid_until` is None too.
    """

    transaction: Digest
    amount_microusd: int = 0
    fee_microusd: int = 0
    paid_until: int | None = None
    refund_microusd: int | None = None


class ServiceLeases:
    """Reads leases, and takes their steps from one wallet."""

    def __init__(self, contract: Leases, domain: Domain, do: Do) -> None:
        self._contract = contract
        self._domain = domain
        self._do = do

    def lease_id(self, terms: ServiceTerms) -> Digest:
        """Return the id that a lease on these terms has, which both sides sign."""
        return lease_id(terms, self._domain)

    async def start(self, signed: SignedTerms) -> Digest:
        """Start a lease on terms that both sides signed: its escrow leaves the requester's money.

        A side that sends this itself need not have signed.
        """
        call = self._contract.start(
            _abi_terms(signed.terms), signed.requester_signature, signed.operator_signature
        )
        return (await self._do(call, "starting the lease")).hash

    async def cancel(self, terms: ServiceTerms) -> Digest:
        """Make terms worthless that have not been started; either side may."""
        mined = await self._do(self._contract.cancel(_abi_terms(terms)), "cancelling the terms")
        return mined.hash

    async def top_up(self, lease: Digest, amount_microusd: int) -> Digest:
        """Add free money of this wallet to a lease that is not over."""
        if not 0 < amount_microusd <= UINT64_MAX:
            raise LocalError("an amount is more than nothing and fits 64 bits of micro-USD")
        mined = await self._do(
            self._contract.top_up(lease, amount_microusd), "topping the lease up"
        )
        return mined.hash

    async def stop(self, lease: Digest) -> LeasePayment:
        """End a lease: the operator at once, with its pay and the refund; the requester by notice.

        An operator's signing key counts as the operator.
        """
        return _payment(await self._do(self._contract.stop(lease), "stopping the lease"))

    async def settle(self, lease: Digest) -> LeasePayment:
        """Pay the seconds since the last time, and end the lease if it is over; anybody may."""
        return _payment(await self._do(self._contract.settle(lease), "paying the lease"))


async def standing_of(contract: Leases, lease: Digest, *, now: int) -> LeaseStanding:
    """Return where a lease stands; `now` is the newest block's time."""
    raw = await contract.lease_of(lease)
    books = None
    if raw.status == _OPEN:
        books = RunningLease(
            requester=raw.requester,
            operator=raw.operator,
            scheduler=raw.scheduler,
            rate_microusd=raw.rate,
            fee_rate_microusd=raw.fee_rate,
            notice_s=raw.notice,
            escrow_microusd=raw.escrow,
            paid_until=raw.paid_until,
            stops_at=None if raw.stops_at == _NEVER else raw.stops_at,
        )
    state = {
        _NONE: LeaseState.UNKNOWN, _OPEN: LeaseState.OPEN, _ENDED: LeaseState.ENDED
    }[raw.status]  # fmt: skip
    return LeaseStanding(lease=lease, state=state, now=now, books=books)


def _payment(mined: MinedTransaction) -> LeasePayment:
    """Return what a transaction says that it paid; a requester's stop says nothing of that."""
    paid = _first(LeasePaid, mined)
    ended = _first(LeaseEnded, mined)
    if paid is None:
        return LeasePayment(transaction=mined.hash)
    return LeasePayment(
        transaction=mined.hash,
        amount_microusd=paid.amount,
        fee_microusd=paid.fee,
        paid_until=paid.paid_until,
        refund_microusd=None if ended is None else ended.refund,
    )


def _first(kind: type[_Event], mined: MinedTransaction) -> _Event | None:
    return next(
        (kind.decode(log) for log in mined.logs if log.topics[:1] == (kind.ABI.hash,)), None
    )


def _abi_terms(terms: ServiceTerms) -> structs.Terms:
    return structs.Terms(
        requester=terms.requester,
        operator=terms.operator,
        spec=terms.spec,
        hardware_class=terms.hardware_class,
        scheduler=terms.scheduler,
        rate=terms.rate_microusd,
        fee_rate=terms.fee_rate_microusd,
        escrow=terms.escrow_microusd,
        notice=terms.notice_s,
        start_by=terms.start_by,
        nonce=int.from_bytes(terms.nonce, "big"),
    )
