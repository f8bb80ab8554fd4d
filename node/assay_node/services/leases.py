"""Leases in motion: what the scheduler sends to providers, and what it takes from them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from assay_node.ports import (
    Clock,
    JobChange,
    JobRecord,
    LeaseChange,
    LeaseRecord,
    Network,
    NewEvent,
    OrderSigner,
    SchedulerStore,
)
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, MalformedMessage, Refused, RemoteError
from assay_node.protocol.ids import Address, Digest, PeerId
from assay_node.protocol.lease import (
    LEASE_RUNS,
    JobEvent,
    JobState,
    LeaseEvent,
    LeaseState,
)
from assay_node.protocol.messages import (
    COMMIT_SET,
    LEASE,
    RELEASE,
    Ack,
    Commit,
    CommitEntry,
    CommitSet,
    HandBack,
    LeaseAnswer,
    LeaseOffer,
    Progress,
    Release,
    Reveal,
)
from assay_node.protocol.receipt import commit_set_digest
from assay_node.protocol.typed_data import Domain
from assay_node.services.assigning import Assigning
from assay_node.services.lifecycle import active_leases
from assay_node.services.membership import Membership
from assay_node.services.policy import Policy
from assay_node.services.verification import check_commit, check_reveal, set_hash

logger = logging.getLogger(__name__)

TEXT_CHARACTERS_MAX = 300
"""What a provider says for people is cut here before it is stored or shown."""
OFFER_PAUSE_S = 0.25
"""A block of a fast L2: what a provider could not see on its chain, it may see now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leases:
    """Carries out lifecycle actions and answers providers."""

    network: Network
    store: SchedulerStore
    membership: Membership
    clock: Clock
    domain: Domain
    signer: OrderSigner
    policy: Policy
    assigning: Assigning
    redraw: Callable[[JobRecord], Awaitable[bool]]
    """Draws a job anew where its seed block was replaced; True when it did."""

    # What the scheduler sends

    async def offer(self, job: JobRecord, lease: LeaseRecord) -> None:
        """Send a lease to its provider, again while it cannot answer, and store the answer."""
        assign = await self.assigning.naming(lease)
        if assign is None:
            return  # whatever moved it has touched its job
        message = LeaseOffer(
            signed_order=job.signed_order,
            ticket=lease.ticket,
            round_number=lease.round_number,
            assign=assign,
        )
        until = lease.offered_at + self.policy.timing.offer_timeout_s
        while await self._unmoved(lease):
            try:
                data = await self.network.request(
                    lease.peer_id,
                    LEASE,
                    codec.encode(message),
                    timeout_s=max(until - self.clock.now(), OFFER_PAUSE_S),
                )
                answer = codec.decode(LeaseAnswer, data)
            except AssayError as error:
                # its chain endpoint may be a block behind ours, or away for a moment
                may_pass = isinstance(error, RemoteError)
                if may_pass and self.clock.now() + OFFER_PAUSE_S < until:
                    await asyncio.sleep(OFFER_PAUSE_S)
                    continue
                reason = f"no answer: {plain(str(error))}"
                await self._end_lease(lease, LeaseEvent.LOSE, reason)
            else:
                await self._answered(job, lease, answer)
            return

    async def _answered(self, job: JobRecord, lease: LeaseRecord, answer: LeaseAnswer) -> None:
        if not answer.accepted:
            current = await self.store.job(job.job)
            if current is not None and await self.redraw(current):
                return  # it was right to refuse: its ticket draws another now
            await self._end_lease(lease, LeaseEvent.REFUSE, plain(answer.reason))
        elif answer.rate_microusd != lease.rate_microusd:
            reason = "accepted at another rate than it offered"
            await self._end_lease(lease, LeaseEvent.LOSE, reason)
        else:
            event = _event("accepted", lease.operator, "took the lease")
            await self._change(lease, LeaseEvent.ACCEPT, events=(event,))

    async def ask_reveal(self, job: JobRecord, lease: LeaseRecord) -> None:
        """Show the commit set to a provider and store its reveal."""
        committed = await self.store.commit_set(job.job, job.round_number)
        offer = self.membership.offer_of(lease.operator)
        assert committed is not None
        assert offer is not None
        try:
            data = await self.network.request(
                lease.peer_id,
                COMMIT_SET,
                codec.encode(committed),
                timeout_s=self.policy.reveal_timeout_s,
            )
            reveal = codec.decode(Reveal, data)
            check_reveal(reveal, lease, committed, offer.signer, self.domain)
        except AssayError as error:
            # asked again until the reveal window closes; then it counts as silent
            logger.info("no reveal from %s: %s", lease.operator, plain(str(error)))
            return
        text = f"revealed {reveal.output} ({plain(reveal.verdict)}, {reveal.seconds} s)"
        await self._change(
            lease,
            LeaseEvent.REVEAL,
            reveal=reveal,
            events=(_event("revealed", lease.operator, text),),
        )

    async def release(self, lease: LeaseRecord) -> None:
        """Tell a provider that its lease is over; it is told again until it acknowledges."""
        job = await self.store.job(lease.job)
        assert job is not None
        settled = job.state in (JobState.SETTLED, JobState.NO_QUORUM)
        reason = job.state.value if settled else lease.reason or job.reason or job.state.value
        message = Release(job=lease.job, reason=reason)
        await self.network.request(
            lease.peer_id,
            RELEASE,
            codec.encode(message),
            timeout_s=self.policy.timing.offer_timeout_s,
        )
        await self.store.released(lease.job, lease.operator)

    # What lifecycle decided

    async def lose(self, lease: LeaseRecord, reason: str) -> None:
        """Give a replica up because its provider is silent."""
        await self._end_lease(lease, LeaseEvent.LOSE, reason)

    async def replace_at_limit(self, job: JobRecord, leases: tuple[LeaseRecord, ...]) -> bool:
        """Replace replicas that ended at a limit while others finished."""
        reason = "ended at a resource limit while other replicas finished"
        return await self.store.apply(
            JobChange(
                job=job.job,
                expected=job.state,
                generation=job.generation,
                lease_changes=[
                    LeaseChange(
                        operator=lease.operator,
                        expected=LeaseState.COMMITTED,
                        event=LeaseEvent.REPLACE,
                        reason=reason,
                    )
                    for lease in leases
                ],
                events=[_event("replaced", lease.operator, reason) for lease in leases],
            ),
            now=self.clock.now(),
        )

    async def fix_commit_set(self, job: JobRecord) -> bool:
        """Fix the set of all commitments; from now on nobody can change an answer."""
        entries = []
        for lease in active_leases(job):
            assert lease.commit is not None
            entries.append(
                CommitEntry(
                    operator=lease.operator,
                    ticket=lease.ticket,
                    rate_microusd=lease.commit.rate_microusd,
                    commitment=lease.commit.commitment,
                    signature=lease.commit.signature,
                )
            )
        digest = commit_set_digest(
            self.domain,
            job=job.job,
            round_number=job.round_number,
            commits=set_hash(entries),
        )
        committed = CommitSet(
            job=job.job,
            round_number=job.round_number,
            entries=tuple(entries),
            signature=self.signer.sign_digest(digest),
        )
        text = f"all {len(entries)} replicas committed; the set is shown for reveals"
        return await self.store.apply(
            JobChange(
                job=job.job,
                expected=job.state,
                generation=job.generation,
                event=JobEvent.COMMITTED,
                commit_set=committed,
                events=(NewEvent(kind="commit_set", text=text, data={}),),
            ),
            now=self.clock.now(),
        )

    async def next_round(self, job: JobRecord, silent: tuple[LeaseRecord, ...]) -> bool:
        """Replace providers that withheld their reveal, and let the others commit anew."""
        gone = {lease.operator for lease in silent}
        reason = "committed, but did not reveal"
        changes = [
            LeaseChange(
                operator=lease.operator,
                expected=lease.state,
                event=LeaseEvent.LOSE if lease.operator in gone else LeaseEvent.NEXT_ROUND,
                reason=reason if lease.operator in gone else "",
            )
            for lease in active_leases(job)
        ]
        return await self.store.apply(
            JobChange(
                job=job.job,
                expected=job.state,
                generation=job.generation,
                event=JobEvent.SILENT,
                round_number=job.round_number + 1,
                lease_changes=changes,
                events=[_event("silent", operator, reason) for operator in sorted(gone)],
            ),
            now=self.clock.now(),
        )

    async def fail(self, job: JobRecord, reason: str) -> bool:
        """End a job without a settlement; nothing is charged."""
        return await self.store.apply(
            JobChange(
                job=job.job,
                expected=job.state,
                generation=job.generation,
                event=JobEvent.FAILED,
                reason=reason,
                events=(NewEvent(kind="failed", text=reason, data={}),),
            ),
            now=self.clock.now(),
        )

    # What providers send

    async def commit(self, peer: PeerId, commit: Commit) -> Ack:
        """Store a provider's commitment.

        Raises:
            Refused: the lease is over, or the commitment is not good.
        """
        operator = self.membership.operator_of(peer)
        lease = await self._lease(commit.job, operator)
        if lease.commit is not None and lease.round_number == commit.round_number:
            if lease.commit.commitment == commit.commitment:
                return Ack()
            raise Refused("this replica has committed to another answer already")
        offer = self.membership.offer_of(operator)
        assert offer is not None
        try:
            check_commit(commit, lease, offer.signer, self.domain)
        except MalformedMessage as error:
            raise Refused(str(error)) from None
        text = "committed" + (" (ended at a resource limit)" if commit.at_limit else "")
        stored = await self._change(
            lease,
            LeaseEvent.COMMIT,
            commit=commit,
            events=(_event("committed", operator, text),),
        )
        if not stored:
            raise Refused("the lease is not waiting for a commitment")
        return Ack()

    async def hand_back(self, peer: PeerId, message: HandBack) -> Ack:
        """Take a lease back from its provider."""
        operator = self.membership.operator_of(peer)
        lease = await self._lease(message.job, operator)
        if lease.state in LEASE_RUNS:
            await self._end_lease(lease, LeaseEvent.HAND_BACK, plain(message.reason))
        return Ack()

    async def progress(self, peer: PeerId, message: Progress) -> Ack:
        """Note what a provider is doing."""
        operator = self.membership.operator_of(peer)
        stage = plain(message.stage)[:32]
        await self.store.set_stage(message.job, operator, stage, now=self.clock.now())
        return Ack()

    async def jobs_of(self, operator: Address) -> tuple[tuple[Digest, ...], tuple[Digest, ...]]:
        """Return the jobs in which an operator has an accepted lease, and an offered one."""
        accepted: list[Digest] = []
        offered: list[Digest] = []
        for job in await self.store.unfinished_jobs():
            for lease in active_leases(job):
                if lease.operator == operator:
                    (offered if lease.state is LeaseState.OFFERED else accepted).append(job.job)
        return tuple(accepted), tuple(offered)

    async def _unmoved(self, lease: LeaseRecord) -> bool:
        job = await self.store.job(lease.job)
        return job is not None and _stands(job, lease)

    async def _lease(self, job_id: Digest, operator: Address) -> LeaseRecord:
        job = await self.store.job(job_id)
        for lease in job.leases if job is not None else ():
            if lease.operator == operator:
                return lease
        raise Refused("this operator has no lease for that job")

    async def _end_lease(self, lease: LeaseRecord, event: LeaseEvent, reason: str) -> None:
        kind = {LeaseEvent.LOSE: "lost", LeaseEvent.REFUSE: "refused"}.get(event, "handed_back")
        line = _event(kind, lease.operator, f"{kind.replace('_', ' ')}: {reason}")
        await self._change(lease, event, reason=reason, events=(line,))

    async def _change(
        self,
        lease: LeaseRecord,
        event: LeaseEvent,
        *,
        reason: str = "",
        commit: Commit | None = None,
        reveal: Reveal | None = None,
        events: tuple[NewEvent, ...] = (),
    ) -> bool:
        """Move a lease on from where it was seen; False when it has moved since.

        An answer counts for the round it was asked in only: a provider that took a lease in one
        round has not heard of the next.
        """
        change = LeaseChange(
            operator=lease.operator,
            expected=lease.state,
            event=event,
            reason=reason,
            commit=commit,
            reveal=reveal,
        )
        while True:  # other replicas of the job move at the same time; each try sees a newer record
            job = await self.store.job(lease.job)
            if job is None or not _stands(job, lease):
                return False
            done = await self.store.apply(
                JobChange(
                    job=lease.job,
                    expected=job.state,
                    generation=job.generation,
                    lease_changes=(change,),
                    events=events,
                ),
                now=self.clock.now(),
            )
            if done:
                return True


def _stands(job: JobRecord, lease: LeaseRecord) -> bool:
    seen = (lease.operator, lease.state, lease.round_number)
    return any(seen == (one.operator, one.state, one.round_number) for one in job.leases)


def plain(text: str) -> str:
    """Return a peer's words, cut and escaped, fit for a log line or a terminal."""
    cut = text[:TEXT_CHARACTERS_MAX]
    return "".join(c if c.isprintable() else "?" for c in cut)


def _event(kind: str, operator: Address, text: str) -> NewEvent:
    return NewEvent(kind=kind, text=f"{operator} {text}", data={"operator": operator})
