"""One run from its lease to a stored output: fetch, materialise, run, store."""

import asyncio
import dataclasses
import errno
import logging
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from assay_node.ports import ArtifactLimits, Artifacts
from assay_node.protocol import cid as cids
from assay_node.protocol import job_spec
from assay_node.protocol.errors import LocalError, Refused, RemoteError
from assay_node.protocol.ids import Address, Cid, Digest, PeerId
from assay_node.protocol.job_spec import JobSpec, Resources
from assay_node.protocol.messages import Progress
from assay_node.protocol.order import Order
from assay_node.protocol.units import MIB, size_to_text
from assay_node.store.availability import StoreUnavailable
from assay_node.store.provider_leases import ProviderLease
from assay_provider import metering, outcome
from assay_provider.environments.preparation import Fetch
from assay_provider.gpus.slot_gpus import SlotGpus
from assay_provider.lease_book import LeaseBook, order_of
from assay_provider.lease_machine import Event
from assay_provider.owner.denials import Denials
from assay_provider.owner.limits import RequesterLimits
from assay_provider.personas import Conduct
from assay_provider.runtime.exact import ExactRun
from assay_provider.runtime.sandbox import (
    EnvironmentRoot,
    RunLimits,
    RunRequest,
    RunResult,
    Sandbox,
    Verdict,
)
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

FETCH_ATTEMPTS: Final = 5
FETCH_PAUSE_S: Final = 0.5
"""After the first of five tries; doubled after each. A scheduler that restarts is back in seconds,
on a busy machine too: 7.5 s span that."""
FETCH_S_MIN: Final = 30
"""Fetching may take the order's commit window, the slack it leaves beside the run, or this."""
OUTPUT_SLACK_BYTES: Final = 1 * MIB
"""The sandbox enforces the job's own limit; this much more has room for a failure record."""


_SIZES: Final = (
    "memory_bytes",
    "scratch_bytes",
    "output_bytes",
    "input_bytes",
    "gpu_memory_bytes",
)


class Schedulers(Protocol):
    """Where specs and inputs come from."""

    async def sources_of(self, scheduler: Address) -> Sequence[PeerId]:
        """Return a scheduler's peer once it is connected; for nobody, all that are."""
        ...


class EnvironmentRoots(Protocol):
    """Prepares what specs name as their environment."""

    def root(self, cid: Cid, fetch: Fetch) -> AbstractAsyncContextManager[EnvironmentRoot]:
        """Fetch and prepare an environment, and keep it inside the block."""
        ...


@dataclass(slots=True)
class _Sources:
    """Where one lease's artifacts come from, and who was asked: it may be their fault."""

    schedulers: Schedulers
    scheduler: Address
    asked: Sequence[PeerId] = ()

    async def next(self) -> Sequence[PeerId]:
        """Return whom to ask now."""
        self.asked = await self.schedulers.sources_of(self.scheduler)
        return self.asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """What a run came to. `seconds` is what it bills."""

    output: Cid
    log: Cid | None
    verdict: Verdict
    detail: str
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Runs leases. `tell` passes progress on to the scheduler, for people."""

    artifacts: Artifacts
    sandbox: Sandbox
    schedulers: Schedulers
    supply: Supply
    conduct: Conduct
    book: LeaseBook
    tell: Callable[[Address, Progress], None]
    denials: Denials
    limits: RequesterLimits
    environments: EnvironmentRoots | None = None
    gpus: SlotGpus = field(default_factory=SlotGpus)

    async def run(self, lease: ProviderLease) -> Executed:
        """Run a lease's job from the start; what an earlier try left does no harm.

        Raises:
            AssayError, OSError: the job could not be run here; nothing is known about it.
        """
        order = order_of(lease)
        await self._enter(lease, "fetching")
        async with AsyncExitStack() as held:
            spec, root = await self._fetch_all(lease, order, held)
            directory = Path(
                await asyncio.to_thread(tempfile.mkdtemp, dir=self.supply.work_directory)
            )
            try:
                return await self._run_in(directory, lease, order, spec, root)
            finally:
                await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _run_in(
        self,
        directory: Path,
        lease: ProviderLease,
        order: Order,
        spec: JobSpec,
        root: EnvironmentRoot | None,
    ) -> Executed:
        await self.artifacts.export(spec.inputs, directory / "input")
        (directory / "output").mkdir()
        await self._enter(lease, "running")
        limits = outcome.run_limits(spec.resources, wall_seconds=order.max_seconds)
        assert lease.slot is not None, "a lease that runs holds a slot"
        request = dataclasses.replace(
            _request(spec, directory, limits, self.supply, root),
            tell=lambda text: self.tell(
                lease.scheduler, Progress(job=lease.job, stage=f"running: {text}")
            ),
        )
        async with self.gpus.tenancy(lease.slot, spec.resources.gpus) as grant:
            request = dataclasses.replace(request, gpus=grant)
            seconds_max = order.max_seconds
            attempt = await self.book.begin_run(lease, tier=request.tier, seconds_max=seconds_max)
            result = await self.sandbox.run(request, lease.slot)
            metered = metering.metered(result, seconds_max=seconds_max)
            await self.book.end_run(lease.job, attempt, metered)
        await self._enter(lease, "storing")
        seconds = metered.billable_seconds
        return await self._store(directory, lease, spec.resources, result, limits, seconds)

    async def _store(
        self,
        directory: Path,
        lease: ProviderLease,
        resources: Resources,
        result: RunResult,
        limits: RunLimits,
        seconds: int,
    ) -> Executed:
        match result.verdict:
            case Verdict.KILLED_BY_OWNER:
                raise LocalError(f"the run was stopped on the provider's machine: {result.detail}")
            case Verdict.OK:
                kept = directory / "output"
            case _:
                kept = outcome.write_failure(directory, result, limits)
        await asyncio.to_thread(self.conduct.alter, kept)
        owner = output_owner(lease.job)
        output = await self.artifacts.add(
            kept,
            limits=ArtifactLimits(
                bytes_max=resources.output_bytes + OUTPUT_SLACK_BYTES,
                files_max=resources.output_files_max + 2,
            ),
        )
        await self.artifacts.pin(output, owner=owner)
        await self.limits.moved(lease.job, await asyncio.to_thread(_tree_bytes, kept))
        log: Cid | None = None
        if result.log_tail:
            tail = result.log_tail[-outcome.LOG_BYTES :]
            log = await self.artifacts.add_bytes(tail, codec=cids.RAW)
            await self.artifacts.pin(log, owner=owner)
        return Executed(
            output=output,
            log=log,
            verdict=result.verdict,
            detail=result.detail,
            seconds=seconds,
        )

    async def _fetch_all(
        self, lease: ProviderLease, order: Order, held: AsyncExitStack
    ) -> tuple[JobSpec, EnvironmentRoot | None]:
        """Make everything a job reads local; `held` keeps its environment as long as it is open."""
        allowed_s = max(order.commit_window_s, FETCH_S_MIN)
        owner = inputs_owner(lease.job)
        sources = _Sources(self.schedulers, lease.scheduler)
        try:
            async with asyncio.timeout(allowed_s):
                block = job_spec.spec_cid(order.spec)
                limits = ArtifactLimits(bytes_max=job_spec.SPEC_BYTES_MAX, files_max=1)
                await self._fetch(block, sources, limits)
                data = await self.artifacts.read_bytes(block, bytes_max=job_spec.SPEC_BYTES_MAX)
                spec = job_spec.decode(data)
                check_fit(spec, self.supply)
                self.denials.current().check_spec(spec)
                await self.limits.check_spec(order, spec.resources)
                inputs = ArtifactLimits(bytes_max=spec.resources.input_bytes)
                fetched = await self._fetch(spec.inputs, sources, inputs)
                await self.limits.moved(lease.job, fetched)
                await self.artifacts.pin(spec.inputs, owner=owner)
                root = await self._environment(lease, spec, sources, held)
        except TimeoutError:
            asked = f" from {', '.join(sources.asked)}" if sources.asked else ""
            raise RemoteError(
                f"spec, inputs and environment were not there within {allowed_s} s{asked}; what "
                "was begun of the environment goes on for later jobs"
            ) from None
        return spec, root

    async def _environment(
        self, lease: ProviderLease, spec: JobSpec, sources: _Sources, held: AsyncExitStack
    ) -> EnvironmentRoot | None:
        if job_spec.runtime_kind(spec.runtime) != job_spec.ENVIRONMENTS:
            return None
        assert self.environments is not None, "offered only where they can be prepared"

        async def fetch(cid: Cid, limits: ArtifactLimits) -> None:
            await self._fetch(cid, sources, limits)

        await self._enter(lease, "preparing")
        return await held.enter_async_context(self.environments.root(Cid(spec.runtime), fetch))

    async def _fetch(self, cid: Cid, sources: _Sources, limits: ArtifactLimits) -> int:
        """Return the bytes of what is here then."""
        for attempt in range(1, FETCH_ATTEMPTS + 1):
            peers = await sources.next()
            try:
                return await self.artifacts.fetch(cid, peers, limits=limits)
            except RemoteError as error:
                if attempt == FETCH_ATTEMPTS:
                    raise
                logger.info("fetching %s failed, trying again: %s", cid, error)
                await asyncio.sleep(FETCH_PAUSE_S * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    async def _enter(self, lease: ProviderLease, stage: str) -> None:
        try:
            await self.book.apply(
                lease.job,
                Event.STAGE,
                lambda now: dataclasses.replace(now, stage=stage),
                detail=stage,
            )
        except StoreUnavailable as error:  # stages are for people; what counts is written later
            self.book.outage.failed(error)
        self.tell(lease.scheduler, Progress(job=lease.job, stage=stage))


def output_owner(job: Digest) -> str:
    """Return the name under which a lease pins its output and log."""
    return job.hex()


def inputs_owner(job: Digest) -> str:
    """Return the name under which a lease pins what it reads."""
    return f"{job.hex()}/inputs"


def fault(error: Exception) -> str:
    """Return in words fit for a scheduler what on this machine kept a job from its result."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "this provider's disk is full"
    return f"this provider's disk failed: {error.strerror or type(error).__name__}"


def _tree_bytes(directory: Path) -> int:
    """Return the bytes of a directory's files; what links point at is not its own."""
    found = [path.lstat() for path in directory.rglob("*")]
    return sum(one.st_size for one in found if stat.S_ISREG(one.st_mode))


def check_fit(spec: JobSpec, supply: Supply) -> None:
    """Refuse a spec that asks for more than a slot of this provider has.

    Raises:
        Refused: naming what does not fit.
    """
    if not any(tier in supply.tiers for tier in job_spec.tiers_accepted(spec.tier)):
        raise Refused(
            f"the job needs tier {spec.tier}; this provider isolates at {', '.join(supply.tiers)}"
        )
    if job_spec.runtime_kind(spec.runtime) not in supply.runtimes:
        raise Refused(f"this provider has no runtime {spec.runtime!r}")
    if spec.mode is not None and spec.mode not in supply.exact.modes:
        raise Refused(
            f"the job runs under exact_torch in mode {spec.mode}, and this provider does not: "
            f"{supply.exact.remark}"
        )
    if spec.resources.cpus_milli > supply.slot.cpus_milli:
        raise Refused(
            f"the job needs {spec.resources.cpus_milli / 1000:g} CPUs; a slot has "
            f"{supply.slot.cpus_milli / 1000:g}"
        )
    if spec.resources.gpus > supply.slot.gpus:
        raise Refused(f"the job needs {spec.resources.gpus} GPUs; a slot has {supply.slot.gpus}")
    for name in (
        "memory_bytes",
        "scratch_bytes",
        "output_bytes",
        "input_bytes",
        "gpu_memory_bytes",
    ):
        needed, offered = getattr(spec.resources, name), getattr(supply.slot, name)
        if needed > offered:
            raise Refused(
                f"the job needs {size_to_text(needed)} of {name.removesuffix('_bytes')}; a slot "
                f"has {size_to_text(offered)}"
            )


def _request(
    spec: JobSpec,
    directory: Path,
    limits: RunLimits,
    supply: Supply,
    root: EnvironmentRoot | None,
) -> RunRequest:
    return RunRequest(
        command=spec.command,
        environment=spec.environment,
        input_directory=directory / "input",
        output_directory=directory / "output",
        limits=limits,
        runtime=spec.runtime,
        root=root,
        tier=_tier(spec, supply),
        exact=None if spec.mode is None else ExactRun(mode=spec.mode, setup=supply.exact.setup),
    )


def _tier(spec: JobSpec, supply: Supply) -> str:
    """Return the first tier the spec accepts that is offered here; `check_fit` found one."""
    return next(tier for tier in job_spec.tiers_accepted(spec.tier) if tier in supply.tiers)
