"""The provider daemon: sells this machine's slots until told to stop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from assay_node.ports import Network
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
from assay_node.store.availability import StoreUnavailable
from assay_provider import isolation
from assay_provider.assembly import Assembly, ProviderParts
from assay_provider.handing_back import hand_back_all
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.owner.control import serve_control
from assay_provider.owner.desk import OwnerDesk
from assay_provider.owner.drain import Afterwards, forget_drain, read_drain
from assay_provider.owner.watch import OwnerWatch
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
    provider, watch = await _resume(parts, supply, conduct, stop, group)
    requests = RequestTasks()
    _serve_requests(parts.network, provider, requests)
    coroutines = [
        provider.offering.keep_current(),
        provider.closing.sweep_for_ever(provider.work.stop),
        provider.work.tend_for_ever(),
        provider.road.run(),
        provider.court.run(),
        *(loop() for loop in parts.beside),
        watch.run(),
        provider.proofs.run(),
        *(
            provider.links.keep(multiaddr, provider.reconciliation.welcomed)
            for multiaddr in supply.schedulers
        ),
    ]
    loops: list[asyncio.Future[None]] = [group.create_task(loop) for loop in coroutines]
    try:
        async with _open_desk(provider, parts, supply):
            on_ready()
            await stop.wait()
            await _leave(provider)
    finally:
        for loop in loops:
            loop.cancel()
        # handlers use the group and the store, so they end before these do
        await requests.close(SHUTTING_DOWN)
    provider.links.stop_telling()
    await provider.work.stop_all()
    _end_drain(provider, supply)


def _first_fault(failed: BaseExceptionGroup) -> BaseException:
    fault: BaseException = failed
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault


async def _resume(
    parts: ProviderParts,
    supply: Supply,
    conduct: Conduct,
    stop: asyncio.Event,
    group: asyncio.TaskGroup,
) -> tuple[Assembly, OwnerWatch]:
    """Wire the daemon, go on with every lease that is not closed, and with a drain."""
    unfinished = await LeaseBook(leases=parts.leases, clock=parts.clock).insist(
        parts.leases.unfinished
    )
    held = {
        lease.job: lease.slot
        for lease in unfinished
        if lease.slot is not None and State(lease.state) in HOLDS_SLOT
    }
    provider = Assembly.of(parts, supply, conduct, Slots(supply.slots, held=held), group)
    home = supply.owner.home
    provider.gate.drain = None if home is None else read_drain(home)
    for lease in unfinished:
        if lease.slot is not None and lease.slot >= supply.slots:
            await provider.work.hand_back(lease.job, "this provider has fewer slots now")
        else:
            provider.work.start(lease.job)
    watch = provider.owner_watch(parts, supply, stop.set)
    await watch.look()  # before the first offer: it says whether jobs are let in
    await provider.book.insist(provider.offering.renew)
    return provider, watch


@asynccontextmanager
async def _open_desk(
    provider: Assembly, parts: ProviderParts, supply: Supply
) -> AsyncIterator[None]:
    """Obey the owner's commands, if this provider has a home to be reached in."""
    home = supply.owner.home
    if home is None:
        yield
        return
    desk = OwnerDesk(home=home, gate=provider.gate, clock=parts.clock, live=provider.live.document)
    async with serve_control(home, desk.commands()):
        yield


def _end_drain(provider: Assembly, supply: Supply) -> None:
    """A daemon that has stopped has done what its drain asked for; one that stays has not."""
    drain, home = provider.gate.drain, supply.owner.home
    if drain is not None and drain.afterwards is Afterwards.STOP and home is not None:
        forget_drain(home)


async def _leave(provider: Assembly) -> None:
    """Take no more leases, and hand back those without an output."""
    try:
        async with asyncio.timeout(SHUTDOWN_S):
            await provider.acceptance.close(SHUTTING_DOWN)
            await hand_back_all(
                provider.book, provider.closing, provider.work, SHUTTING_DOWN, leaving=True
            )
    except TimeoutError:
        logger.warning("left before every lease was handed back")
    except StoreUnavailable as error:
        logger.warning("left with leases that are kept for the next start: %s", error)


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
    leftovers.empty_directory(supply.work_directory)
