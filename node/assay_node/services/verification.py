"""Checks of what providers sign: by the scheduler on the way in, by the requester at the end."""

import asyncio
import itertools
from collections.abc import Sequence

from assay_node.ports import CourtReader, LeaseRecord, Settlement
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage, RemoteError
from assay_node.protocol.ids import Address, Cid, Digest
from assay_node.protocol.messages import Commit, CommitEntry, CommitSet, Result, Reveal
from assay_node.protocol.order import job_id
from assay_node.protocol.panels import is_of
from assay_node.protocol.receipt import (
    Receipt,
    Replica,
    Tally,
    commit_digest,
    commit_set,
    commitment,
    reveal_digest,
    tag,
    tally,
)
from assay_node.protocol.typed_data import Domain, recover


def check_commit(commit: Commit, lease: LeaseRecord, signer: Address, domain: Domain) -> None:
    """Refuse a commitment that is not this lease's, signed by its operator's signing key.

    Raises:
        MalformedMessage: naming what is wrong.
    """
    if commit.round_number != lease.round_number:
        raise MalformedMessage(
            f"commitment for round {commit.round_number}; the job is in round {lease.round_number}"
        )
    if commit.rate_microusd != lease.rate_microusd:
        raise MalformedMessage("the commitment asks another rate than the lease")
    digest = commit_digest(
        domain,
        job=commit.job,
        round_number=commit.round_number,
        rate_microusd=commit.rate_microusd,
        commitment=commit.commitment,
    )
    if recover(digest, commit.signature) != signer:
        raise MalformedMessage(f"the commitment is not signed by {signer}")


def check_reveal(
    reveal: Reveal, lease: LeaseRecord, committed: CommitSet, signer: Address, domain: Domain
) -> None:
    """Refuse a reveal that would not stand on chain, or whose output nobody could find.

    1. It is for this job and round. 2. It opens this operator's commitment. 3. It asks the leased
    rate. 4. Its tag is that of the output it names. 5. It is signed over the whole commit set.

    Raises:
        MalformedMessage: naming what is wrong.
    """
    if (reveal.job, reveal.round_number) != (committed.job, committed.round_number):  # 1
        raise MalformedMessage("the reveal is for another job or round")
    entry = next(e for e in committed.entries if e.operator == lease.operator)
    opened = commitment(reveal.job, lease.operator, reveal.tag, reveal.seconds, reveal.salt)
    if opened != entry.commitment:  # 2
        raise MalformedMessage("the reveal does not open the commitment")
    if reveal.rate_microusd != lease.rate_microusd:  # 3
        raise MalformedMessage("the reveal asks another rate than the lease")
    if reveal.tag != tag(reveal.job, reveal.round_number, cids.to_digest(reveal.output)):  # 4
        raise MalformedMessage("the reveal's tag is not that of the output it names")
    digest = reveal_digest(
        domain,
        job=reveal.job,
        commits=set_hash(committed.entries),
        tag=reveal.tag,
        rate_microusd=reveal.rate_microusd,
        seconds=reveal.seconds,
    )
    if recover(digest, reveal.signature) != signer:  # 5
        raise MalformedMessage(f"the reveal is not signed by {signer}")


def set_hash(entries: Sequence[CommitEntry]) -> Digest:
    """Return the hash over all commitments that every reveal signs."""
    return commit_set([entry.commitment for entry in entries])


def replica(lease: LeaseRecord, reveal: Reveal) -> Replica:
    """Return an opened vote as it goes into the receipt."""
    return Replica(
        operator=lease.operator,
        rate_microusd=reveal.rate_microusd,
        ticket=lease.ticket,
        seconds=reveal.seconds,
        tag=reveal.tag,
        salt=reveal.salt,
        signature=reveal.signature,
    )


def tally_receipt(receipt: Receipt) -> Tally:
    """Return what the contract will decide on a receipt."""
    order = receipt.signed_order.order
    return tally(
        [(r.tag, r.seconds) for r in receipt.replicas],
        quorum=order.quorum,
        max_seconds=order.max_seconds,
    )


async def verify_result(result: Result, job: Digest, chain: CourtReader, domain: Domain) -> Cid:
    """Check a result as its requester, trusting nobody but the chain; return the output's CID.

    Without a receipt it was settled on the chain, itself or as a panel's. With one:

    1. The receipt is for this job. 2. It has every replica, by rising ticket, of distinct
    operators. 3. The chain drew each operator at its ticket. 4. Each reveal is signed by the
    operator's signing key over the same commit set. 5. A quorum agrees. 6. The output named is the
    one the quorum's tag stands for.

    Raises:
        RemoteError: whoever answered lied or erred; the text says in what.
    """
    receipt = result.receipt
    if receipt is None:
        return await _verify_by_chain(result, job, chain)
    order = receipt.signed_order.order
    if job_id(order, domain) != job:  # 1
        raise RemoteError("the receipt is for another job")
    operators = [r.operator for r in receipt.replicas]
    tickets = [r.ticket for r in receipt.replicas]
    if (
        len(operators) != order.replicas
        or len(set(operators)) != len(operators)
        or any(a >= b for a, b in itertools.pairwise(tickets))
        or tickets[-1] > order.max_ticket
    ):  # 2
        raise RemoteError("the receipt does not hold the order's replicas")
    drawn = await chain.draw(
        order.hardware_class, order.seed_block, job, max_ticket=order.max_ticket
    )
    signers = await asyncio.gather(*(chain.signer_of(operator) for operator in operators))
    for r, signer in zip(receipt.replicas, signers, strict=True):
        if drawn[r.ticket] != r.operator:  # 3
            raise RemoteError(f"{r.operator} was not drawn at ticket {r.ticket}")
        if _revealed_by(r, receipt, job, domain) != signer:  # 4
            raise RemoteError(f"the reveal of {r.operator} is not signed by its signing key")
    agreed = tally_receipt(receipt)
    if not agreed.agreed:  # 5
        raise RemoteError("the replicas did not agree, so there is no result")
    winning = receipt.replicas[agreed.winners[0]].tag
    if tag(job, result.round_number, cids.to_digest(result.output)) != winning:  # 6
        raise RemoteError("the output offered is not the one the quorum agreed on")
    return result.output


def is_agreed_on(output: Cid, settlement: Settlement) -> bool:
    """Tell whether an output is what a quorum agreed on, in whichever round it was."""
    winning = settlement.winning_tag
    return winning is not None and is_of(settlement.job_id, cids.to_digest(output), winning)


async def _verify_by_chain(result: Result, job: Digest, chain: CourtReader) -> Cid:
    from_block, decided = None, job
    if result.panel_job is not None:
        entered = await chain.entered_of(job)
        if entered is None:
            raise RemoteError("the job never came to the court, so no panel ran it")
        from_block, decided = entered.entered_in, result.panel_job
        last = (await chain.head()).number
        calls = await chain.panels_called(from_block, last, job=job)
        if decided not in {called.panel_job for called in calls}:
            raise RemoteError("the result is of a panel that was never called for the job")
    settlement = await chain.settlement_of(decided, from_block=from_block)
    if settlement is None:
        raise RemoteError("the chain has not settled the job")
    if not is_agreed_on(result.output, settlement):
        raise RemoteError("the output offered is not the one the quorum agreed on")
    return result.output


def _revealed_by(r: Replica, receipt: Receipt, job: Digest, domain: Domain) -> Address:
    commits = commit_set(
        [
            commitment(job, other.operator, other.tag, other.seconds, other.salt)
            for other in receipt.replicas
        ]
    )
    digest = reveal_digest(
        domain,
        job=job,
        commits=commits,
        tag=r.tag,
        rate_microusd=r.rate_microusd,
        seconds=r.seconds,
    )
    try:
        return recover(digest, r.signature)
    except MalformedMessage as error:
        raise RemoteError(f"the reveal of {r.operator} has a bad signature: {error}") from None
