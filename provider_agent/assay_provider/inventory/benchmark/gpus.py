"""Which GPUs are measured: those that the daemon offers, under the names that offers give them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from assay_node.protocol.ids import to_hex
from assay_node.protocol.offer import Gpu

NVIDIA_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
AMD_VARIABLE: Final = "ROCR_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredGpu:
    """A GPU or an instance of one.

    `uuid` is its driver's name of it; a child sees it alone when `variable` names it.
    """

    uuid: str
    offered: Gpu
    variable: str = NVIDIA_VARIABLE


def facts_of(gpus: Iterable[Gpu]) -> tuple[str, ...]:
    """Return what figures of these GPUs depend on, in an order of its own."""
    return tuple(sorted(f"{to_hex(gpu.device)[:18]} {gpu.model} {gpu.driver}" for gpu in gpus))
