"""Activations and elementary functions, forward and backward."""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.inputs import integers, lattice
from tests.exact.programs.registry import Tensors, program

Function = Callable[[torch.Tensor], torch.Tensor]


def _each(inputs: torch.Tensor, functions: Mapping[str, Function]) -> Tensors:
    """Return every function of `inputs` and the gradient of its weighted sum."""
    upstream = lattice(*inputs.shape, seed=899)
    result: Tensors = {}
    for name, function in functions.items():
        point = inputs.detach().clone().requires_grad_()
        value = function(point)
        (value * upstream).sum().backward()
        result |= {name: value.detach(), f"{name}.grad": point.grad}
    return result


def _wide(seed: int) -> torch.Tensor:
    """Return 1,500 values from tiny to large, both signs, with zero."""
    values = lattice(1500, seed=seed) * 2.0 ** (integers(1500, seed=seed + 1, below=28) - 22)
    values[0] = 0.0
    return values


@program
def activations_smooth() -> Tensors:
    return _each(
        _wide(860),
        {
            "gelu": functional.gelu,
            "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
            "silu": functional.silu,
            "mish": functional.mish,
            "softplus": lambda x: functional.softplus(x, beta=1.5, threshold=10),
            "tanh": torch.tanh,
            "sigmoid": torch.sigmoid,
            "logsigmoid": functional.logsigmoid,
            "softsign": functional.softsign,
            "tanhshrink": functional.tanhshrink,
        },
    )


@program
def activations_piecewise() -> Tensors:
    slope = nn.PReLU(init=0.3)
    result = _each(
        _wide(870),
        {
            "relu": functional.relu,
            "relu6": functional.relu6,
            "leaky_relu": lambda x: functional.leaky_relu(x, 0.05),
            "prelu": slope,
            "elu": lambda x: functional.elu(x, alpha=0.7),
            "celu": lambda x: functional.celu(x, alpha=1.3),
            "selu": functional.selu,
            "hardtanh": lambda x: functional.hardtanh(x, -0.5, 0.75),
            "hardswish": functional.hardswish,
            "hardsigmoid": functional.hardsigmoid,
            "threshold": lambda x: functional.threshold(x, 0.1, -1.0),
            "clamped": lambda x: x.clamp(-1.0, 2.0),
        },
    )
    return {**result, "slope.grad": slope.weight.grad}


@program
def elementary_functions() -> Tensors:
    positive = _wide(880).abs() + 1e-6
    result = _each(
        positive,
        {
            "log": torch.log,
            "log1p": torch.log1p,
            "log2": torch.log2,
            "log10": torch.log10,
            "sqrt": torch.sqrt,
            "rsqrt": torch.rsqrt,
            "reciprocal": torch.reciprocal,
            "cube_root": lambda x: x ** (1 / 3),
            "power": lambda x: x**2.5,
        },
    )
    return result | _each(
        _wide(882),
        {
            "exp": lambda x: (x / 4).exp(),
            "expm1": lambda x: (x / 4).expm1(),
            "sin": torch.sin,
            "cos": torch.cos,
            "erf": torch.erf,
            "abs": torch.abs,
            "square": torch.square,
            "cube": lambda x: x**3,
            "base": lambda x: 1.5 ** x.clamp(-20, 20),
        },
    )


@program
def gated_units() -> Tensors:
    x = lattice(30, 40, seed=890, scale=3.0).requires_grad_()
    first, second = x.chunk(2, dim=1)
    gates = {
        "glu": functional.glu(x),
        "swiglu": functional.silu(first) * second,
        "geglu": functional.gelu(first) * second,
        "softmax": functional.softmax(x, dim=1),
        "softmin": functional.softmin(x, dim=0),
        "log_softmax": functional.log_softmax(x / 0.1, dim=1),
        "logsumexp": x.logsumexp(dim=1),
    }
    sum((value * lattice(*value.shape, seed=891)).sum() for value in gates.values()).backward()
    return {**{name: value.detach() for name, value in gates.items()}, "grad": x.grad}


@program
def edges_of_floats() -> Tensors:
    """Infinities, NaN, zeros of both signs, subnormals and the largest floats."""
    edges = torch.tensor(
        [0.0, -0.0, 1e-45, -1e-40, 1e-38, 3e38, -3e38, float("inf"), float("-inf"), float("nan")]
    )
    both = torch.stack([edges, edges.flip(0)])
    return {
        "exp": edges.exp(),
        "tanh": edges.tanh(),
        "sigmoid": edges.sigmoid(),
        "gelu": functional.gelu(edges),
        "log": edges.abs().log(),
        "sqrt": edges.sqrt(),
        "softmax": both[:, :7].softmax(1),
        "maximum": torch.maximum(both[0], both[1]),
        "sum": both.sum(0),
        "argmax": edges.argmax(),
        "clamped": edges.clamp(-1, 1),
        "product": both.t() @ both,
        "sorted": edges[:9].sort().values,
        "no_nans": edges.nan_to_num(),
    }
