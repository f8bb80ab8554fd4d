"""The market's books by the protocol's text alone: who is paid, slashed and refused what.

A second opinion for the contracts. Written from `docs/protocol/` and the NatSpec of the interfaces,
it shares no line with the Solidity or with `assay_node.protocol`: the type strings are read from
the documentation, signatures are recovered by eth_keys, and a vote is counted rather than grouped
and sorted. Everything is in micro-USD, seconds and blocks.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from eth_abi.abi import encode
from eth_keys.datatypes import Signature
from eth_utils.crypto import keccak

DOCS: Final = Path(__file__).resolve().parents[3] / "docs" / "protocol"

SEAT: Final = 500_000_000
SEAT_BACKING: Final = SEAT // 2
HORIZON_S: Final = 12 * 3600
ROAD_WINDOW_S: Final = 2 * 3600
SEED_LIFE_S: Final = HORIZON_S + 2 * ROAD_WINDOW_S
NOTICE_S: Final = 24 * 3600
UNBONDING_S: Final = 7 * 24 * 3600
REPLICAS_MAX: Final = 8
CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NOBODY: Final = "0x" + "00" * 20


class Refused(Exception):
    """The contracts revert this call."""


class Order(NamedTuple):
    """As in docs/protocol/orders.md."""

    requester: str
    spec: bytes
    hardware_class: bytes
    scheduler: str
    fee: int
    max_rate: int
    max_seconds: int
    bond: int
    replicas: int
    quorum: int
    max_ticket: int
    commit_window: int
    reveal_window: int
    seed_block: int
    expiry: int
    audit_bps: int
    escalate: bool
    nonce: int


class Replica(NamedTuple):
    """As in docs/protocol/settlement.md."""

    operator: str
    rate: int
    ticket: int
    secs: int
    tag: bytes
    salt: bytes
    signature: bytes


class Receipt(NamedTuple):
    order: Order
    signature: bytes
    replicas: tuple[Replica, ...]


@dataclass
class Account:
    free: int = 0
    stake: int = 0
    locked: int = 0
    wins: int = 0
    faults: int = 0


@dataclass
class Budget:
    amount: int = 0
    closes_at: int = 0


@dataclass
class HardwareClass:
    """Who holds each seat now, which seats each operator bought when, and who held them before."""

    holders: list[str] = field(default_factory=list)
    bought: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    history: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    kept: dict[int, tuple[bytes, tuple[str, ...], int]] = field(default_factory=dict)

    def at_end_of(self, block: int) -> tuple[str, ...]:
        return next((seats for since, seats in reversed(self.history) if since <= block), ())


@dataclass(frozen=True)
class Now:
    """The block in which a transaction ran, and the hashes that it could see."""

    number: int
    timestamp: int
    hashes: dict[int, bytes]


@dataclass(frozen=True)
class Settled:
    """A job with its outcome: what each replica's operator got (or, below zero, lost)."""

    job: bytes
    agreed: bool
    fee: int
    cost: int
    moved: tuple[int, ...]


@dataclass(frozen=True)
class Skipped:
    """A receipt that costs nobody anything, with every reason that there is for it."""

    job: bytes
    reasons: frozenset[str]


# --- what is signed ---------------------------------------------------------------------------


@cache
def type_string(name: str) -> str:
    """Return the EIP-712 type that the protocol's documentation shows for a message."""
    text = "".join(path.read_text() for path in sorted(DOCS.glob("*.md")))
    found = re.search(rf"^{name}\([^)]+\)", text, re.MULTILINE)
    assert found, f"the documentation shows no EIP-712 type {name}"
    return found[0]


@cache
def _member_types(name: str) -> list[str]:
    return [member.split()[0] for member in type_string(name)[len(name) + 1 : -1].split(",")]


@dataclass(frozen=True)
class Domain:
    chain_id: int
    market: str

    def digest(self, name: str, *values: object) -> bytes:
        typehash = keccak(text=type_string(name))
        struct = keccak(encode(["bytes32", *_member_types(name)], [typehash, *values]))
        return keccak(b"\x19\x01" + self._separator() + struct)

    def _separator(self) -> bytes:
        kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        words = [keccak(text=kind), keccak(text="Assay"), keccak(text="1")]
        encoded = encode(["uint256", "address"], [self.chain_id, self.market])
        return keccak(b"".join(words) + encoded)

    def job(self, order: Order) -> bytes:
        return self.digest("Order", *order)

    def reveal(self, job: bytes, commits: bytes, replica: Replica) -> bytes:
        return self.digest("Reveal", job, commits, replica.tag, replica.rate, replica.secs)


def commitment(job: bytes, replica: Replica) -> bytes:
    types = ["bytes32", "address", "bytes32", "uint32", "bytes32"]
    said = [job, replica.operator, replica.tag, replica.secs, replica.salt]
    return keccak(encode(types, said))


def commit_set(job: bytes, replicas: Sequence[Replica]) -> bytes:
    return keccak(b"".join(commitment(job, replica) for replica in replicas))


def signer_of(digest: bytes, signature: bytes) -> str | None:
    """Return who signed: 65 bytes, v 27 or 28, low s; else nobody did."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if not (0 < r < CURVE_ORDER and 0 < s <= CURVE_ORDER // 2):
        return None
    try:
        key = Signature(vrs=(signature[64] - 27, r, s)).recover_public_key_from_msg_hash(digest)
    except Exception:  # noqa: BLE001  # whatever the library says: no key made this
        return None
    return key.to_address()


# --- the market -------------------------------------------------------------------------------


class Market:
    """Everybody's books, and what each call does to them."""

    def __init__(self, domain: Domain, treasury: str) -> None:
        self.domain = domain
        self.treasury = treasury
        self.held = 0
        """What was slashed and waits for an appeal that nobody here makes."""
        self.accounts: defaultdict[str, Account] = defaultdict(Account)
        self.budgets: defaultdict[tuple[str, str], Budget] = defaultdict(Budget)
        self.classes: defaultdict[bytes, HardwareClass] = defaultdict(HardwareClass)
        self.spent: set[tuple[str, int]] = set()
        self.signers: dict[str, str] = {}
        self.ready_at: defaultdict[str, int] = defaultdict(int)

    @property
    def total(self) -> int:
        in_accounts = sum(account.free + account.stake for account in self.accounts.values())
        return in_accounts + sum(budget.amount for budget in self.budgets.values()) + self.held

    # --- money

    def deposit(self, who: str, amount: int) -> None:
        self.accounts[who].free += amount

    def withdraw(self, who: str, amount: int) -> None:
        self._take(who, amount)

    def fund(self, who: str, scheduler: str, amount: int) -> None:
        self._take(who, amount)
        budget = self.budgets[who, scheduler]
        budget.amount += amount
        budget.closes_at = 0

    def close(self, who: str, scheduler: str, now: Now) -> None:
        budget = self.budgets[who, scheduler]
        _require(budget.closes_at == 0)
        budget.closes_at = now.timestamp + NOTICE_S

    def reclaim(self, who: str, scheduler: str, now: Now) -> None:
        budget = self.budgets[who, scheduler]
        _require(0 < budget.closes_at <= now.timestamp)
        self.accounts[who].free += budget.amount
        self.budgets[who, scheduler] = Budget()

    def _take(self, who: str, amount: int) -> None:
        _require(self.accounts[who].free >= amount)
        self.accounts[who].free -= amount

    # --- stake and seats

    def stake(self, who: str, hardware_class: bytes, seats: int, now: Now) -> None:
        self._take(who, seats * SEAT)
        self.accounts[who].stake += seats * SEAT
        kind = self.classes[hardware_class]
        for _ in range(seats):
            kind.bought[who].append(len(kind.holders))
            kind.holders.append(who)
        kind.history.append((now.number, tuple(kind.holders)))

    def unstake(self, who: str, hardware_class: bytes, seats: int, now: Now) -> None:
        """Gives up the newest seats; the class's last seat moves into each hole."""
        kind = self.classes[hardware_class]
        _require(0 < seats <= len(kind.bought[who]))
        for _ in range(seats):
            hole, last = kind.bought[who].pop(), len(kind.holders) - 1
            mover = kind.holders.pop()
            if hole != last:
                kind.holders[hole] = mover
                kind.bought[mover][kind.bought[mover].index(last)] = hole
        kind.history.append((now.number, tuple(kind.holders)))
        self.ready_at[who] = now.timestamp + UNBONDING_S

    def evict(self, who: str, hardware_class: bytes, seats: int, now: Now) -> None:
        """Seats that stake does not cover by half, and no seat more."""
        left = self.seats_of(who) - seats
        _require(left >= 0 and self.accounts[who].stake < (left + 1) * SEAT_BACKING)
        self.unstake(who, hardware_class, seats, now)

    def top_up(self, who: str, amount: int) -> None:
        self._take(who, amount)
        self.accounts[who].stake += amount

    def exit(self, who: str, now: Now) -> None:
        account = self.accounts[who]
        spare = account.stake - max(self.seats_of(who) * SEAT, account.locked)
        _require(now.timestamp >= self.ready_at[who] and spare > 0)
        account.stake -= spare
        account.free += spare

    def seats_of(self, who: str) -> int:
        return sum(len(kind.bought[who]) for kind in self.classes.values())

    # --- the draw

    def keep_seed(self, hardware_class: bytes, block: int, now: Now) -> None:
        kind = self.classes[hardware_class]
        if block not in kind.kept:
            _require(block in now.hashes)
            kind.kept[block] = (now.hashes[block], kind.at_end_of(block - 1), now.timestamp)

    def drawn(self, order: Order, job: bytes, ticket: int, now: Now) -> str:
        """Return the operator of a ticket; raise the seed's fault where there is no draw."""
        kind = self.classes[order.hardware_class]
        if order.seed_block in kind.kept:
            block_hash, seats, kept_at = kind.kept[order.seed_block]
            if now.timestamp > kept_at + SEED_LIFE_S:
                raise Refused("SeedTooOld")
        elif order.seed_block in now.hashes:
            block_hash, seats = (
                now.hashes[order.seed_block], kind.at_end_of(order.seed_block - 1),
            )  # fmt: skip
        else:
            raise Refused("SeedUnknown")
        if not seats:
            return NOBODY
        seed = block_hash[:22] + bytes(10)
        place = keccak(keccak(seed + job) + ticket.to_bytes(32, "big"))
        return seats[int.from_bytes(place, "big") % len(seats)]

    # --- settlement

    def settle(self, receipts: Sequence[Receipt], now: Now) -> list[Settled | Skipped]:
        return [self._settle(receipt, now) for receipt in receipts]

    def _settle(self, receipt: Receipt, now: Now) -> Settled | Skipped:
        order, job = receipt.order, self.domain.job(receipt.order)
        reasons = self._faults(receipt, job, now)
        if reasons:
            return Skipped(job=job, reasons=frozenset(reasons))
        winners, secs = _verdict(receipt)
        gains = [_gain(receipt, i, winners=winners, secs=secs) for i in range(order.replicas)]
        fee = order.fee if winners else 0
        cost = fee + sum(gain for gain in gains if gain is not None)
        budget = self.budgets[order.requester, order.scheduler]
        if (order.requester, order.nonce) in self.spent:
            reasons.add("NonceSpent")
        if cost > budget.amount:
            reasons.add("BudgetTooSmall")
        if reasons:
            return Skipped(job=job, reasons=frozenset(reasons))
        self.spent.add((order.requester, order.nonce))
        budget.amount -= cost
        self.accounts[order.scheduler].free += fee
        moved = [
            self._pay(replica.operator, gain, won=bool(winners))
            if gain is not None
            else -self._slash(replica.operator, order.bond)
            for replica, gain in zip(receipt.replicas, gains, strict=True)
        ]
        return Settled(job=job, agreed=bool(winners), fee=fee, cost=cost, moved=tuple(moved))

    def _pay(self, who: str, amount: int, *, won: bool) -> int:
        self.accounts[who].free += amount
        self.accounts[who].wins += won
        return amount

    def _slash(self, who: str, bond: int) -> int:
        account = self.accounts[who]
        amount = min(bond, account.stake - account.locked)
        account.stake -= amount
        account.faults += 1
        self.held += amount
        return amount

    def _faults(self, receipt: Receipt, job: bytes, now: Now) -> set[str]:
        """Return every reason to pass over a receipt, whichever a contract would meet first."""
        order, replicas = receipt.order, receipt.replicas
        operators = [replica.operator for replica in replicas]
        tickets = [replica.ticket for replica in replicas]
        rising = all(low < high for low, high in itertools.pairwise(tickets))
        found = {
            "ReplicaCountInvalid": not 0 < len(replicas) == order.replicas <= REPLICAS_MAX,
            "QuorumInvalid": not len(replicas) < 2 * order.quorum <= 2 * len(replicas),
            "OrderExpired": now.timestamp > order.expiry,
            "ExpiryTooFar": order.expiry > now.timestamp + HORIZON_S,
            "RateTooHigh": any(replica.rate > order.max_rate for replica in replicas),
            "TicketTooHigh": any(ticket > order.max_ticket for ticket in tickets),
            "TicketsNotRising": not rising,
            "OperatorTwice": len(set(operators)) != len(operators),
            "RequesterSignatureInvalid": signer_of(job, receipt.signature) != order.requester,
            "BudgetTooSmall": _outgrows_any_budget(receipt),
        }
        faults = {name for name, holds in found.items() if holds}
        return faults | self._reveal_faults(receipt, job) | self._draw_faults(receipt, job, now)

    def _reveal_faults(self, receipt: Receipt, job: bytes) -> set[str]:
        commits, faults = commit_set(job, receipt.replicas), set()
        for replica in receipt.replicas:
            signer = signer_of(self.domain.reveal(job, commits, replica), replica.signature)
            if signer is None:
                faults.add("RevealSignatureInvalid")
            elif self.signers.get(replica.operator) != signer:
                faults.add("SignerNotRegistered")
        return faults

    def _draw_faults(self, receipt: Receipt, job: bytes, now: Now) -> set[str]:
        order = receipt.order
        try:
            drawn = [self.drawn(order, job, replica.ticket, now) for replica in receipt.replicas]
        except Refused as fault:
            return {str(fault)}
        meant = [replica.operator for replica in receipt.replicas]
        return {"OperatorNotDrawn"} if drawn != meant or NOBODY in meant else set()


def _verdict(receipt: Receipt) -> tuple[frozenset[bytes], int]:
    """Return what a quorum said, if any did, and the seconds that its members are paid."""
    said = Counter(replica.tag[:28] for replica in receipt.replicas)
    winners = frozenset(answer for answer, count in said.items() if count >= receipt.order.quorum)
    meters = sorted(r.secs for r in receipt.replicas if r.tag[:28] in winners)
    if not meters:
        return winners, 0
    return winners, min(meters[(len(meters) - 1) // 2], receipt.order.max_seconds)


def _gain(receipt: Receipt, i: int, *, winners: frozenset[bytes], secs: int) -> int | None:
    """Return what a replica earns; None where it is slashed instead."""
    replica = receipt.replicas[i]
    if not winners:
        return replica.rate * min(replica.secs, receipt.order.max_seconds) // 4
    return replica.rate * secs if replica.tag[:28] in winners else None


def _outgrows_any_budget(receipt: Receipt) -> bool:
    """Whether somebody would earn more than the books can hold, which nobody has set aside."""
    winners, secs = _verdict(receipt)
    gains = [_gain(receipt, i, winners=winners, secs=secs) for i in range(len(receipt.replicas))]
    return any(gain is not None and gain >= 1 << 64 for gain in gains)


def _require(holds: bool) -> None:
    if not holds:
        raise Refused
