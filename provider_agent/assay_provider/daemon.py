"""The provider daemon: sells this machine's slots until told to stop."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from typing import Final

from assay_node.ports import Network
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import (
    COMMIT_SET,
    LEASE,
    OUTPUT,
    PROOF,
    PROOF_OPEN,
    PROOF_PREPARE,
    PROOF_RESULT,
    RELEASE,
)
from assay_provider.assembly import Assembly, ProviderParts
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.personas import HONEST, Conduct
from assay_provider.request_tasks import RequestTasks
from assay_provider.runtime.sandbox import SelfTestReport, Tier
from assay_provider.slots import Slots
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

SHUTDOWN_S: Final = 5.0
"""How long leaving politely may take; a lease not handed back by then is missed by the scheduler
all the same, and the debt is stored."""
SHUTTING_DOWN: Final = "provider is shutting down"


async def serve(
    parts: ProviderParts,
    supply: Supply,
    *,
    stop: asyncio.Event,
    conduct: Conduct = HONEST,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until `stop` is set; then hand back what has not been executed, and return.

    Whenever this is cut off instead, by a cancellation or SIGKILL, the next start goes on from the
    stored leases.

    Args:
        parts: open network, artifacts, chain, store, key and sandbox.
        supply: what to sell.
        stop: set it to end the daemon politely.
        conduct: how a persona of a local chain deviates; honest by default.
        on_ready: called once leases are taken.

    Raises:
        LocalError: the sandbox does not keep what the offer promises; the text says what to do.
    """
    check_isolation(await parts.sandbox.self_test(), supply)
    await asyncio.to_thread(_empty_work_directory, supply)
    try:
        async with asyncio.TaskGroup() as group:
            await _serve_in(group, parts, supply, conduct, stop, on_ready)
    except BaseExceptionGroup as failed:
        raise _first_fault(failed) from failed


async def _serve_in(
    group: asyncio.TaskGroup,
    parts: ProviderParts,
    supply: Supply,
    conduct: Conduct,
    stop: asyncio.Event,
    on_ready: Callable[[], None],
) -> None:
    provider = await _resume(parts, supply, conduct, group)
    requests = RequestTasks()
    _serve_requests(parts.network, provider, requests)
    coroutines = [
        provider.offering.keep_current(),
        provider.closing.sweep_for_ever(provider.work.stop),
        provider.road.run(),
        provider.court.run(),
        provider.proofs.run(),
        *(
            provider.links.keep(multiaddr, provider.reconciliation.welcomed)
            for multiaddr in supply.schedulers
        ),
    ]
    loops: list[asyncio.Future[None]] = [group.create_task(loop) for loop in coroutines]
    on_ready()
    try:
        await stop.wait()
        await _leave(provider)
    finally:
        for loop in loops:
            loop.cancel()
        # handlers use the group and the store, so they end before these do
        await requests.close(SHUTTING_DOWN)
    provider.links.stop_telling()
    for lease in await provider.book.store.unfinished():
        await provider.work.stop(lease.job)


def check_isolation(report: SelfTestReport, supply: Supply) -> None:
    """Refuse to sell an isolation that this machine does not enforce.

    Raises:
        LocalError: with what failed and the remedy for each.
    """
    if report.tier.value in supply.tiers:
        return
    failures = "; ".join(f"{item.name}: {item.detail}. {item.remedy}" for item in report.failures)
    if report.tier is Tier.T1_WEAK and supply.allow_weak_isolation:
        logger.warning("jobs are isolated weakly, which a local chain may do: %s", failures)
        return
    raise LocalError(
        f"this machine isolates jobs at tier {report.tier.value}, not {supply.tiers[0]} as its "
        f"offer would say, so it serves none: {failures or 'see assay doctor'}"
    )


def _first_fault(failed: BaseExceptionGroup) -> BaseException:
    fault: BaseException = failed
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


async def _resume(
    parts: ProviderParts, supply: Supply, conduct: Conduct, group: asyncio.TaskGroup
) -> Assembly:
    """Wire the daemon and go on with every lease that is not closed."""
    unfinished = await parts.leases.unfinished()
    held = {
        lease.job: lease.slot
        for lease in unfinished
        if lease.slot is not None and State(lease.state) in HOLDS_SLOT
    }
    provider = Assembly.of(parts, supply, conduct, Slots(supply.slots, held=held), group)
    await provider.offering.renew()
    for lease in unfinished:
        if lease.slot is not None and lease.slot >= supply.slots:
            await provider.closing.hand_back(lease.job, "this provider has fewer slots now")
        else:
            provider.work.start(lease.job)
    return provider


async def _leave(provider: Assembly) -> None:
    """Take no more leases, and hand back those without an output."""
    try:
        async with asyncio.timeout(SHUTDOWN_S):
            await provider.acceptance.close(SHUTTING_DOWN)
            for lease in await provider.book.store.unfinished():
                if State(lease.state) in HOLDS_SLOT:
                    await _hand_back(provider, lease.job)
    except TimeoutError:
        logger.warning("left before every lease was handed back")


async def _hand_back(provider: Assembly, job: Digest) -> None:
    await provider.work.stop(job)
    lease = await provider.book.get(job)
    if lease is not None and State(lease.state) in HOLDS_SLOT:  # it may have finished meanwhile
        await provider.closing.hand_back(job, SHUTTING_DOWN)


def _serve_requests(network: Network, provider: Assembly, requests: RequestTasks) -> None:
    for protocol, handler in (
        (LEASE, provider.acceptance.handle),
        (COMMIT_SET, provider.requests.reveal),
        (RELEASE, provider.requests.release),
        (OUTPUT, provider.requests.output),
        (PROOF_PREPARE, provider.proofs.prepare),
        (PROOF, provider.proofs.challenge),
        (PROOF_OPEN, provider.proofs.open),
        (PROOF_RESULT, provider.proofs.result),
    ):
        network.serve_requests(protocol, requests.to_the_end(handler))


def _empty_work_directory(supply: Supply) -> None:
    """Remove what a killed daemon left behind; nothing in there is needed again."""
    shutil.rmtree(supply.work_directory, ignore_errors=True)
    supply.work_directory.mkdir(parents=True, mode=0o700)
