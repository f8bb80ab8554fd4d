"""The order: a requester's signed demand. Its EIP-712 digest is the job id."""

from dataclasses import dataclass
from typing import Final

from assay_node.protocol import typed_data
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import DIGEST_BYTES, ZERO_ADDRESS, Address, Digest, address
from assay_node.protocol.units import UINT64_MAX, check_uint

REPLICAS_MAX: Final = 8
"""The contract tallies in one byte of bits, and one receipt must stay far below the gas limit."""

PANEL_REPLICAS_MAX: Final = 2 * REPLICAS_MAX + 1
"""Panels are judged on the on-chain road alone, which takes so many."""

BPS: Final = 10_000
"""One whole, for shares and chances."""

_ABI_TYPES: Final = [member.split(" ")[0] for member in typed_data.ORDER_TYPE[6:-1].split(",")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a requester signs. Field order and types are those of `TypedData.sol`'s `Order`.

    Money is in micro-USD; rates are per second and replica; windows are seconds; `expiry` is Unix
    seconds, after which the order can no longer be settled; `audit_bps` is the chance in 1/10,000
    that the settled job is audited; `escalate` says whether the requester also pays for a panel
    where no quorum forms; `nonce` is 32 bytes, big-endian.
    """

    requester: Address
    spec: Digest
    hardware_class: Digest
    scheduler: Address
    fee_microusd: int
    max_rate_microusd: int
    max_seconds: int
    bond_microusd: int
    replicas: int
    quorum: int
    max_ticket: int
    commit_window_s: int
    reveal_window_s: int
    seed_block: int
    expiry: int
    audit_bps: int = 0
    escalate: bool = False
    nonce: bytes

    def __post_init__(self) -> None:
        for name, bits in (
            ("fee_microusd", 64), ("max_rate_microusd", 64), ("max_seconds", 32),
            ("bond_microusd", 64), ("replicas", 8), ("quorum", 8), ("max_ticket", 8),
            ("commit_window_s", 32), ("reveal_window_s", 32), ("seed_block", 64), ("expiry", 64),
            ("audit_bps", 16),
        ):  # fmt: skip
            check_uint(getattr(self, name), bits, name)
        for name in ("spec", "hardware_class", "nonce"):
            if len(getattr(self, name)) != DIGEST_BYTES:
                raise MalformedMessage(f"{name} has {DIGEST_BYTES} bytes")
        if address(self.requester) != self.requester or address(self.scheduler) != self.scheduler:
            raise MalformedMessage("addresses are written in lower case")
        # A panel's scheduler is nobody.
        most = PANEL_REPLICAS_MAX if self.scheduler == ZERO_ADDRESS else REPLICAS_MAX
        if not 1 <= self.replicas <= most:
            raise MalformedMessage(f"replicas is 1 to {most}, not {self.replicas}")
        if not self.replicas < 2 * self.quorum <= 2 * self.replicas:
            raise MalformedMessage(
                f"quorum is more than half of the {self.replicas} replicas, not {self.quorum}"
            )
        if self.audit_bps > BPS:
            raise MalformedMessage(f"audit_bps is at most {BPS}, not {self.audit_bps}")
        if self.max_seconds == 0:
            raise MalformedMessage("max_seconds is at least 1")
        if self.max_ticket + 1 < self.replicas:
            raise MalformedMessage("max_ticket leaves fewer tickets than replicas")
        if self.max_cost_microusd > UINT64_MAX:
            raise MalformedMessage("the most this order can cost does not fit 64 bits")

    @property
    def max_cost_microusd(self) -> int:
        """The most the requester can be charged: every replica at the cap, the fee, and a panel."""
        run = self.max_rate_microusd * self.max_seconds
        panel = self.panel_cost_microusd if self.escalate else 0
        return self.replicas * run + self.fee_microusd + panel

    @property
    def panel_cost_microusd(self) -> int:
        """The most that a panel of fresh operators can cost, whoever calls it."""
        return panel_cost(self.replicas, self.max_rate_microusd, self.max_seconds)

    @property
    def audit_fee_microusd(self) -> int:
        """What of the fee must pay for audits, or none of the order's jobs can be audited."""
        return audit_fee(self.panel_cost_microusd, self.audit_bps)

    @property
    def nonce_number(self) -> int:
        """The nonce as the contract's uint256."""
        return int.from_bytes(self.nonce, "big")

    def abi_values(self) -> tuple[object, ...]:
        """Return the members in the contract's order."""
        return (
            self.requester, self.spec, self.hardware_class, self.scheduler, self.fee_microusd,
            self.max_rate_microusd, self.max_seconds, self.bond_microusd, self.replicas,
            self.quorum, self.max_ticket, self.commit_window_s, self.reveal_window_s,
            self.seed_block, self.expiry, self.audit_bps, self.escalate, self.nonce_number,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOrder:
    """An order with its requester's signature."""

    order: Order
    signature: bytes


def panel_cost(replicas: int, max_rate_microusd: int, max_seconds: int) -> int:
    """Return the most that a panel of 2k + 1 costs, as the contract `Court` has it."""
    return (2 * replicas + 1) * max_rate_microusd * max_seconds


def audit_fee(panel_cost_microusd: int, audit_bps: int) -> int:
    """Return an audit's price times its chance: what an order's fee has to bring in for it."""
    return panel_cost_microusd * audit_bps // BPS


def order_hash(order: Order) -> bytes:
    """Return the order's EIP-712 struct hash, of which a requester may sign a list."""
    return typed_data.struct_hash(typed_data.ORDER_TYPE, list(_ABI_TYPES), list(order.abi_values()))


def job_id(order: Order, domain: typed_data.Domain) -> Digest:
    """Return the job id: the order's EIP-712 digest."""
    return domain.digest(typed_data.ORDER_TYPE, list(_ABI_TYPES), list(order.abi_values()))
