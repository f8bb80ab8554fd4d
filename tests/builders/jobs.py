"""Plain job and lease records."""

from dataclasses import replace

from assay_node.ports import JobRecord, LeaseRecord
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.lease import JobState, LeaseState
from assay_node.protocol.messages import Commit, Reveal
from assay_node.protocol.order import SignedOrder
from tests.builders.messages import PEER, a_cid, a_spec, an_order

JOB = Digest(b"\xaa" * 32)


def operator(number: int) -> Address:
    """Return the address of operator number 1..255."""
    return Address("0x" + f"{number:02x}" * 20)


def a_commit(*, at_limit: bool = False, round_number: int = 0) -> Commit:
    """Return some commitment."""
    return Commit(
        job=JOB,
        round_number=round_number,
        rate_microusd=100,
        commitment=Digest(b"\x07" * 32),
        at_limit=at_limit,
        signature=b"\x00" * 65,
    )


def a_reveal(output: int = 1) -> Reveal:
    """Return some reveal."""
    return Reveal(
        job=JOB,
        round_number=0,
        tag=Digest(bytes((output,)) * 32),
        seconds=3,
        salt=Digest(b"\x08" * 32),
        rate_microusd=100,
        output=a_cid(output),
        log=None,
        verdict="ok",
        detail="",
        signature=b"\x00" * 65,
    )


def a_lease(number: int, state: LeaseState = LeaseState.OFFERED, **changes: object) -> LeaseRecord:
    """Return the lease of operator `number` with ticket `number`."""
    committed = state in (LeaseState.COMMITTED, LeaseState.REVEALED)
    lease = LeaseRecord(
        job=JOB,
        operator=operator(number),
        peer_id=PEER,
        ticket=number,
        round_number=0,
        rate_microusd=100,
        software_digest=Digest(b"\x05" * 32),
        state=state,
        stage="",
        reason="",
        offered_at=1000.0,
        updated_at=1000.0,
        commit=a_commit() if committed else None,
        reveal=a_reveal() if state is LeaseState.REVEALED else None,
        release_due=False,
    )
    return replace(lease, **changes)  # type: ignore[arg-type]


def a_job(*leases: LeaseRecord, state: JobState = JobState.RUNNING, **changes: object) -> JobRecord:
    """Return a job with a draw and these leases."""
    job = JobRecord(
        job=JOB,
        signed_order=SignedOrder(order=an_order(), signature=b"\x00" * 65),
        spec=a_spec(),
        state=state,
        generation=0,
        round_number=0,
        reason="",
        draw=tuple(operator(n) for n in range(1, 14)),
        admitted_at=1000.0,
        updated_at=1000.0,
        revealing_since=1000.0 if state is JobState.REVEALING else None,
        transaction=None,
        settlement=None,
        output=None,
        verdict="",
        leases=leases,
    )
    return replace(job, **changes)  # type: ignore[arg-type]
