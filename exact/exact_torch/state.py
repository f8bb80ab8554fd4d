"""What is in force: the precision of the innermost mode, and the kernels of a device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from exact_torch.arithmetic.contraction import Precision
from exact_torch.engines import kernels_for
from exact_torch.kernels import TorchKernels

_precision = Precision.E21


@contextmanager
def precision(wanted: Precision) -> Iterator[None]:
    """Contract with this precision inside."""
    global _precision  # noqa: PLW0603 - one mode a process: threads inherit it
    before, _precision = _precision, wanted
    try:
        yield
    finally:
        _precision = before


def active_precision() -> Precision:
    """Return the precision in force."""
    return _precision


def kernels(tensor: torch.Tensor) -> TorchKernels:
    """Return the kernels for a tensor's device."""
    return kernels_for(tensor.device)
