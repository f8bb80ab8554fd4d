"""What a provider kept of schedulers that contradicted themselves, for its owner to report."""

import asyncio
from pathlib import Path
from typing import Any

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import to_hex
from assay_node.settings import Settings
from assay_node.store.provider_leases import KeptEvidence
from assay_provider.status import open_leases


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
    async with open_leases(settings.provider.database_url) as leases:
        return await leases.evidence()


def _evidence(kept: KeptEvidence) -> dict[str, Any]:
    return {"job": to_hex(kept.job), "scheduler": kept.scheduler, "at": kept.at}
