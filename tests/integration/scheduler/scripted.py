"""A provider that does what a test tells it, with real keys, signatures and messages."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from assay_node.keys import LocalKey, create_key
from assay_node.protocol import cid as cids
from assay_node.protocol import codec
from assay_node.protocol.errors import ChainUnavailable, Refused
from assay_node.protocol.ids import Address, Cid, Digest, PeerId
from assay_node.protocol.messages import (
    COMMIT,
    COMMIT_SET,
    HELLO,
    LEASE,
    OUTPUT,
    RELEASE,
    Ack,
    Commit,
    CommitSet,
    Hello,
    LeaseAnswer,
    LeaseOffer,
    Output,
    Release,
    Reveal,
    Welcome,
)
from assay_node.protocol.offer import Offer, SignedOffer, Slot, offer_digest
from assay_node.protocol.order import job_id
from assay_node.protocol.receipt import (
    commit_digest,
    commit_set,
    commitment,
    reveal_digest,
    tag,
)
from assay_node.protocol.typed_data import Domain
from tests.builders.messages import a_cid
from tests.fakes.network import FakeNetwork

RATE = 100
GOOD = a_cid(1)


@dataclass
class ScriptedProvider:
    """Answers leases as its flags say; `output` is what it claims to have computed."""

    network: FakeNetwork
    domain: Domain
    hardware_class: Digest
    operator: Address
    signer: LocalKey = field(default_factory=create_key)
    output: Cid = GOOD
    refuses: str = ""
    before_answer: Callable[[], Awaitable[None]] | None = None
    judges: Callable[[], str] | None = None
    """Returns why it refuses the lease offer just heard, if it does."""
    chain_away: int = 0
    """How many lease offers it cannot judge before its chain endpoint is back."""
    at_limit: bool = False
    silent: bool = False
    forges: bool = False
    commit_rate: int = RATE
    seconds: int = 3
    leases: list[LeaseOffer] = field(default_factory=list)
    sets: list[CommitSet] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    commit_refusals: list[str] = field(default_factory=list)
    _salts: dict[tuple[Digest, int], Digest] = field(default_factory=dict)
    scheduler: PeerId | None = None

    async def join(self, address: str) -> None:
        self.scheduler = await self.network.connect(address)
        self.network.serve_requests(LEASE, self._lease)
        self.network.serve_requests(COMMIT_SET, self._reveal)
        self.network.serve_requests(RELEASE, self._release)
        self.network.serve_requests(OUTPUT, self._tell_output)
        await self.hello()

    async def hello(self, **changes: Any) -> Welcome:
        now = int(time.time())
        fields: dict[str, Any] = {
            "operator": self.operator,
            "signer": self.signer.address,
            "peer_id": self.network.peer_id,
            "addresses": self.network.addresses,
            "hardware_class": self.hardware_class,
            "cpu_model": "scripted",
            "tiers": ("t1",),
            "runtimes": ("host-python",),
            "software_digest": Digest(b"\x05" * 32),
            "exact_modes": (),
            "slots": 4,
            "slot": Slot(
                memory_bytes=1 << 33,
                cpus_milli=4000,
                scratch_bytes=1 << 33,
                output_bytes=1 << 33,
                input_bytes=1 << 33,
                seconds_max=86_400,
            ),
            "price_microusd_per_second": RATE,
            "bond_max_microusd": 1 << 40,
            "issued_at": now,
            "expires_at": now + 600,
            "generation": 1,
            **changes,
        }
        body = codec.encode(Offer(**fields))
        signature = self.signer.sign_digest(offer_digest(self.domain, body))
        hello = Hello(offer=SignedOffer(body=body, signature=signature))
        return codec.decode(Welcome, await self._ask(HELLO, hello))

    async def _lease(self, _peer: PeerId, data: bytes) -> bytes:
        lease = codec.decode(LeaseOffer, data)
        self.leases.append(lease)
        if self.before_answer is not None:
            await self.before_answer()
        if self.chain_away:
            self.chain_away -= 1
            raise ChainUnavailable("the chain does not answer; try again")
        refuses = self.judges() if self.judges else self.refuses
        if refuses:
            return codec.encode(LeaseAnswer(accepted=False, reason=refuses, rate_microusd=RATE))
        return codec.encode(LeaseAnswer(accepted=True, reason="", rate_microusd=RATE))

    async def commit(self, lease: LeaseOffer) -> None:
        """Commit to a lease, as a daemon does once its run is over."""
        job = job_id(lease.signed_order.order, self.domain)
        round_number = lease.round_number
        value = self._commitment(job, round_number)
        key = create_key() if self.forges else self.signer
        digest = commit_digest(
            self.domain,
            job=job,
            round_number=round_number,
            rate_microusd=self.commit_rate,
            commitment=value,
        )
        message = Commit(
            job=job,
            round_number=round_number,
            rate_microusd=self.commit_rate,
            commitment=value,
            at_limit=self.at_limit,
            signature=key.sign_digest(digest),
        )
        try:
            await self._ask(COMMIT, message)
        except Refused as error:
            self.commit_refusals.append(str(error))

    async def _reveal(self, _peer: PeerId, data: bytes) -> bytes:
        shown = codec.decode(CommitSet, data)
        self.sets.append(shown)
        if self.silent:
            raise Refused("I would rather not")
        job, round_number = shown.job, shown.round_number
        commits = commit_set([entry.commitment for entry in shown.entries])
        answer = tag(job, round_number, cids.to_digest(self.output))
        digest = reveal_digest(
            self.domain,
            job=job,
            commits=commits,
            tag=answer,
            rate_microusd=RATE,
            seconds=self.seconds,
        )
        return codec.encode(
            Reveal(
                job=job,
                round_number=round_number,
                tag=answer,
                seconds=self.seconds,
                salt=self._salts[job, round_number],
                rate_microusd=RATE,
                output=self.output,
                log=None,
                verdict="ok",
                detail="",
                signature=self.signer.sign_digest(digest),
            )
        )

    async def _tell_output(self, _peer: PeerId, _data: bytes) -> bytes:
        if self.silent:
            raise Refused("I would rather not")
        return codec.encode(Output(output=self.output, verdict="ok"))

    async def _release(self, _peer: PeerId, data: bytes) -> bytes:
        self.released.append(codec.decode(Release, data).reason)
        return codec.encode(Ack())

    def _commitment(self, job: Digest, round_number: int) -> Digest:
        salt = self._salts.setdefault((job, round_number), Digest(bytes([round_number + 1]) * 32))
        answer = tag(job, round_number, cids.to_digest(self.output))
        return commitment(job, self.operator, answer, self.seconds, salt)

    async def _ask(self, protocol: str, message: object) -> bytes:
        assert self.scheduler is not None
        return await self.network.request(
            self.scheduler, protocol, codec.encode(message), timeout_s=5
        )
