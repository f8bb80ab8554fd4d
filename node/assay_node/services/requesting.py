"""What a requester does: sign an order, hand it in, follow the job, fetch and verify the result."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from assay_node.ports import ArtifactLimits, Artifacts, Clock, CourtReader, Network, OrderSigner
from assay_node.protocol import cid as cids
from assay_node.protocol import codec, environment, job_spec
from assay_node.protocol.errors import AssayError, LocalError, MalformedMessage, RemoteError
from assay_node.protocol.ids import Address, Cid, Digest, PeerId, to_hex
from assay_node.protocol.job_spec import Comparison, Exactness, JobSpec, Resources, Tier
from assay_node.protocol.messages import (
    QUERY,
    RESULT,
    SUBMIT,
    TERMS,
    Admitted,
    CommitSet,
    Document,
    Query,
    Result,
    ResultRequest,
    Submit,
    Terms,
    TermsRequest,
)
from assay_node.protocol.order import Order, SignedOrder, audit_fee, job_id, panel_cost
from assay_node.protocol.typed_data import Domain
from assay_node.protocol.units import microusd_to_text
from assay_node.services.order_records import OrderRecord, parse_commit_set
from assay_node.services.verification import verify_result

SEED_BLOCKS_AHEAD: Final = (1, 2, 4, 8)
"""The seed block must lie ahead when the order arrives, and every block more is waiting time. An
order that arrives after its seed block is refused, unstored, and signed anew further ahead."""
ANSWER_S: Final = 30.0
SUBMIT_S: Final = 300.0
"""The scheduler fetches spec and inputs before it answers."""
UPLOAD_BYTES_PER_S_MIN: Final = 1 << 20
"""It fetches the environment too, if it does not have it, and may take longer by its size at this
rate: a slow line's."""
FOLLOW_WAIT_S: Final = 20

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job as its requester describes it. Money in micro-USD, times in seconds."""

    directory: Path
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    resources: Resources
    runtime: str = "host-python"
    comparison: Comparison = Comparison.CLASS
    exact: Exactness | None = None
    tier: str = Tier.T1.value
    hardware_class: Digest
    max_rate_microusd: int
    max_seconds: int
    replicas: int = 3
    quorum: int = 2
    max_ticket: int = 12
    bond_microusd: int = 10_000_000
    commit_window_s: int = 120
    reveal_window_s: int = 60
    expires_in_s: int = 3600
    audit_bps: int = 0
    escalate: bool = False

    @property
    def panel_cost_microusd(self) -> int:
        """The most that a panel of fresh operators can cost."""
        return panel_cost(self.replicas, self.max_rate_microusd, self.max_seconds)

    @property
    def audit_fee_microusd(self) -> int:
        """What the fee has to bring in for audits."""
        return audit_fee(self.panel_cost_microusd, self.audit_bps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedJob:
    """A job whose inputs are in the artifact store: all that is missing is the signature."""

    request: JobRequest
    spec: Cid
    inputs: Cid
    fee_microusd: int
    environment_bytes: int = 0
    """What the scheduler may have to fetch of the environment."""

    @property
    def max_cost_microusd(self) -> int:
        """The most the job can cost."""
        r = self.request
        panel = r.panel_cost_microusd if r.escalate else 0
        return r.replicas * r.max_rate_microusd * r.max_seconds + self.fee_microusd + panel


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedJob:
    """An admitted job."""

    job: Digest
    name: str
    max_cost_microusd: int


class Requester:
    """One requester's dealings with one scheduler."""

    def __init__(
        self,
        *,
        network: Network,
        artifacts: Artifacts,
        chain: CourtReader,
        clock: Clock,
        scheduler: PeerId,
    ) -> None:
        self._network = network
        self._artifacts = artifacts
        self._chain = chain
        self._clock = clock
        self._scheduler = scheduler
        self._domain = Domain(chain.chain_id, chain.market)
        # consecutive nonces share one storage word on chain, which spares each job 17,000 gas
        self._nonce = int.from_bytes(secrets.token_bytes(31)) << 8

    async def terms(self) -> Terms:
        """Return the scheduler's terms.

        Raises:
            RemoteError: it works for another chain or contract than this requester.
        """
        terms = await self._ask(TERMS, TermsRequest(), Terms)
        if (terms.chain_id, terms.market) != (self._chain.chain_id, self._chain.market):
            raise RemoteError(
                f"the scheduler works for market {terms.market} on chain {terms.chain_id}, "
                f"this requester for {self._chain.market} on {self._chain.chain_id}; check the "
                "deployment file"
            )
        return terms

    async def prepare(self, request: JobRequest, terms: Terms) -> PreparedJob:
        """Put the job's files and spec into the artifact store.

        Raises:
            LocalError: a file cannot be used, or a limit of the scheduler's is exceeded.
        """
        if request.max_seconds > terms.seconds_max:
            raise LocalError(
                f"this scheduler takes jobs of at most {terms.seconds_max} s; lower --timeout"
            )
        limit = min(request.resources.input_bytes, terms.input_bytes_max)
        inputs = await self._artifacts.add(
            request.directory, limits=ArtifactLimits(bytes_max=limit)
        )
        spec = JobSpec(
            name=request.name,
            command=request.command,
            environment=request.environment,
            inputs=inputs,
            runtime=request.runtime,
            comparison=request.comparison.value,
            exact=None if request.exact is None else request.exact.value,
            tier=request.tier,
            resources=replace(request.resources, input_bytes=limit),
        )
        cid, block = job_spec.encode(spec)
        stored = await self._artifacts.add_bytes(block, codec=cids.DAG_CBOR)
        assert stored == cid
        fee = terms.fee_microusd + request.audit_fee_microusd
        return PreparedJob(
            request=request,
            spec=cid,
            inputs=inputs,
            fee_microusd=fee,
            environment_bytes=await self._environment_bytes(request.runtime),
        )

    async def submit(
        self, prepared: PreparedJob, terms: Terms, signer: OrderSigner, records: Path | None = None
    ) -> SubmittedJob:
        """Sign the order, keep a record of it, and hand it in.

        Args:
            prepared: what to run.
            terms: the scheduler's terms.
            signer: the requester's wallet.
            records: a directory that gets one JSON file for the order, before it is sent.

        Raises:
            Refused: the scheduler's reason.
        """
        await self._check_budget(prepared, terms.scheduler, signer.address)
        for ahead in SEED_BLOCKS_AHEAD:
            signed = await self._sign(prepared, terms, signer, ahead)
            job = job_id(signed.order, self._domain)
            if records is not None:
                await asyncio.to_thread(_keep_record, records, job, prepared, signed)
            timeout_s = SUBMIT_S + prepared.environment_bytes / UPLOAD_BYTES_PER_S_MIN
            try:
                await self._ask(SUBMIT, Submit(signed_order=signed), Admitted, timeout_s=timeout_s)
            except AssayError as error:
                if "seed block" not in str(error) or ahead == SEED_BLOCKS_AHEAD[-1]:
                    raise
                continue
            return SubmittedJob(
                job=job, name=prepared.request.name, max_cost_microusd=prepared.max_cost_microusd
            )
        raise AssertionError("the last try returns or raises")

    async def document(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Return a public document: "jobs", "job", "explain" or "providers"."""
        timeout_s = ANSWER_S + fields.get("wait_s", 0)
        answer = await self._ask(QUERY, Query(kind=kind, **fields), Document, timeout_s=timeout_s)
        try:
            document = json.loads(answer.json)
        except (ValueError, RecursionError):
            raise RemoteError("the scheduler answered with something that is not JSON") from None
        if not isinstance(document, dict):
            raise RemoteError("the scheduler answered with something that is not a document")
        return document

    async def follow(self, job: Digest) -> AsyncIterator[dict[str, Any]]:
        """Yield the job's document with its new events whenever something happens, to its end."""
        after = 0
        while True:
            document = await self.document("job", job=job, after_event=after, wait_s=FOLLOW_WAIT_S)
            if document["events"]:
                after = document["events"][-1]["id"]
            yield document
            if document["ended"]:
                return

    async def commit_set(self, record: OrderRecord) -> CommitSet:
        """Return the commit set that the scheduler fixed for a job, checked.

        Raises:
            Refused: there is none (yet).
            RemoteError: what was offered is not signed by the order's scheduler.
        """
        document = await self.document("commit_set", job=record.job)
        order = record.signed_order.order
        return parse_commit_set(document, record.job, order.scheduler, self._domain)

    async def result(self, job: Digest) -> Result:
        """Return a job's result, verified against the chain, not yet fetched.

        Raises:
            Refused: there is none (yet); the text says why.
            RemoteError: what was offered does not check out.
        """
        result = await self._ask(RESULT, ResultRequest(job=job), Result)
        await verify_result(result, job, self._chain, self._domain)
        return result

    async def fetch(self, result: Result, destination: Path, *, limits: ArtifactLimits) -> None:
        """Fetch a verified result from the providers that hold it and write it to a new path.

        Raises:
            RemoteError: no provider delivered; the text says what each did.
            LocalError: the destination exists.
        """
        await fetch_from(
            self._network, self._artifacts, result.output, result.sources, limits=limits
        )
        await self._artifacts.export(result.output, destination)

    async def _sign(
        self, prepared: PreparedJob, terms: Terms, signer: OrderSigner, ahead: int
    ) -> SignedOrder:
        r = prepared.request
        head = await self._chain.head()
        nonce, self._nonce = self._nonce, (self._nonce + 1) % (1 << 256)
        order = Order(
            requester=signer.address,
            spec=cids.to_digest(prepared.spec),
            hardware_class=r.hardware_class,
            scheduler=terms.scheduler,
            fee_microusd=prepared.fee_microusd,
            max_rate_microusd=r.max_rate_microusd,
            max_seconds=r.max_seconds,
            bond_microusd=r.bond_microusd,
            replicas=r.replicas,
            quorum=r.quorum,
            max_ticket=r.max_ticket,
            commit_window_s=r.commit_window_s,
            reveal_window_s=r.reveal_window_s,
            seed_block=head.number + ahead,
            expiry=int(self._clock.now()) + min(r.expires_in_s, terms.expiry_s_max),
            audit_bps=r.audit_bps,
            escalate=r.escalate,
            nonce=nonce.to_bytes(32),
        )
        return SignedOrder(order=order, signature=signer.sign_digest(job_id(order, self._domain)))

    async def _environment_bytes(self, runtime: str) -> int:
        """Return how large an environment is that is here; 0 for one that only others have.

        Raises:
            LocalError: the CID is not that of an environment, or parts of it are missing.
        """
        if job_spec.runtime_kind(runtime) != job_spec.ENVIRONMENTS:
            return 0
        cid = Cid(runtime)
        if cids.codec_of(cid) != cids.DAG_CBOR:
            raise LocalError(f"{cid} is not an environment; `assay env list` shows yours")
        if not await self._artifacts.has(cid):
            return 0  # the scheduler may have it, and says so if it does not
        data = await self._artifacts.read_bytes(cid, bytes_max=environment.MANIFEST_BYTES_MAX)
        try:
            manifest = environment.decode(data)
        except MalformedMessage as error:
            raise LocalError(f"{cid} is not an environment: {error}") from None
        for layer in manifest.layers:
            if not await self._artifacts.has(layer.cid):
                raise LocalError(
                    f"the environment {manifest.name} lacks a layer here; build it again"
                )
        return manifest.tar_bytes

    async def _check_budget(
        self, prepared: PreparedJob, scheduler: Address, requester: Address
    ) -> None:
        budget = await self._chain.budget(requester, scheduler)
        if budget < prepared.max_cost_microusd:
            raise LocalError(
                f"the job can cost {microusd_to_text(prepared.max_cost_microusd)} and "
                f"{microusd_to_text(budget)} is set aside for this scheduler: run "
                "`assay wallet deposit`"
            )

    async def _ask(
        self, protocol: str, message: object, kind: type[_Answer], *, timeout_s: float = ANSWER_S
    ) -> _Answer:
        data = await self._network.request(
            self._scheduler, protocol, codec.encode(message), timeout_s=timeout_s
        )
        return codec.decode(kind, data)


async def fetch_from(
    network: Network,
    artifacts: Artifacts,
    cid: Cid,
    sources: tuple[str, ...],
    *,
    limits: ArtifactLimits,
) -> None:
    """Connect to whichever of these multiaddrs answer and fetch an artifact from them.

    Raises:
        RemoteError: none answers, or none delivers.
    """
    if await artifacts.has(cid):
        return
    peers: list[PeerId] = []
    failures: list[str] = []
    for address in sources:
        try:
            peer = await network.connect(address)
        except AssayError as error:
            failures.append(f"{address}: {error}")
        else:
            if peer not in peers:
                peers.append(peer)
    if not peers:
        raise RemoteError(f"nobody who holds {cid} can be reached: {'; '.join(failures)}")
    await artifacts.fetch(cid, peers, limits=limits)


def _keep_record(records: Path, job: Digest, prepared: PreparedJob, signed: SignedOrder) -> None:
    records.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = records / f"{to_hex(job)}.json"
    document = {
        "job": to_hex(job),
        "name": prepared.request.name,
        "spec": prepared.spec,
        "inputs": prepared.inputs,
        "max_cost_microusd": prepared.max_cost_microusd,
        "expiry": signed.order.expiry,
        "signed_order": to_hex(codec.encode(signed)),
    }
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.rename(path)
