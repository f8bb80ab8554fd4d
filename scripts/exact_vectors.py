#!/usr/bin/env python3
"""Write docs/exact-torch-vectors.json: known answers of exact_torch's arithmetic.

With --check it writes nothing and fails when an answer changed, which only a new version of the
specification may do. Floats are hexadecimal; arrays are rows of numbers.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import torch

import exact_torch
from exact_torch import Precision
from exact_torch.arithmetic import functions, philox
from exact_torch.kernels import BINARY, UNARY, TorchKernels

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "exact-torch-vectors.json"
CONSTANTS: Final = (
    "INV_LN2", "LN2_HIGH", "LN2_LOW", "SQRT_2", "SQRT_HALF", "INV_SQRT_2PI", "EXP_TERMS",
    "LOG_TERMS", "ERF_TERMS", "TWO_OVER_PI", "PI_2_HIGH", "PI_2_MIDDLE", "PI_2_LOW",
    "SIN_TERMS", "COS_TERMS",
)  # fmt: skip
ARGUMENTS: Final = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-40, -1e-30, 9e-6, 1.1e-5, 0.1, -0.3, 1.75, 2.5, -3.999, 4.0,
    -4.5, 5.6, -5.7, 7.25, -12.0, 20.0, -30.0, 88.5, 88.8, -87.5, -103.5, 1e5, -1e5, 3e38,
    float("inf"), -float("inf"), float("nan"),
)  # fmt: skip
KERNELS: Final = TorchKernels()


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    text = json.dumps(vectors(), indent=1) + "\n"
    if not parser.parse_args().check:
        PAGE.write_text(text)
        return 0
    if not PAGE.exists() or PAGE.read_text() != text:
        sys.stderr.write(f"{PAGE.name} is stale: a bit changed; that needs a new SPEC_VERSION\n")
        return 1
    return 0


def vectors() -> dict[str, Any]:
    """Return all vectors as JSON values."""
    return {
        "specification": exact_torch.SPEC_VERSION,
        "constants": {name: _constant(getattr(functions, name)) for name in CONSTANTS},
        "contractions": [_contraction(p, length) for p in Precision for length in (1, 7, 40)],
        "sums": [_sum(length) for length in (1, 3, 10, 100)],
        "functions": {name: _unary(name) for name in UNARY},
        "gradients": {name: _binary(name) for name in BINARY},
        "sin": _of_float64(lambda x: functions.sin_cos(x)[0]),
        "cos": _of_float64(lambda x: functions.sin_cos(x)[1]),
        "power": _power(),
        "softmax": _softmax(log=False),
        "log_softmax": _softmax(log=True),
        "layer_norm": _layer_norm(),
        "philox": _philox(),
    }


def _hex(x: torch.Tensor | float) -> Any:
    if isinstance(x, float):
        return x.hex()
    return [_hex(row) for row in x] if x.dim() else float(x).hex()


def _constant(value: float | tuple[float, ...]) -> Any:
    return value.hex() if isinstance(value, float) else [v.hex() for v in value]


def _values(count: int, seed: int) -> torch.Tensor:
    """Return float32 of mixed magnitudes and signs from integers alone."""
    index = torch.arange(count) + 1000003 * seed
    mixed = (index * 2654435761) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 2246822519) & 0xFFFFFFFF
    value = ((mixed >> 8).to(torch.float64) * 2.0**-23 - 1.0) * 2.0 ** ((mixed & 7).double() - 4)
    return value.to(torch.float32)


def _contraction(precision: Precision, length: int) -> dict[str, Any]:
    a, b = _values(3 * length, 1).reshape(3, length), _values(2 * length, 2).reshape(length, 2)
    c = _values(2, 3)
    return {
        "precision": str(precision),
        "a": _hex(a),
        "b": _hex(b),
        "product": _hex(KERNELS.contract(a, b, precision)),
        "addend": _hex(c),
        "alpha": (0.7).hex(),
        "beta": (-1.3).hex(),
        "with_addend": _hex(KERNELS.contract(a, b, precision, addend=c, alpha=0.7, beta=-1.3)),
    }


def _sum(length: int) -> dict[str, Any]:
    x = _values(length, 4)
    return {"terms": _hex(x), "sum": _hex(KERNELS.sum(x, (0,), keepdim=False))}


def _unary(name: str) -> list[list[Any]]:
    x = torch.tensor(ARGUMENTS)
    return [[_hex(a), _hex(y)] for a, y in zip(x, KERNELS.unary(name, x), strict=True)]


def _binary(name: str) -> list[list[Any]]:
    x = torch.tensor(ARGUMENTS)
    g = _values(len(x), 5)
    results = KERNELS.binary(name, g, x)
    return [[_hex(a), _hex(b), _hex(y)] for a, b, y in zip(g, x, results, strict=True)]


def _of_float64(function: Any) -> list[list[Any]]:
    x = torch.tensor([0.0, 0.5, -1.0, 2.0, 3.0, -4.0, 100.0, 12345.678, 2.0**20, 2.0**21]).double()
    return [[_hex(a), _hex(y)] for a, y in zip(x, function(x), strict=True)]


def _power() -> list[list[Any]]:
    pairs = [
        (2.0, 10.0), (3.0, 2.0), (-2.0, 3.0), (0.5, -1.0), (2.0, 0.5), (-2.0, 0.5), (0.0, -1.0),
        (-0.0, 3.0), (1.5, 2.75), (10.0, -3.5), (float("inf"), -2.0), (1.0, float("nan")),
    ]  # fmt: skip
    x, y = (torch.tensor(column).double() for column in zip(*pairs, strict=True))
    rows = zip(x, y, functions.power(x, y), strict=True)
    return [[_hex(a), _hex(b), _hex(z)] for a, b, z in rows]


def _softmax(*, log: bool) -> dict[str, Any]:
    x = _values(3 * 9, 6).reshape(3, 9)
    y = KERNELS.softmax(x, log=log, empty_rows_are_zero=False)
    g = _values(3 * 9, 7).reshape(3, 9)
    dx = KERNELS.softmax_backward(g, y, log=log)
    return {"x": _hex(x), "y": _hex(y), "g": _hex(g), "dx": _hex(dx)}


def _layer_norm() -> dict[str, Any]:
    x, w, b = _values(3 * 9, 8).reshape(3, 9), _values(9, 9), _values(9, 10)
    y, mean, rstd = KERNELS.layer_norm(x, w, b, 1e-5)
    g = _values(3 * 9, 11).reshape(3, 9)
    dx, dw, db = KERNELS.layer_norm_backward(g, x, mean, rstd, w)
    named = {"x": x, "weight": w, "bias": b, "y": y, "mean": mean, "rstd": rstd, "g": g}
    named |= {"dx": dx, "dweight": dw, "dbias": db}
    return {"eps": (1e-5).hex(), **{name: _hex(value) for name, value in named.items()}}


def _philox() -> dict[str, Any]:
    key = 0x0123456789ABCDEF
    return {
        "key": f"{key:016x}",
        "words": [f"{int(w):08x}" for w in philox.words(key, 10, "cpu")],
        "uniform": _hex(philox.uniform(key, 6, "cpu")),
        "normal": _hex(philox.normal(key, 7, "cpu")),
    }


if __name__ == "__main__":
    sys.exit(main())
