"""What a scheduler answers: to requesters, to providers, to anybody who asks."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from assay_node.protocol import codec
from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import Digest, PeerId
from assay_node.protocol.lease import JOB_ENDS
from assay_node.protocol.messages import (
    COMMIT,
    HAND_BACK,
    HEARTBEAT,
    HELLO,
    PROGRESS,
    QUERY,
    RESULT,
    SUBMIT,
    TERMS,
    Ack,
    Admitted,
    Commit,
    Document,
    HandBack,
    Heartbeat,
    Hello,
    Progress,
    Query,
    Result,
    ResultRequest,
    Submit,
    Terms,
    TermsRequest,
    Welcome,
)
from assay_node.services.admission import Admission
from assay_node.services.leases import Leases
from assay_node.services.membership import Membership
from assay_node.services.parts import SchedulerParts
from assay_node.services.queries import Queries
from assay_node.services.results import Results

QUERY_WAIT_S_MAX: Final = 30
"""How long a query may hold its answer back for news."""

_Request = TypeVar("_Request")


class News:
    """Wakes those who wait for something to happen to any job."""

    def __init__(self) -> None:
        self._condition = asyncio.Condition()

    async def tell(self) -> None:
        """Something happened."""
        async with self._condition:
            self._condition.notify_all()

    async def wait(self) -> None:
        """Return when something happened."""
        async with self._condition:
            await self._condition.wait()


class Endpoints:
    """Serves every request protocol of a scheduler.

    `touch` is called with a job that something happened to, `slot_free` when a run has ended.
    """

    def __init__(
        self,
        *,
        parts: SchedulerParts,
        membership: Membership,
        queries: Queries,
        results: Results,
        admission: Admission,
        leases: Leases,
        news: News,
        touch: Callable[[Digest], None],
        slot_free: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._membership = membership
        self._queries = queries
        self._results = results
        self._admission = admission
        self._leases = leases
        self._news = news
        self._touch = touch
        self._slot_free = slot_free

    def serve(self) -> None:
        """Answer requests from now on."""
        self._answer(TERMS, TermsRequest, self._terms)
        self._answer(SUBMIT, Submit, self._submit)
        self._answer(QUERY, Query, self._query)
        self._answer(RESULT, ResultRequest, self._result)
        self._answer(HELLO, Hello, self._hello)
        self._answer(HEARTBEAT, Heartbeat, self._heartbeat)
        self._answer(COMMIT, Commit, self._commit)
        self._answer(HAND_BACK, HandBack, self._hand_back)
        self._answer(PROGRESS, Progress, self._progress)

    def _answer(
        self,
        protocol: str,
        kind: type[_Request],
        handler: Callable[[PeerId, _Request], Awaitable[object]],
    ) -> None:
        async def handle(peer: PeerId, data: bytes) -> bytes:
            return codec.encode(await handler(peer, codec.decode(kind, data)))

        self._parts.network.serve_requests(protocol, handle)

    async def _terms(self, _peer: PeerId, _request: TermsRequest) -> Terms:
        policy = self._parts.policy
        return Terms(
            scheduler=self._parts.signer.address,
            chain_id=self._parts.chain.chain_id,
            market=self._parts.chain.market,
            fee_microusd=policy.fee_microusd,
            seconds_max=policy.seconds_max,
            input_bytes_max=policy.input_bytes_max,
            seed_blocks_ahead_max=policy.seed_blocks_ahead_max,
            expiry_s_max=policy.expiry_s_max,
            settle_margin_s=int(policy.timing.settle_margin_s),
        )

    async def _submit(self, peer: PeerId, submit: Submit) -> Admitted:
        admitted = await self._admission.submit(peer, submit)
        self._touch(admitted.job)
        return admitted

    async def _query(self, _peer: PeerId, query: Query) -> Document:
        if query.kind == "jobs":
            return Document(json=json.dumps(await self._queries.jobs(query.requester)))
        if query.kind == "providers":
            return Document(json=json.dumps(self._queries.providers()))
        if query.job is None or query.kind not in ("job", "explain", "commit_set"):
            raise Refused("ask for jobs, providers, or a job, explain or commit_set with its id")
        if query.kind == "commit_set":
            return Document(json=json.dumps(await self._queries.commit_set(query.job)))
        if query.kind == "explain":
            return Document(json=json.dumps(await self._queries.explain(query.job)))
        await self._wait_for_news(query)
        document = await self._queries.job(query.job, after_event=query.after_event)
        return Document(json=json.dumps(document))

    async def _result(self, _peer: PeerId, request: ResultRequest) -> Result:
        return await self._results.of(request.job)

    async def _hello(self, peer: PeerId, hello: Hello) -> Welcome:
        offer = await self._membership.hello(peer, hello)
        accepted, offered = await self._leases.jobs_of(offer.operator)
        return Welcome(
            scheduler=self._parts.signer.address,
            heartbeat_s=self._parts.policy.heartbeat_s,
            active_jobs=accepted,
            offered_jobs=offered,
        )

    async def _heartbeat(self, peer: PeerId, heartbeat: Heartbeat) -> Ack:
        self._membership.heartbeat(peer, heartbeat.slots_free)
        return Ack()

    async def _commit(self, peer: PeerId, commit: Commit) -> Ack:
        ack = await self._leases.commit(peer, commit)
        self._touch(commit.job)
        self._slot_free()
        return ack

    async def _hand_back(self, peer: PeerId, message: HandBack) -> Ack:
        ack = await self._leases.hand_back(peer, message)
        self._touch(message.job)
        self._slot_free()
        return ack

    async def _progress(self, peer: PeerId, message: Progress) -> Ack:
        ack = await self._leases.progress(peer, message)
        await self._news.tell()
        return ack

    async def _wait_for_news(self, query: Query) -> None:
        assert query.job is not None
        job = query.job
        wait_s = min(max(query.wait_s, 0), QUERY_WAIT_S_MAX)
        try:
            async with asyncio.timeout(wait_s or None):
                while wait_s and not await self._parts.store.events(job, after=query.after_event):
                    found = await self._parts.store.job(job)
                    if found is None or found.state in JOB_ENDS:
                        return
                    await self._news.wait()
        except TimeoutError:
            pass
