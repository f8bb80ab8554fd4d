"""The market's books by the protocol's text alone: who is paid, slashed and refused what.

A second opinion for the contracts: this is Vault, Providers and Market; `road_model` and
`court_model` are the rest. Written from `docs/protocol/` and the NatSpec of the interfaces, it
shares no line with the Solidity or with `assay_node.protocol`: the type strings are read from
the documentation, signatures are recovered by eth_keys, and a vote is counted rather than grouped
and sorted. Everything is in micro-USD, seconds and blocks.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
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
SEED_BLOCKS: Final = 8_191
"""How many block hashes the chain itself remembers."""

REPLICAS_MAX: Final = 8
BPS: Final = 10_000
AMOUNT_MAX: Final = (1 << 64) - 1
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
    """The block in which a transaction ran, and the hashes of all blocks before it."""

    number: int
    timestamp: int
    hashes: Mapping[int, bytes]

    def hash_of(self, block: int) -> bytes | None:
        """Return the hash of a block that the chain still remembers."""
        known = 0 < block < self.number <= block + SEED_BLOCKS
        return self.hashes[block] if known else None


class Part(NamedTuple):
    """What a job did to one replica's operator; `kind` is "won", "effort" or "slashed"."""

    operator: str
    kind: str
    amount: int


@dataclass(frozen=True)
class Settled:
    """A job that was just decided: by a receipt, or on the road."""

    job: bytes
    order: Order
    commitments: tuple[bytes, ...]
    parts: tuple[Part, ...]
    agreed: bool

    @property
    def fee(self) -> int:
        return self.order.fee if self.agreed else 0

    @property
    def cost(self) -> int:
        return self.fee + sum(part.amount for part in self.parts if part.kind != "slashed")


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


def struct_hash(name: str, *values: object) -> bytes:
    typehash = keccak(text=type_string(name))
    return keccak(encode(["bytes32", *_member_types(name)], [typehash, *values]))


@dataclass(frozen=True)
class Domain:
    chain_id: int
    market: str

    def digest(self, name: str, *values: object) -> bytes:
        return self._signable(struct_hash(name, *values))

    def list_digest(self, name: str, element: str, hashes: Sequence[bytes]) -> bytes:
        """Return what is signed for a list of structs, `name(element[] ...)`."""
        typehash = keccak(text=type_string(name) + type_string(element))
        return self._signable(keccak(typehash + keccak(b"".join(hashes))))

    def _signable(self, struct: bytes) -> bytes:
        return keccak(b"\x19\x01" + self._separator + struct)

    @cached_property
    def _separator(self) -> bytes:
        kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
        words = [keccak(text=kind), keccak(text="Assay"), keccak(text="1")]
        encoded = encode(["uint256", "address"], [self.chain_id, self.market])
        return keccak(b"".join(words) + encoded)

    def job(self, order: Order) -> bytes:
        return self.digest("Order", *order)

    def reveal(self, job: bytes, commits: bytes, replica: Replica) -> bytes:
        return self._signable(reveal_hash(job, commits, replica))

    def commit(self, job: bytes, round_number: int, rate: int, commitment: bytes) -> bytes:
        return self.digest("Commit", job, round_number, rate, commitment)

    def commit_set(self, job: bytes, round_number: int, commits: bytes) -> bytes:
        return self.digest("CommitSet", job, round_number, commits)


def reveal_hash(job: bytes, commits: bytes, replica: Replica) -> bytes:
    return struct_hash("Reveal", job, commits, replica.tag, replica.rate, replica.secs)


def tag(job: bytes, round_number: int, output: bytes) -> bytes:
    return keccak(encode(["bytes32", "uint32", "bytes32"], [job, round_number, output]))


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
        self.decided: Callable[[Settled, Now], None] = lambda settled, now: None
        """Told of each job that was decided, in the same transaction: the court listens."""
        self.accounts: defaultdict[str, Account] = defaultdict(Account)
        self.budgets: defaultdict[tuple[str, str], Budget] = defaultdict(Budget)
        self.classes: defaultdict[bytes, HardwareClass] = defaultdict(HardwareClass)
        self.spent: set[tuple[str, int]] = set()
        self.signers: dict[str, str] = {}
        self.ready_at: defaultdict[str, int] = defaultdict(int)

    @property
    def total(self) -> int:
        """All money but what modules hold."""
        in_accounts = sum(account.free + account.stake for account in self.accounts.values())
        return in_accounts + sum(budget.amount for budget in self.budgets.values())

    # --- money

    def deposit(self, who: str, amount: int) -> None:
        self.accounts[who].free += amount

    def withdraw(self, who: str, amount: int) -> None:
        self.take(who, amount)

    def fund(self, who: str, scheduler: str, amount: int) -> None:
        self.take(who, amount)
        budget = self.budgets[who, scheduler]
        budget.amount += amount
        budget.closes_at = 0

    def close(self, who: str, scheduler: str, now: Now) -> None:
        budget = self.budgets[who, scheduler]
        require(budget.closes_at == 0)
        budget.closes_at = now.timestamp + NOTICE_S

    def reclaim(self, who: str, scheduler: str, now: Now) -> None:
        budget = self.budgets[who, scheduler]
        require(0 < budget.closes_at <= now.timestamp)
        self.accounts[who].free += budget.amount
        self.budgets[who, scheduler] = Budget()

    def take(self, who: str, amount: int) -> None:
        require(self.accounts[who].free >= amount)
        self.accounts[who].free -= amount

    # --- stake and seats

    def stake(self, who: str, hardware_class: bytes, seats: int, now: Now) -> None:
        self.take(who, seats * SEAT)
        self.accounts[who].stake += seats * SEAT
        kind = self.classes[hardware_class]
        for _ in range(seats):
            kind.bought[who].append(len(kind.holders))
            kind.holders.append(who)
        kind.history.append((now.number, tuple(kind.holders)))

    def unstake(self, who: str, hardware_class: bytes, seats: int, now: Now) -> None:
        """Gives up the newest seats; the class's last seat moves into each hole."""
        kind = self.classes[hardware_class]
        require(0 < seats <= len(kind.bought[who]))
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
        require(left >= 0 and self.accounts[who].stake < (left + 1) * SEAT_BACKING)
        self.unstake(who, hardware_class, seats, now)

    def top_up(self, who: str, amount: int) -> None:
        self.take(who, amount)
        self.accounts[who].stake += amount

    def exit(self, who: str, now: Now) -> None:
        account = self.accounts[who]
        spare = account.stake - max(self.seats_of(who) * SEAT, account.locked)
        require(now.timestamp >= self.ready_at[who] and spare > 0)
        account.stake -= spare
        account.free += spare

    def seats_of(self, who: str) -> int:
        return sum(len(kind.bought[who]) for kind in self.classes.values())

    # --- the draw

    def keep_seed(self, hardware_class: bytes, block: int, now: Now) -> None:
        kind = self.classes[hardware_class]
        if block not in kind.kept:
            seed = now.hash_of(block)
            require(seed is not None)
            assert seed is not None
            kind.kept[block] = (seed, kind.at_end_of(block - 1), now.timestamp)

    def drawn(self, order: Order, job: bytes, ticket: int, now: Now) -> str:
        """Return the operator of a ticket; raise the seed's fault where there is no draw."""
        kind = self.classes[order.hardware_class]
        if order.seed_block in kind.kept:
            block_hash, seats, kept_at = kind.kept[order.seed_block]
            if now.timestamp > kept_at + SEED_LIFE_S:
                raise Refused("SeedTooOld")
        elif fresh := now.hash_of(order.seed_block):
            block_hash, seats = fresh, kind.at_end_of(order.seed_block - 1)
        else:
            raise Refused("SeedUnknown")
        if not seats:
            return NOBODY
        seed = block_hash[:22] + bytes(10)
        place = keccak(keccak(seed + job) + ticket.to_bytes(32, "big"))
        return seats[int.from_bytes(place, "big") % len(seats)]

    # --- settlement

    def settle(
        self, receipts: Sequence[Receipt], now: Now, once: "SignedOnce | None" = None
    ) -> list[Settled | Skipped]:
        """Settle a batch, in whichever form it came; `once` says who signs once for all of it."""
        lists = None if once is None else once.judge(self, receipts)
        outcomes = [self._settle(receipt, now, lists) for receipt in receipts]
        for outcome in outcomes:  # when all of the batch stands in the books
            if isinstance(outcome, Settled):
                self.decided(outcome, now)
        return outcomes

    def _settle(self, receipt: Receipt, now: Now, lists: "Lists | None") -> Settled | Skipped:
        order, job = receipt.order, self.domain.job(receipt.order)
        reasons = self.faults(receipt, job, now, lists)
        reasons |= late(order, now)
        if _outgrows_any_budget(receipt):
            reasons.add("BudgetTooSmall")
        if reasons:
            return Skipped(job=job, reasons=frozenset(reasons))
        settled = decide(job, receipt)
        budget = self.budgets[order.requester, order.scheduler]
        if (order.requester, order.nonce) in self.spent:
            reasons.add("NonceSpent")
        if settled.cost > budget.amount:
            reasons.add("BudgetTooSmall")
        if reasons:
            return Skipped(job=job, reasons=frozenset(reasons))
        self.spent.add((order.requester, order.nonce))
        budget.amount -= settled.cost
        return self.carry_out(settled)

    def carry_out(self, settled: Settled) -> Settled:
        """Pay and slash as decided; return what was really taken."""
        self.accounts[settled.order.scheduler].free += settled.fee
        parts = tuple(map(self._carry_out_part, settled.parts))
        return replace(settled, parts=parts)

    def _carry_out_part(self, part: Part) -> Part:
        if part.kind == "slashed":
            return part._replace(amount=self.slash(part.operator, part.amount))
        account = self.accounts[part.operator]
        account.free += part.amount
        account.wins += part.kind == "won"
        return part

    def slash(self, who: str, bond: int) -> int:
        """Take stake for the treasury, as far as it is not locked; return how much."""
        account = self.accounts[who]
        amount = min(bond, account.stake - account.locked)
        account.stake -= amount
        account.faults += 1
        self.accounts[self.treasury].free += amount
        return amount

    def speaks_for(self, signer: str | None, who: str) -> bool:
        """Whether an order's signature is the requester's own, or of a key that it registered."""
        return signer is not None and signer in (who, self.signers.get(who))

    def faults(
        self, receipt: Receipt, job: bytes, now: Now, lists: "Lists | None" = None
    ) -> set[str]:
        """Return what makes a receipt untrue, whichever a contract would meet first.

        Whether it comes in time, its nonce and its budget are other questions.
        """
        order, replicas = receipt.order, receipt.replicas
        operators = [replica.operator for replica in replicas]
        tickets = [replica.ticket for replica in replicas]
        rising = all(low < high for low, high in itertools.pairwise(tickets))
        if lists is not None and lists.orders is not None:
            ordered = order.requester in lists.orders
        else:
            ordered = self.speaks_for(signer_of(job, receipt.signature), order.requester)
        found = {
            "ReplicaCountInvalid": not 0 < len(replicas) == order.replicas <= REPLICAS_MAX,
            "QuorumInvalid": not len(replicas) < 2 * order.quorum <= 2 * len(replicas),
            "AuditInvalid": order.audit_bps > BPS,
            "RateTooHigh": any(replica.rate > order.max_rate for replica in replicas),
            "TicketTooHigh": any(ticket > order.max_ticket for ticket in tickets),
            "TicketsNotRising": not rising,
            "OperatorTwice": len(set(operators)) != len(operators),
            "RequesterSignatureInvalid": not ordered,
        }
        faults = {name for name, holds in found.items() if holds}
        return (
            faults | self._reveal_faults(receipt, job, lists) | self._draw_faults(receipt, job, now)
        )

    def _reveal_faults(self, receipt: Receipt, job: bytes, lists: "Lists | None") -> set[str]:
        commits, faults = commit_set(job, receipt.replicas), set()
        for replica in receipt.replicas:
            if lists is not None and lists.reveals is not None:
                signer = lists.reveals[replica.operator]
            else:
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


# --- signed once ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Lists:
    """Whose one signature holds: requesters; and who signed for each operator, if anybody."""

    orders: frozenset[str] | None
    reveals: Mapping[str, str | None] | None


@dataclass(frozen=True)
class SignedOnce:
    """The one signature of each requester, or each operator, or both, over a batch."""

    orders: Mapping[str, bytes] | None = None
    reveals: Mapping[str, bytes] | None = None

    def judge(self, market: Market, receipts: Sequence[Receipt]) -> Lists:
        digests = list_digests(market.domain, receipts)
        orders, reveals = None, None
        if self.orders is not None:
            signers = {who: signer_of(digests[0][who], self.orders[who]) for who in self.orders}
            orders = frozenset(who for who in signers if market.speaks_for(signers[who], who))
        if self.reveals is not None:
            reveals = {who: signer_of(digests[1][who], self.reveals[who]) for who in self.reveals}
        return Lists(orders, reveals)


def list_digests(
    domain: Domain, receipts: Sequence[Receipt]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return what each requester and each operator signs who signs once for these receipts."""
    orders: defaultdict[str, list[bytes]] = defaultdict(list)
    reveals: defaultdict[str, list[bytes]] = defaultdict(list)
    for receipt in receipts:
        job = domain.job(receipt.order)
        commits = commit_set(job, receipt.replicas)
        orders[receipt.order.requester].append(struct_hash("Order", *receipt.order))
        for replica in receipt.replicas:
            reveals[replica.operator].append(reveal_hash(job, commits, replica))
    return (
        {who: domain.list_digest("Orders", "Order", hashes) for who, hashes in orders.items()},
        {who: domain.list_digest("Reveals", "Reveal", hashes) for who, hashes in reveals.items()},
    )


# --- verdicts ---------------------------------------------------------------------------------


def late(order: Order, now: Now) -> set[str]:
    """Return what speaks against an order at this time."""
    found = {
        "OrderExpired": now.timestamp > order.expiry,
        "ExpiryTooFar": order.expiry > now.timestamp + HORIZON_S,
    }
    return {name for name, holds in found.items() if holds}


def verdict(votes: Sequence[tuple[bytes, int]], order: Order) -> tuple[frozenset[bytes], int]:
    """Return what a quorum said, if any did, and the seconds that its members are paid."""
    said = Counter(answer[:28] for answer, _ in votes)
    winners = frozenset(answer for answer, count in said.items() if count >= order.quorum)
    meters = sorted(secs for answer, secs in votes if answer[:28] in winners)
    if not meters:
        return winners, 0
    return winners, min(meters[(len(meters) - 1) // 2], order.max_seconds)


def effort(order: Order, rate: int, secs: int) -> int:
    return rate * min(secs, order.max_seconds) // 4


def decide(job: bytes, receipt: Receipt) -> Settled:
    """Return what a complete receipt comes to; a slash stands there with the whole bond."""
    parts = _parts(receipt)
    return Settled(
        job=job,
        order=receipt.order,
        commitments=tuple(commitment(job, replica) for replica in receipt.replicas),
        parts=parts,
        agreed=any(part.kind == "won" for part in parts),
    )


def _parts(receipt: Receipt) -> tuple[Part, ...]:
    order = receipt.order
    winners, secs = verdict([(one.tag, one.secs) for one in receipt.replicas], order)

    def part(one: Replica) -> Part:
        if not winners:
            return Part(one.operator, "effort", effort(order, one.rate, one.secs))
        if one.tag[:28] in winners:
            return Part(one.operator, "won", one.rate * secs)
        return Part(one.operator, "slashed", order.bond)

    return tuple(map(part, receipt.replicas))


def _outgrows_any_budget(receipt: Receipt) -> bool:
    """Whether somebody would earn more than the books can hold, which nobody has set aside."""
    parts = _parts(receipt)
    return any(part.amount > AMOUNT_MAX for part in parts if part.kind != "slashed")


def require(holds: bool, why: str = "") -> None:
    if not holds:
        raise Refused(why)
