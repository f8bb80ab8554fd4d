"""A lease's commitment and its opening: what is signed, and over what. Pure but for the signer."""

from typing import Final

from eth_utils.crypto import keccak

from assay_node.ports import OrderSigner, RoadCommit
from assay_node.protocol import cid as cids
from assay_node.protocol import receipt
from assay_node.protocol.errors import Refused
from assay_node.protocol.evidence import signer_of_set
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest
from assay_node.protocol.messages import Commit, CommitSet, Reveal
from assay_node.protocol.order import Order
from assay_node.protocol.typed_data import Domain
from assay_node.services.road import Answer
from assay_node.store.provider_leases import ProviderLease
from assay_provider.outcome import AT_LIMIT
from assay_provider.runtime.sandbox import Verdict

REVEAL_DETAIL_CHARACTERS_MAX: Final = 300
"""Schedulers cut what is for people here."""


def tag_of(lease: ProviderLease) -> Digest:
    """Return the tag of an executed lease's output in its present round."""
    assert lease.output is not None, "an executed lease has an output"
    return receipt.tag(lease.job, lease.round_number, cids.to_digest(lease.output))


def salt_of(lease: ProviderLease) -> Digest:
    """Return the salt of an executed lease's commitment in its present round.

    Each round has its own, and all follow from the one that is stored: a commit of a round that is
    over can still be taken to the chain, where it has to be opened.
    """
    assert lease.salt is not None, "an executed lease has a salt"
    return Digest(keccak(lease.salt + lease.round_number.to_bytes(32, "big")))


def commitment_of(lease: ProviderLease, operator: Address) -> Digest:
    """Return an executed lease's commitment in its present round."""
    assert lease.seconds is not None, "an executed lease was metered"
    return receipt.commitment(lease.job, operator, tag_of(lease), lease.seconds, salt_of(lease))


def signed_commit(
    lease: ProviderLease, *, operator: Address, domain: Domain, signer: OrderSigner
) -> Commit:
    """Return the commit message of an executed lease."""
    committed = commitment_of(lease, operator)
    digest = receipt.commit_digest(
        domain,
        job=lease.job,
        round_number=lease.round_number,
        rate_microusd=lease.rate_microusd,
        commitment=committed,
    )
    return Commit(
        job=lease.job,
        round_number=lease.round_number,
        rate_microusd=lease.rate_microusd,
        commitment=committed,
        at_limit=lease.verdict in AT_LIMIT,
        signature=signer.sign_digest(digest),
    )


def answer_of(
    lease: ProviderLease, *, operator: Address, domain: Domain, signer: OrderSigner
) -> Answer:
    """Return what an executed lease brings to the on-chain road in its present round."""
    assert lease.seconds is not None, "an executed lease was metered"
    commit = signed_commit(lease, operator=operator, domain=domain, signer=signer)
    return Answer(
        commit=RoadCommit(
            operator=operator,
            ticket=lease.ticket,
            rate_microusd=commit.rate_microusd,
            commitment=commit.commitment,
            signature=commit.signature,
        ),
        seconds=lease.seconds,
        tag=tag_of(lease),
        salt=salt_of(lease),
    )


def check_commit_set(
    committed: CommitSet,
    lease: ProviderLease,
    order: Order,
    *,
    operator: Address,
    domain: Domain,
) -> Digest:
    """Return the hash of a commit set that this provider may sign over.

    1. It is for the lease's round. 2. It has exactly the order's replicas. 3. Tickets rise strictly
    and stay within the order's reach. 4. Operators are distinct, and commitments have 32 bytes, or
    their hash could stand for other entries. 5. Our own entry is there, at our ticket, with the
    commitment and the rate we signed. 6. The scheduler signed the set, so that we can take the job
    to the chain with it should the scheduler fall silent.

    Raises:
        Refused: naming what is wrong.
    """
    entries = committed.entries
    if committed.round_number != lease.round_number:  # 1
        raise Refused(
            f"the commit set is of round {committed.round_number}; this lease is in round "
            f"{lease.round_number}"
        )
    if len(entries) != order.replicas:  # 2
        raise Refused(f"the commit set has {len(entries)} entries, not {order.replicas}")
    tickets = [entry.ticket for entry in entries]
    if tickets != sorted(set(tickets)) or tickets[0] < 0 or tickets[-1] > order.max_ticket:  # 3
        raise Refused(f"tickets do not rise strictly from 0 to at most {order.max_ticket}")
    if len({entry.operator for entry in entries}) != len(entries):  # 4
        raise Refused("an operator stands twice in the commit set")
    if any(len(entry.commitment) != DIGEST_BYTES for entry in entries):
        raise Refused(f"commitments have {DIGEST_BYTES} bytes")
    own = next((entry for entry in entries if entry.operator == operator), None)
    if own is None or own.ticket != lease.ticket:  # 5
        raise Refused("the commit set lacks this provider's entry at its ticket")
    if own.commitment != commitment_of(lease, operator):
        raise Refused("the commit set changes this provider's commitment")
    if own.rate_microusd != lease.rate_microusd:
        raise Refused("the commit set changes this provider's rate")
    if signer_of_set(committed, domain) != lease.scheduler:  # 6
        raise Refused("the commit set is not signed by the scheduler")
    return committed.commits


def signed_reveal(
    lease: ProviderLease, *, commits: Digest, domain: Domain, signer: OrderSigner
) -> Reveal:
    """Return the reveal of a lease over a checked commit set."""
    assert lease.output is not None
    assert lease.seconds is not None
    digest = receipt.reveal_digest(
        domain,
        job=lease.job,
        commits=commits,
        tag=tag_of(lease),
        rate_microusd=lease.rate_microusd,
        seconds=lease.seconds,
    )
    return Reveal(
        job=lease.job,
        round_number=lease.round_number,
        tag=tag_of(lease),
        seconds=lease.seconds,
        salt=salt_of(lease),
        rate_microusd=lease.rate_microusd,
        output=lease.output,
        log=lease.log,
        verdict=lease.verdict or Verdict.OK.value,
        detail=lease.detail[:REVEAL_DETAIL_CHARACTERS_MAX],
        signature=signer.sign_digest(digest),
    )
