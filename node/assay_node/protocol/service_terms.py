"""What both sides of a long-running service sign. Its EIP-712 digest is the lease's id on chain.

A service is paid by the second, by the contract `Leases`; see docs/protocol/service-leases.md.
"""

from dataclasses import dataclass
from typing import Final

from assay_node.protocol import typed_data
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest, address
from assay_node.protocol.units import check_uint

NOTICE_S_MAX: Final = 86_400
"""`Leases.NOTICE_MAX`: like a closed budget, a stopped lease holds no money longer than this."""

NOBODY: Final = Address("0x" + "00" * 20)
"""The scheduler of terms that no scheduler brought about."""

TERMS_TYPE: Final = (
    "Terms(address requester,address operator,bytes32 spec,bytes32 hardwareClass,"
    "address scheduler,uint48 rate,uint48 feeRate,uint64 escrow,uint32 notice,uint64 startBy,"
    "uint256 nonce)"
)
_ABI_TYPES: Final = [member.split(" ")[0] for member in TERMS_TYPE[6:-1].split(",")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTerms:
    """Field order and types are those of `ServiceLeases.sol`'s `Terms`.

    Money is in micro-USD, rates are per second; `start_by` is Unix seconds; `nonce` is 32 bytes,
    big-endian, and makes terms that are alike different leases.
    """

    requester: Address
    operator: Address
    spec: Digest
    hardware_class: Digest
    scheduler: Address
    rate_microusd: int
    fee_rate_microusd: int
    escrow_microusd: int
    notice_s: int
    start_by: int
    nonce: bytes

    def __post_init__(self) -> None:
        for name, bits in (
            ("rate_microusd", 48), ("fee_rate_microusd", 48), ("escrow_microusd", 64),
            ("start_by", 64),
        ):  # fmt: skip
            check_uint(getattr(self, name), bits, name)
        for name in ("spec", "hardware_class", "nonce"):
            if len(getattr(self, name)) != DIGEST_BYTES:
                raise MalformedMessage(f"{name} has {DIGEST_BYTES} bytes")
        for name in ("requester", "operator", "scheduler"):
            if address(getattr(self, name)) != getattr(self, name):
                raise MalformedMessage(f"{name} is not written in lower case")
        if not 0 <= self.notice_s <= NOTICE_S_MAX:
            raise MalformedMessage(f"notice_s is 0 to {NOTICE_S_MAX}, not {self.notice_s}")
        if self.rate_microusd == 0:
            raise MalformedMessage("rate_microusd is at least 1: the money would never run out")
        if self.scheduler == NOBODY and self.fee_rate_microusd:
            raise MalformedMessage("fee_rate_microusd is 0 where there is no scheduler")
        if self.escrow_microusd < self.notice_cost_microusd:
            raise MalformedMessage(
                f"escrow_microusd is at least what the notice costs, {self.notice_cost_microusd}"
            )

    @property
    def price_microusd_per_second(self) -> int:
        """What each second costs the requester: the operator's rate and the scheduler's fee."""
        return self.rate_microusd + self.fee_rate_microusd

    @property
    def notice_cost_microusd(self) -> int:
        """The most that the requester still pays once it has stopped the lease."""
        return self.notice_s * self.price_microusd_per_second

    @property
    def funded_s(self) -> int:
        """How many whole seconds the escrow pays for."""
        return self.escrow_microusd // self.price_microusd_per_second

    def abi_values(self) -> tuple[object, ...]:
        """Return the members in the contract's order."""
        return (
            self.requester, self.operator, self.spec, self.hardware_class, self.scheduler,
            self.rate_microusd, self.fee_rate_microusd, self.escrow_microusd, self.notice_s,
            self.start_by, int.from_bytes(self.nonce, "big"),
        )  # fmt: skip


def lease_id(terms: ServiceTerms, domain: typed_data.Domain) -> Digest:
    """Return the lease's id, which both sides sign: the EIP-712 digest of its terms.

    `domain` is that of the contract `Leases`, not of the Market.
    """
    return domain.digest(TERMS_TYPE, list(_ABI_TYPES), list(terms.abi_values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTerms:
    """Terms as they go from one side to the other: whoever has not signed has an empty signature.

    The requester signs with its own key, the operator with its own or its signing key.
    """

    terms: ServiceTerms
    requester_signature: bytes = b""
    operator_signature: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLease:
    """The books of a started lease, and what follows from them. Times are Unix seconds.

    `escrow_microusd` is what is not paid out yet; everything is paid up to `paid_until`.
    """

    requester: Address
    operator: Address
    scheduler: Address
    rate_microusd: int
    fee_rate_microusd: int
    notice_s: int
    escrow_microusd: int
    paid_until: int
    stops_at: int | None
    """None while nobody has stopped it."""

    @property
    def ends_at(self) -> int:
        """When it is over: no second after that is earned, and no top-up revives it."""
        price = self.rate_microusd + self.fee_rate_microusd
        funded_until = self.paid_until + self.escrow_microusd // price
        return funded_until if self.stops_at is None else min(funded_until, self.stops_at)

    def due_at(self, now: int) -> tuple[int, int]:
        """Return what operator and scheduler have earned by then and have not been paid."""
        seconds = max(0, min(now, self.ends_at) - self.paid_until)
        return seconds * self.rate_microusd, seconds * self.fee_rate_microusd

    def left_at(self, now: int) -> int:
        """Return what would go back to the requester if everything ended then."""
        return self.escrow_microusd - sum(self.due_at(now))
