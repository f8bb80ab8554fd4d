"""What a provider is doing, read from its database and the chain; the daemon is not asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from assay_node.app import chain_settings
from assay_node.chain.client import open_reader
from assay_node.protocol.errors import ChainError, LocalError
from assay_node.protocol.ids import Address, to_hex
from assay_node.settings import Settings
from assay_node.store.database import is_absent, open_database
from assay_node.store.provider_leases import KeptEvidence, ProviderLease, ProviderLeases
from assay_provider.inventory.exact_record import read_status
from assay_provider.keystores import operator_of
from assay_provider.lease_closing import SETTLED
from assay_provider.lease_machine import HOLDS_SLOT, State
from assay_provider.proving.record import read_record

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
        "exact": read_status(mine.home),
        "proofs": read_record(mine.home),
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


async def evidence_document(settings: Settings) -> list[dict[str, Any]]:
    """Return which schedulers contradicted themselves towards this provider.

    Raises:
        LocalError: no provider has run here yet.
    """
    return [_evidence(kept) for kept in await _kept_evidence(settings)]


async def write_evidence(settings: Settings, folder: Path) -> list[dict[str, Any]]:
    """Write what convicts each scheduler into a file, and return where.

    Raises:
        LocalError: no provider has run here yet, or the folder cannot be written.
    """
    return await asyncio.to_thread(_write, await _kept_evidence(settings), folder)


def _write(found: tuple[KeptEvidence, ...], folder: Path) -> list[dict[str, Any]]:
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kept in found:
            file = folder / f"{kept.job.hex()}.evidence"
            file.write_bytes(kept.body)
            written.append({**_evidence(kept), "file": str(file)})
    except OSError as error:
        raise LocalError(f"cannot write into {folder}: {error.strerror}") from None
    return written


async def _kept_evidence(settings: Settings) -> tuple[KeptEvidence, ...]:
    async with _open_leases(settings.provider.database_url) as leases:
        return await leases.evidence()


def _evidence(kept: KeptEvidence) -> dict[str, Any]:
    return {"job": to_hex(kept.job), "scheduler": kept.scheduler, "at": kept.at}


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
            appeals = 0 if signer is None else (await chain.account(signer)).free_microusd
    except (ChainError, LocalError) as error:
        return {"error": str(error)}
    return {
        "free_microusd": account.free_microusd,
        "stake_microusd": account.stake_microusd,
        "wins": account.wins,
        "faults": account.faults,
        "locked_microusd": account.locked_microusd,
        "signer": signer,
        "appeals_microusd": appeals,
    }
