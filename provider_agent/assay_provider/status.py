"""What a provider is doing, read from its database and the chain; the daemon is not asked."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from assay_node.app import chain_settings
from assay_node.chain.client import open_reader
from assay_node.protocol.errors import ChainError, LocalError
from assay_node.protocol.ids import Address, to_hex
from assay_node.settings import Settings
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLease, ProviderLeases, is_absent
from assay_provider.keystores import operator_of
from assay_provider.lease_closing import SETTLED
from assay_provider.lease_machine import HOLDS_SLOT, State

LEASES_SHOWN: Final = 50
"""What fits a screen or two; the database has the rest."""


async def status_document(settings: Settings) -> dict[str, Any]:
    """Return a provider's state as a JSON-serialisable document. Money in micro-USD.

    `metered_microusd` is rate x metered seconds of settled leases; what the chain paid can be less,
    for it pays the lower median of the winners' meters.

    Raises:
        LocalError: no provider has run here yet.
    """
    mine = settings.provider
    async with _open_leases(mine.database_url) as leases:
        open_leases = await leases.unfinished()
        newest = await leases.newest(LEASES_SHOWN)
        contacts = await leases.contacts()
        metered = await leases.metered_microusd(SETTLED)
    now = time.time()
    held = sum(State(lease.state) in HOLDS_SLOT for lease in open_leases)
    return {
        "operator": operator_of(mine),
        "hardware_class": mine.hardware_class,
        "price_microusd_per_second": mine.price_microusd_per_second,
        "slots": {"total": mine.slots, "held": held},
        "open_leases": len(open_leases),
        "leases": [lease_document(lease) for lease in newest],
        "schedulers": [
            {
                "multiaddr": contact.multiaddr,
                "scheduler": contact.scheduler,
                "heard_at": contact.heard_at,
                "heard_s_ago": round(max(0.0, now - contact.heard_at), 1),
            }
            for contact in contacts
        ],
        "metered_microusd": metered,
        "account": await _account(settings, operator_of(mine)),
    }


def lease_document(lease: ProviderLease) -> dict[str, Any]:
    """Return one lease as a JSON-serialisable document."""
    return {
        "job": to_hex(lease.job),
        "scheduler": lease.scheduler,
        "state": lease.state,
        "stage": lease.stage,
        "round": lease.round_number,
        "slot": lease.slot,
        "rate_microusd": lease.rate_microusd,
        "seconds": lease.seconds,
        "verdict": lease.verdict,
        "detail": lease.detail,
        "output": lease.output,
        "reason": lease.closed_reason,
        "accepted_at": lease.accepted_at,
        "changed_at": lease.changed_at,
    }


@asynccontextmanager
async def _open_leases(url: str) -> AsyncIterator[ProviderLeases]:
    if is_absent(url):
        raise LocalError("no provider has run here yet; start one with: assay provider run")
    async with open_database(url, role="provider") as database:
        yield ProviderLeases(database)


async def _account(settings: Settings, operator: Address) -> Mapping[str, Any]:
    try:
        async with open_reader(chain_settings(settings)) as chain:
            account = await chain.account(operator)
            signer = await chain.signer_of(operator)
    except (ChainError, LocalError) as error:
        return {"error": str(error)}
    return {
        "free_microusd": account.free_microusd,
        "stake_microusd": account.stake_microusd,
        "wins": account.wins,
        "faults": account.faults,
        "signer": signer,
    }
