"""Where elements leave the tensor world: NaN is made canonical there."""

from typing import Any, Final

import torch
from torch.utils._python_dispatch import _disable_current_modes

from exact_torch.arithmetic.bits import canonical_nan

LEAVING: Final[frozenset[Any]] = frozenset(
    {
        torch.Tensor.numpy,
        torch.Tensor.__array__,
        torch.Tensor.tolist,
        torch.Tensor.__reduce_ex__,
        torch.Tensor.data_ptr,
    }
)
"""Functions that hand out the bytes of a tensor: sign and payload of a NaN are the machine's."""


def canonicalise_in_place(tensor: torch.Tensor) -> None:
    """Replace every NaN of a tensor by the positive quiet one."""
    if tensor.is_floating_point():
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            detached = tensor.detach()
            if detached.numel() and bool(torch.isnan(detached).any()):
                detached.copy_(canonical_nan(detached))
