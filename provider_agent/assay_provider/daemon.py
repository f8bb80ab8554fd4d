"""The provider daemon: sells this machine's slots until told to stop."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from assay_node.ports import Network
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import COMMIT_SET, LEASE, OUTPUT, RELEASE
from assay_node.store.availability import StoreUnavailable
from assay_provider import isolation
from assay_provider.assembly import Assembly, ProviderParts
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.personas import HONEST, Conduct
from assay_provider.request_tasks import RequestTasks
from assay_provider.runtime import leftovers
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
    supply = isolation.offered(supply, await parts.sandbox.self_test())
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
        provider.work.tend_for_ever(),
        provider.road.run(),
        provider.court.run(),
        *(loop() for loop in parts.beside),
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
    await provider.work.stop_all()


def _first_fault(failed: BaseExceptionGroup) -> BaseException:
    fault: BaseException = failed
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


async def _resume(
    parts: ProviderParts, supply: Supply, conduct: Conduct, group: asyncio.TaskGroup
) -> Assembly:
    """Wire the daemon and go on with every lease that is not closed."""
    unfinished = await LeaseBook(leases=parts.leases, clock=parts.clock).insist(
        parts.leases.unfinished
    )
    held = {
        lease.job: lease.slot
        for lease in unfinished
        if lease.slot is not None and State(lease.state) in HOLDS_SLOT
    }
    provider = Assembly.of(parts, supply, conduct, Slots(supply.slots, held=held), group)
    await provider.book.insist(provider.offering.renew)
    for lease in unfinished:
        if lease.slot is not None and lease.slot >= supply.slots:
            await provider.work.hand_back(lease.job, "this provider has fewer slots now")
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
    except StoreUnavailable as error:
        logger.warning("left with leases that are kept for the next start: %s", error)


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
    ):
        network.serve_requests(protocol, requests.to_the_end(handler))


def _empty_work_directory(supply: Supply) -> None:
    """Remove what a killed daemon left behind; nothing in there is needed again."""
    leftovers.empty_directory(supply.work_directory)
