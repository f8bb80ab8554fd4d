"""The GPUs of a daemon, and those of a machine for its owner, from the settings."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from assay_node.protocol.errors import LocalError
from assay_node.settings import ProviderSettings
from assay_provider.gpus.assignment import Assignment
from assay_provider.gpus.clearing import Clearer, CudaClearer
from assay_provider.gpus.finding import (
    NONE,
    FoundGpus,
    GpuTerms,
    find_gpus,
    this_machine,
)
from assay_provider.gpus.slot_gpus import SlotGpus, open_slot_gpus

logger = logging.getLogger(__name__)


def gpu_terms(settings: ProviderSettings) -> GpuTerms:
    """Return the owner's word on GPUs."""
    mine = settings.gpus
    return GpuTerms(
        use=mine.use,
        per_slot=mine.per_slot,
        allow_shared=mine.allow_shared,
        slots=settings.slots,
    )


@asynccontextmanager
async def open_gpus(settings: ProviderSettings) -> AsyncIterator[SlotGpus]:
    """Take and clear the GPUs of a daemon that starts; given back when it ends.

    Raises:
        LocalError: the settings name a GPU that cannot be offered.
    """
    terms = gpu_terms(settings)
    if terms.use == (NONE,):
        yield SlotGpus()
        return
    machine = await asyncio.to_thread(this_machine)
    try:
        gpus = await open_slot_gpus(terms, machine, clearer=_clearer)
        _log(gpus.found)
        try:
            yield gpus
        finally:
            gpus.close()
    finally:
        await asyncio.to_thread(machine.drivers.close)


def offered_gpus(settings: ProviderSettings) -> FoundGpus:
    """Return what a daemon offers or would offer, beside one that may run. Blocks.

    Raises:
        LocalError: as `open_gpus`.
    """
    machine = this_machine()
    try:
        return find_gpus(gpu_terms(settings), machine, for_daemon=False)
    finally:
        machine.drivers.close()


def shown_gpus(settings: ProviderSettings) -> FoundGpus:
    """Return the same for people: what no daemon could start with is said in the answer. Blocks."""
    machine = this_machine()
    terms = gpu_terms(settings)
    try:
        return find_gpus(terms, machine, for_daemon=False)
    except LocalError as error:
        found = find_gpus(replace(terms, use=(NONE,)), machine, for_daemon=False)
        return replace(found, assignment=Assignment(refused=str(error)))
    finally:
        machine.drivers.close()


def _clearer(library: str | None) -> Clearer:
    return CudaClearer() if library is None else CudaClearer(library=library)


def _log(found: FoundGpus) -> None:
    offered = set(found.assignment.devices)
    for gpu in found.gpus:
        if gpu.device in offered:
            logger.info("offering the GPU %s (%s)", gpu.device.uuid, gpu.device.model)
        elif gpu.reasons:
            logger.warning("the GPU %s is not offered: %s", gpu.device.uuid, "; ".join(gpu.reasons))
    if found.assignment.refused:
        logger.warning("no GPU is offered: %s", found.assignment.refused)
