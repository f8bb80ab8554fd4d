"""The committed vectors, by a second implementation: plain Python from docs/exact-torch.md alone.

No torch, no numpy: Python's floats are IEEE float64, `round` rounds half to even, `struct` rounds
to float32, `fractions` does the one fused operation.
"""

import json
import math
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
VECTORS = json.loads((ROOT / "docs" / "exact-torch-vectors.json").read_text())
C = {
    name: [float.fromhex(v) for v in value] if isinstance(value, list) else float.fromhex(value)
    for name, value in VECTORS["constants"].items()
}
BITS = {"E21": 20, "E14": 13}
INF, NAN = math.inf, math.nan


def parsed(value: Any) -> Any:
    return [parsed(v) for v in value] if isinstance(value, list) else float.fromhex(value)


def f32(x: float) -> float:
    if math.isnan(x) or math.isinf(x):
        return x
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(INF, x)


def same(got: float, expected: float) -> bool:
    if math.isnan(expected):
        return math.isnan(got)
    return got == expected and math.copysign(1, got) == math.copysign(1, expected)


def exponent(x: float) -> int:
    return max(math.frexp(x)[1] - 1, -400) if x else -400


def quantised(row: list[float], bits: int) -> tuple[list[int], float]:
    unit = 2.0 ** (exponent(max(map(abs, row))) - (bits - 1))
    return [round(x / unit) for x in row], unit


def fma32(a: float, b: float, c: float) -> float:
    """Round a·b + c to float32 once: to odd in float64, then to nearest."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    near = float(exact)
    if Fraction(near) != exact:
        pattern = struct.unpack("<q", struct.pack("<d", near))[0]
        if pattern % 2 == 0:
            pattern += 1 if (exact > Fraction(near)) == (near > 0) else -1
        near = struct.unpack("<d", struct.pack("<q", pattern))[0]
    return f32(near)


def value_of_product(a: list[float], b: list[float], precision: str) -> float:
    if precision == "FMA":
        total = 0.0
        for x, y in zip(a, b, strict=True):
            total = fma32(x, y, total)
        return total
    (p, u), (q, v) = quantised(a, BITS[precision]), quantised(b, BITS[precision])
    return float(sum(x * y for x, y in zip(p, q, strict=True))) * u * v


def exact_sum(terms: list[float]) -> float:
    grid = min(39, 61 - max(len(terms) - 1, 0).bit_length())
    e = exponent(max(map(abs, terms)))
    return float(sum(round(t * 2.0 ** (grid - e)) for t in terms)) * 2.0 ** (e - grid)


def horner(terms: list[float], x: float) -> float:
    total = terms[-1]
    for term in reversed(terms[:-1]):
        total = total * x + term
    return total


def exp(x: float) -> float:
    x = min(max(x, -708.0), 709.0)
    k = float(round(x * C["INV_LN2"]))
    r = (x - k * C["LN2_HIGH"]) - k * C["LN2_LOW"]
    return horner(C["EXP_TERMS"], r) * 2.0**k


def log(x: float) -> float:
    if x < 0:
        return NAN
    if x < 2.0**-1022:
        return -INF
    if math.isinf(x):
        return x
    m, k = math.frexp(x)
    m, k = m * 2, k - 1
    if m > C["SQRT_2"]:
        m, k = m * 0.5, k + 1
    f = (m - 1.0) / (m + 1.0)
    series = (f + f) * horner(C["LOG_TERMS"], f * f)
    return k * C["LN2_HIGH"] + (k * C["LN2_LOW"] + series)


def log1p(x: float) -> float:
    if x < -1 or math.isinf(x):
        return NAN if x < 0 else x
    y = 1.0 + x
    return -INF if y == 0 else log(y) + (x - (y - 1.0)) / y


def expm1(x: float) -> float:
    return x * (1.0 + x * 0.5) if abs(x) < 1e-5 else exp(x) - 1.0


def sigmoid(x: float) -> float:
    e = exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1.0 + e)


def tanh(x: float) -> float:
    a = abs(x)
    e = exp(-(a + a))
    y = a * (1.0 - (a * a) * (1.0 / 3.0)) if a < 1e-5 else (1.0 - e) / (1.0 + e)
    return math.copysign(y, x)


def erf(x: float) -> float:
    a = abs(x)
    y = 1.0 if a >= 4 else a * horner(C["ERF_TERMS"], (a * a) * 0.125 - 1.0)
    return math.copysign(y, x)


def cdf(x: float) -> float:
    return 0.5 * (1.0 + erf(x * C["SQRT_HALF"]))


def pdf(x: float) -> float:
    return exp((x * x) * -0.5) * C["INV_SQRT_2PI"]


def silu_slope(x: float) -> float:
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


FUNCTIONS = {
    "exp": exp,
    "log": log,
    "log1p": log1p,
    "expm1": expm1,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "erf": erf,
    "softplus": lambda x: (x if x > 0 else 0.0) + log1p(exp(-abs(x))),
    "gelu": lambda x: x * cdf(x),
    "silu": lambda x: x * sigmoid(x),
}
GRADIENTS = {
    "gelu_backward": lambda g, x: g * (cdf(x) + x * pdf(x)),
    "silu_backward": lambda g, x: g * silu_slope(x),
    "tanh_backward": lambda g, y: g * (1.0 - y * y),
    "sigmoid_backward": lambda g, y: g * ((1.0 - y) * y),
}


@pytest.mark.parametrize("case", VECTORS["contractions"], ids=lambda c: c["precision"])
def test_contractions(case: dict[str, Any]) -> None:
    a, b = parsed(case["a"]), list(zip(*parsed(case["b"]), strict=True))
    addend, alpha, beta = (parsed(case[name]) for name in ("addend", "alpha", "beta"))
    for i, row in enumerate(a):
        for j, column in enumerate(b):
            value = value_of_product(row, list(column), case["precision"])
            assert same(f32(value), parsed(case["product"])[i][j])
            assert same(f32(value * alpha + addend[j] * beta), parsed(case["with_addend"])[i][j])


@pytest.mark.parametrize("case", VECTORS["sums"], ids=lambda c: str(len(c["terms"])))
def test_sums(case: dict[str, Any]) -> None:
    assert same(exact_sum(parsed(case["terms"])), parsed(case["sum"]))


@pytest.mark.parametrize("name", sorted(VECTORS["functions"]))
def test_functions(name: str) -> None:
    for x, y in parsed(VECTORS["functions"][name]):
        assert same(NAN if math.isnan(x) else f32(FUNCTIONS[name](x)), y), x


@pytest.mark.parametrize("name", sorted(VECTORS["gradients"]))
def test_gradients(name: str) -> None:
    for g, x, y in parsed(VECTORS["gradients"][name]):
        assert same(NAN if math.isnan(x) else f32(GRADIENTS[name](g, x)), y), x


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name: str) -> None:
    case = {key: parsed(value) for key, value in VECTORS[name].items()}
    for x, y, g, dx in zip(case["x"], case["y"], case["g"], case["dx"], strict=True):
        shifted = [v - max(x) for v in x]
        e = [exp(d) for d in shifted]
        total = float(sum(round(v * 2.0**40) for v in e))
        if name == "softmax":
            assert [f32(v * (2.0**40 / total)) for v in e] == y
            inner = exact_sum([a * b for a, b in zip(g, y, strict=True)])
            assert [f32(b * (a - inner)) for a, b in zip(g, y, strict=True)] == dx
        else:
            assert [f32(d - log(total * 2.0**-40)) for d in shifted] == y
            inner = exact_sum(g)
            assert [f32(a - exp(b) * inner) for a, b in zip(g, y, strict=True)] == dx


def test_layer_norm() -> None:
    case = {key: parsed(value) for key, value in VECTORS["layer_norm"].items()}
    weight, bias = case["weight"], case["bias"]
    count = float(len(weight))
    scaled = []
    for row, x in enumerate(case["x"]):
        mean = exact_sum(x) / count
        d = [v - mean for v in x]
        rstd = 1.0 / math.sqrt(exact_sum([v * v for v in d]) / count + case["eps"])
        y = [f32((v * rstd) * w + b) for v, w, b in zip(d, weight, bias, strict=True)]
        assert y == case["y"][row]
        assert (f32(mean), f32(rstd)) == (case["mean"][row], case["rstd"][row])
        mean, rstd, g = case["mean"][row], case["rstd"][row], case["g"][row]
        h = [(v - mean) * rstd for v in x]
        v = [a * w for a, w in zip(g, weight, strict=True)]
        first = exact_sum(v) / count
        second = exact_sum([a * b for a, b in zip(v, h, strict=True)]) / count
        expected = [f32(rstd * ((a - first) - b * second)) for a, b in zip(v, h, strict=True)]
        assert expected == case["dx"][row]
        scaled.append([a * b for a, b in zip(g, h, strict=True)])
    assert [f32(exact_sum(list(c))) for c in zip(*scaled, strict=True)] == case["dweight"]
    assert [f32(exact_sum(list(c))) for c in zip(*case["g"], strict=True)] == case["dbias"]


def philox(counter: int, key: int) -> list[int]:
    c, k = [counter & 0xFFFFFFFF, counter >> 32, 0, 0], [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        word = 0xFFFFFFFF
        c = [(q >> 32) ^ c[1] ^ k[0], q & word, (p >> 32) ^ c[3] ^ k[1], p & word]
        k = [(k[0] + 0x9E3779B9) & word, (k[1] + 0xBB67AE85) & word]
    return c


def sin_cos(x: float) -> tuple[float, float]:
    if not abs(x) <= 2.0**20:
        return NAN, NAN
    k = float(round(x * C["TWO_OVER_PI"]))
    r = ((x - k * C["PI_2_HIGH"]) - k * C["PI_2_MIDDLE"]) - k * C["PI_2_LOW"]
    s, c = r * horner(C["SIN_TERMS"], r * r), horner(C["COS_TERMS"], r * r)
    return ((s, c), (c, -s), (-s, -c), (-c, s))[int(k) % 4]


def test_random_numbers() -> None:
    case = VECTORS["philox"]
    key = int(case["key"], 16)
    words = [word for i in range(4) for word in philox(i, key)]
    assert [f"{w:08x}" for w in words[:10]] == case["words"]
    assert [(w >> 8) * 2.0**-24 for w in words[:6]] == parsed(case["uniform"])
    radius = [math.sqrt(log((w + 1.0) * 2.0**-32) * -2.0) for w in words[:4]]
    turns = [sin_cos(w * 2.0**-32 * float.fromhex("0x1.921fb54442d18p+2")) for w in words[4:8]]
    normal = [r * t[1] for r, t in zip(radius, turns, strict=True)]
    normal += [r * t[0] for r, t in zip(radius, turns, strict=True)]
    assert normal[:7] == parsed(case["normal"])


def test_sine_and_cosine() -> None:
    for i, name in enumerate(("sin", "cos")):
        for x, y in parsed(VECTORS[name]):
            assert same(sin_cos(x)[i], y)


def test_powers() -> None:
    whole = {1.0, 2.0, 3.0, 4.0}
    computed = 0
    for x, y, z in parsed(VECTORS["power"]):
        if x not in {0.0, 1.0, INF} and y in whole:
            assert same(math.prod([x] * int(y)), z)
        elif x > 0 and x not in {1.0, INF} and abs(y) not in whole:
            assert same(exp(y * log(x)), z)
        elif x == 1.0:
            assert z == 1.0
        else:
            continue
        computed += 1
    assert computed >= 6


def test_the_page_is_what_the_package_computes() -> None:
    """A changed bit is a new version of the specification, never a new file alone."""
    script = [sys.executable, str(ROOT / "scripts" / "exact_vectors.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
