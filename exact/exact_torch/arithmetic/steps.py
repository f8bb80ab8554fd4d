"""Optimizer steps: float64 an element, each stored state rounded once.

What is read of a state is its stored value; what is used of it in the same step is the value before
it is rounded. Everything happens in place.
"""

import math
import struct

import torch

from exact_torch.arithmetic.bits import F64, constant
from exact_torch.arithmetic.functions import to_type


def adam(
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    largest: torch.Tensor | None,
    *,
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """Take a step of Adam (Kingma and Ba, arXiv:1412.6980; decoupled: AdamW, arXiv:1711.05101).

    coupled: g = g + decay·p; decoupled: p = p·(1 - lr·decay). m = β1·m + (1 - β1)·g,
    v = β2·v + ((1 - β2)·g)·g, w = v or max(largest, v),
    p = p - (lr/(1 - β1^t)·m) / (sqrt(w)/sqrt(1 - β2^t) + eps).
    """
    p, g = parameter.to(F64), gradient.to(F64)
    if decoupled:
        p = p * constant(1.0 - lr * weight_decay, p)
    elif weight_decay != 0:
        g = g + p * constant(weight_decay, p)
    m = first.to(F64) * constant(beta1, p) + g * constant(1.0 - beta1, p)
    v = second.to(F64) * constant(beta2, p) + (g * constant(1.0 - beta2, p)) * g
    w = v
    if largest is not None:
        before = largest.to(F64)
        w = torch.where((before > v) | torch.isnan(before), before, v)
        largest.copy_(to_type(w, largest.dtype))
    root = torch.sqrt(w) / constant(math.sqrt(1.0 - whole_power(beta2, step)), p)
    size = constant(lr / (1.0 - whole_power(beta1, step)), p)
    parameter.copy_(to_type(p - (m * size) / (root + constant(eps, p)), parameter.dtype))
    first.copy_(to_type(m, first.dtype))
    second.copy_(to_type(v, second.dtype))


def sgd(
    parameter: torch.Tensor,
    gradient: torch.Tensor,
    buffer: torch.Tensor | None,
    *,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Take a step of gradient descent with momentum (Sutskever et al., ICML 2013, as torch has it).

    g = g + decay·p; b = g in the first step, else μ·b + (1 - dampening)·g; g = b, or g + μ·b for
    Nesterov's; p = p - lr·g.
    """
    p, g = parameter.to(F64), gradient.to(F64)
    if weight_decay != 0:
        g = g + p * constant(weight_decay, p)
    if buffer is not None:
        b = g
        if not first:
            b = buffer.to(F64) * constant(momentum, p) + g * constant(1.0 - dampening, p)
        buffer.copy_(to_type(b, buffer.dtype))
        g = g + b * constant(momentum, p) if nesterov else b
    parameter.copy_(to_type(p - g * constant(lr, p), parameter.dtype))


def whole_power(base: float, exponent: int) -> float:
    """Return base^exponent by repeated squaring: a host's own power differs in its last bits."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def rounded_rate(lr: float) -> float:
    """Return a learning rate rounded to float32.

    A schedule may have computed it with the host's mathematics, whose last bits differ.
    """
    return float(struct.unpack("<f", struct.pack("<f", lr))[0])
