"""Inputs whose bits are the same everywhere: an integer hash of each element's index.

Only int64 arithmetic and one exact conversion make them, so no library's random numbers, thread
count or instruction set has a say. The hash is the finaliser of MurmurHash3 (32 bits).
"""

import math

import torch
from torch import nn

from tests.exact.programs.registry import Tensors

STRIDE = 1_000_003
MASK = 0xFFFFFFFF


def lattice(*shape: int, seed: int, scale: float = 1.0) -> torch.Tensor:
    """Return float32 values of [-scale, scale), spread evenly; `scale` must be a power of two
    or the product is rounded once, which is the same everywhere too."""
    grid = (_hashed(math.prod(shape), seed) >> 8).to(torch.float32) * 2.0**-23 - 1.0
    return grid.reshape(shape) * scale


def integers(*shape: int, seed: int, below: int) -> torch.Tensor:
    """Return int64 values of [0, below)."""
    return ((_hashed(math.prod(shape), seed) >> 7) % below).reshape(shape)


def fill(module: nn.Module, *, seed: int) -> nn.Module:
    """Give every parameter hashed values, of a size that keeps activations near one."""
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(module.named_parameters())):
            if parameter.dim() > 1:
                fan_in = parameter[0].numel()
                scale = math.sqrt(3.0 / fan_in)
                parameter.copy_(lattice(*parameter.shape, seed=seed + number + 1, scale=scale))
            else:
                # Scales of norms stay near 1 and biases near 0, but none is exactly either.
                start = 1.0 if bool((parameter == 1).all()) else 0.0
                noise = lattice(*parameter.shape, seed=seed + number + 1, scale=0.0625)
                parameter.copy_(start + noise)
    return module


def weights(module: nn.Module) -> Tensors:
    """Return every parameter and buffer by its name."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def gradients(module: nn.Module) -> Tensors:
    """Return the gradient of every parameter that has one."""
    return {
        f"{name}.grad": parameter.grad
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def _hashed(count: int, seed: int) -> torch.Tensor:
    """Return `count` int64 values that look like random 32-bit numbers."""
    x = ((torch.arange(count, dtype=torch.int64) + seed * STRIDE) * 2654435761) & MASK
    x = ((x ^ (x >> 15)) * 2246822519) & MASK
    x = ((x ^ (x >> 13)) * 3266489917) & MASK
    return x ^ (x >> 16)
