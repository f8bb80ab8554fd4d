"""Digests of tensors, the same on every device."""

import hashlib
from collections.abc import Mapping, Sequence

import torch

from exact_torch.arithmetic.bits import canonical_nan

Tensors = torch.Tensor | Sequence["Tensors"] | Mapping[str, "Tensors"]


def digest(tensors: Tensors) -> str:
    """Return the sha256, in hexadecimal, of tensors: names, types, shapes, little-endian bytes.

    Mappings are taken in the order of their keys; NaN counts as the positive quiet one.
    """
    state = hashlib.sha256()
    _update(state, tensors)
    return state.hexdigest()


def _update(state: "hashlib._Hash", tensors: Tensors) -> None:
    if isinstance(tensors, torch.Tensor):
        state.update(f"{tensors.dtype}{list(tensors.shape)}".encode())
        state.update(_bytes(tensors))
    elif isinstance(tensors, Mapping):
        for name in sorted(tensors):
            state.update(f"{name}:".encode())
            _update(state, tensors[name])
    else:
        state.update(f"{len(tensors)}[".encode())
        for tensor in tensors:
            _update(state, tensor)


def _bytes(tensor: torch.Tensor) -> bytes:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.is_floating_point():
        tensor = canonical_nan(tensor)
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
