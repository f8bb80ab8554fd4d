"""Functions, sums, softmax and norms: against float64 and rationals, C++ against the reference."""

import functools
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from exact_torch import EngineRefused
from exact_torch.arithmetic import functions, philox, sums
from exact_torch.engines import ENGINES
from exact_torch.kernels import BINARY, UNARY, TorchKernels
from exact_torch.self_test import check_kernels

REFERENCE = TorchKernels()
ANY_FLOAT = st.floats(width=32)
EXAMPLES = settings(max_examples=80, deadline=None)
TRUTHS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "exp": torch.exp,
    "log": torch.log,
    "log1p": torch.log1p,
    "expm1": torch.expm1,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}


@functools.cache
def native() -> TorchKernels:
    try:
        kernels = ENGINES["native"]()
    except EngineRefused as refusal:
        pytest.skip(f"the native engine cannot be built here: {refusal}")
    check_kernels(kernels, torch.device("cpu"))  # one that is not exact fails the test
    return kernels


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors have the same bits, NaN included: kernels make it canonical."""
    kind = {4: torch.int32, 8: torch.int64, 2: torch.int16}[a.element_size()]
    return a.dtype is b.dtype and a.shape == b.shape and torch.equal(a.view(kind), b.view(kind))


def same_values(a: torch.Tensor, b: torch.Tensor) -> bool:
    nan = torch.isnan(a) & torch.isnan(b)
    return bool((nan | (a == b)).all()) and bool((torch.signbit(a) == torch.signbit(b))[~nan].all())


@functools.cache
def float32s() -> torch.Tensor:
    """Return every 16,411th float32 (a quarter million of all kinds), and a dense middle."""
    patterns = torch.arange(-(2**31), 2**31, 16411, dtype=torch.int64).to(torch.int32)
    return torch.cat([patterns.view(torch.float32), torch.linspace(-20, 20, 50_001)])


def distance_ulps(got: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return how many float32 lie between results and the rounded truth, for finite ones."""
    rounded = truth.to(torch.float32)
    usable = torch.isfinite(rounded) & torch.isfinite(got)
    a, b = (x[usable].view(torch.int32).to(torch.int64) for x in (got, rounded))
    a, b = (torch.where(x < 0, -(x & 0x7FFFFFFF), x) for x in (a, b))
    return (a - b).abs()


@pytest.mark.parametrize("name", sorted(set(UNARY) - {"gelu", "softplus"}))
def test_functions_are_rounded_rightly(name: str) -> None:
    x = float32s()
    got, truth = REFERENCE.unary(name, x), TRUTHS[name](x.double())
    distance = distance_ulps(got, truth)
    assert int(distance.max()) <= 1
    assert float((distance == 0).double().mean()) > 0.9985
    assert bool((torch.isnan(got) == torch.isnan(truth.float())).all())
    infinite = torch.isinf(truth.float())
    assert torch.equal(got[infinite], truth.float()[infinite])


@pytest.mark.parametrize(("name", "bound"), [("gelu", 5e-8), ("softplus", 1e-10)])
def test_functions_with_an_absolute_error(name: str, bound: float) -> None:
    """gelu's tail is 0 from -4·sqrt(2) on; softplus is exact in float64 to the last rounding."""
    x = torch.linspace(-60, 60, 300_001)
    got, truth = REFERENCE.unary(name, x).double(), TRUTHS[name](x.double())
    assert bool(((got - truth).abs() <= bound + truth.abs() * 2.0**-23).all())


@pytest.mark.parametrize("name", sorted(UNARY))
def test_native_functions_are_the_reference(name: str) -> None:
    x = float32s()
    assert same_values(native().unary(name, x), REFERENCE.unary(name, x))
    for kind in (torch.bfloat16, torch.float16):
        half = x.to(kind)
        assert same_values(native().unary(name, half), REFERENCE.unary(name, half))


@pytest.mark.parametrize("name", sorted(BINARY))
def test_native_gradients_are_the_reference(name: str) -> None:
    x = float32s()
    g = x.flip(0).contiguous()
    assert same_values(native().binary(name, g, x), REFERENCE.binary(name, g, x))


@pytest.mark.parametrize("name", ["gelu_backward", "silu_backward"])
def test_gradients_are_those_of_the_function(name: str) -> None:
    x = torch.linspace(-8, 8, 50_001, dtype=torch.float64, requires_grad=True)
    TRUTHS[name.removesuffix("_backward")](x).sum().backward()
    got = REFERENCE.binary(name, torch.ones(len(x)), x.detach().float())
    assert x.grad is not None
    assert float((got.double() - x.grad).abs().max()) < 2e-7


def test_sine_and_cosine() -> None:
    x = torch.cat([torch.linspace(-100, 100, 200_001), torch.linspace(-1e6, 1e6, 100_001)]).double()
    sine, cosine = functions.sin_cos(x)
    assert float((sine - torch.sin(x)).abs().max()) < 1e-9
    assert float((cosine - torch.cos(x)).abs().max()) < 1e-9
    beyond = torch.tensor([2.0**21, float("inf"), float("nan")], dtype=torch.float64)
    assert bool(torch.isnan(functions.sin_cos(beyond)[0]).all())


@EXAMPLES
@given(x=ANY_FLOAT, y=st.one_of(ANY_FLOAT, st.integers(-9, 9).map(float), st.just(0.5)))
def test_powers(x: float, y: float) -> None:
    arguments = (torch.tensor(v, dtype=torch.float64) for v in (x, y))
    got = functions.power(*arguments).float()
    truth = torch.pow(torch.tensor(x, dtype=torch.float64), y).float()
    if np.isnan(float(truth)):
        assert np.isnan(float(got))
    elif np.isinf(float(truth)) or float(truth) == 0:
        assert same_values(got.reshape(1), truth.reshape(1)) or abs(float(got)) in (
            pytest.approx(3.4028235e38, rel=1e-6), pytest.approx(0, abs=1e-44),
        )  # fmt: skip
    else:
        assert float(got) == pytest.approx(float(truth), rel=3e-7, abs=3e-45)


# ---- sums ----------------------------------------------------------------------------------------


def rational_sum(terms: list[float]) -> float:
    """Return the sum by the definition: integers on the grid of the largest."""
    largest = max(abs(Fraction(t)) for t in terms)
    if not largest:
        return 0.0
    exponent = max(int(np.frexp(float(largest))[1]) - 1, -400)
    grid = sums.grid_bits(len(terms))
    unit = Fraction(2) ** (exponent - grid)
    return float(Fraction(float(sum(round(Fraction(t) / unit) for t in terms))) * unit)


@EXAMPLES
@given(
    terms=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30
    )
)
def test_a_sum_is_what_the_definition_says(terms: list[float]) -> None:
    expected = rational_sum(terms)
    x = torch.tensor(terms)
    for kernels in (REFERENCE, native()):
        assert float(kernels.sum(x, (0,), keepdim=False)) == expected
        assert float(kernels.sum(x.unsqueeze(1), (0,), keepdim=False)) == expected


@EXAMPLES
@given(
    x=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=6),
        elements=ANY_FLOAT,
    ),
    data=st.data(),
)  # fmt: skip
def test_native_sums_are_the_reference(x: np.ndarray, data: st.DataObject) -> None:
    dims = tuple(data.draw(st.sets(st.integers(0, x.ndim - 1), min_size=1)))
    tensor = torch.from_numpy(x.copy())
    for keepdim in (False, True):
        for values in (tensor, tensor.double(), tensor.transpose(0, -1)):
            expected = REFERENCE.sum(values, dims, keepdim=keepdim)
            assert same_values(native().sum(values, dims, keepdim=keepdim), expected)


def test_sums_do_not_depend_on_order() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(100_000, generator=generator) * torch.exp(
        6 * torch.randn(100_000, generator=generator)
    )
    first = native().sum(x, (0,), keepdim=False)
    for seed in range(5):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        assert same_bits(native().sum(x[order], (0,), keepdim=False), first)
    assert float(first) == pytest.approx(float(x.double().sum()), rel=1e-10)


def test_special_terms_follow_ieee() -> None:
    inf, nan = float("inf"), float("nan")
    rows = torch.tensor([[1.0, inf], [-inf, 2.0], [inf, -inf], [nan, 1.0], [3.0, 4.0]])
    for kernels in (REFERENCE, native()):
        got = kernels.sum(rows, (1,), keepdim=False)
        assert got[:2].tolist() == [inf, -inf]
        assert bool(torch.isnan(got[2:4]).all())
        assert float(got[4]) == 7.0


# ---- rows ----------------------------------------------------------------------------------------

MATRICES = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=ANY_FLOAT
)


@EXAMPLES
@given(x=MATRICES, log=st.booleans(), hollow=st.booleans())
def test_native_softmax_is_the_reference(x: np.ndarray, *, log: bool, hollow: bool) -> None:
    rows = torch.from_numpy(x.copy())
    expected = REFERENCE.softmax(rows, log=log, empty_rows_are_zero=hollow)
    assert same_values(native().softmax(rows, log=log, empty_rows_are_zero=hollow), expected)


@EXAMPLES
@given(g=MATRICES, log=st.booleans(), data=st.data())
def test_native_softmax_gradients_are_the_reference(
    g: np.ndarray, data: st.DataObject, *, log: bool
) -> None:
    y = data.draw(hnp.arrays(np.float32, g.shape, elements=ANY_FLOAT))
    args = (torch.from_numpy(g.copy()), torch.from_numpy(y.copy()))
    expected = REFERENCE.softmax_backward(*args, log=log)
    assert same_values(native().softmax_backward(*args, log=log), expected)


@pytest.mark.parametrize("log", [False, True])
def test_softmax_is_close_to_float64(log: bool) -> None:
    x = torch.randn(50, 300, generator=torch.Generator().manual_seed(2)) * 10
    truth = torch.log_softmax(x.double(), -1) if log else torch.softmax(x.double(), -1)
    got = native().softmax(x, log=log, empty_rows_are_zero=False)
    # a logarithm near 0 keeps the grid's absolute error
    assert bool(((got - truth).abs() <= 1e-11 + truth.abs() * 2.0**-23).all())


def test_a_row_of_minus_infinity() -> None:
    x = torch.full((2, 3), -float("inf"))
    x[1, 1] = 0.0
    for kernels in (REFERENCE, native()):
        plain = kernels.softmax(x, log=False, empty_rows_are_zero=False)
        assert bool(torch.isnan(plain[0]).all())
        hollow = kernels.softmax(x, log=False, empty_rows_are_zero=True)
        assert hollow.tolist() == [[0, 0, 0], [0, 1, 0]]


@EXAMPLES
@given(x=MATRICES, data=st.data())
def test_native_layer_norm_is_the_reference(x: np.ndarray, data: st.DataObject) -> None:
    rows = torch.from_numpy(x.copy())
    vector = hnp.arrays(np.float32, (x.shape[1],), elements=st.floats(-4, 4, width=32))
    weight, bias = (
        torch.from_numpy(data.draw(vector)) if data.draw(st.booleans()) else None for _ in range(2)
    )
    expected = REFERENCE.layer_norm(rows, weight, bias, 1e-5)
    got = native().layer_norm(rows, weight, bias, 1e-5)
    assert all(same_values(a, b) for a, b in zip(got, expected, strict=True))
    g = torch.from_numpy(data.draw(hnp.arrays(np.float32, x.shape, elements=ANY_FLOAT)))
    arguments = (g, rows, expected[1], expected[2], weight)
    gradients = REFERENCE.layer_norm_backward(*arguments)
    for a, b in zip(native().layer_norm_backward(*arguments), gradients, strict=True):
        assert same_values(a, b)


def test_layer_norm_is_close_to_float64() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(64, 200, generator=generator) * 3 + 100
    weight, bias = torch.randn(200, generator=generator), torch.randn(200, generator=generator)
    x64 = x.double().requires_grad_()
    truth = torch.nn.functional.layer_norm(x64, (200,), weight.double(), bias.double())
    y, mean, rstd = native().layer_norm(x, weight, bias, 1e-5)
    assert float((y - truth.detach()).abs().max()) < 1e-6
    g = torch.randn(64, 200, generator=generator)
    truth.backward(g.double())
    dx, dweight, dbias = native().layer_norm_backward(g, x, mean, rstd, weight)
    assert x64.grad is not None
    assert float((dx - x64.grad).abs().max()) < 1e-5
    assert float((dbias - g.double().sum(0)).abs().max()) < 1e-5
    normal = (x.double() - x.double().mean(1, keepdim=True)) * rstd.double().unsqueeze(1)
    assert float((dweight - (g * normal).sum(0)).abs().max()) < 1e-3


STATES = hnp.arrays(np.float32, (4, 40), elements=st.floats(-1e5, 1e5, width=32))


@EXAMPLES
@given(
    x=STATES,
    step=st.integers(1, 1000),
    decay=st.sampled_from([0.0, 0.1]),
    decoupled=st.booleans(),
    amsgrad=st.booleans(),
)
def test_native_adam_is_the_reference(
    x: np.ndarray, step: int, decay: float, *, decoupled: bool, amsgrad: bool
) -> None:
    results = []
    for kernels in (REFERENCE, native()):
        parameter, gradient, first, second = torch.from_numpy(x.copy())
        second.abs_()
        largest = second.flip(0).contiguous() if amsgrad else None
        kernels.adam_step(
            parameter, gradient, first, second, largest=largest, step=step, lr=0.0625,
            beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=decay, decoupled=decoupled,
        )  # fmt: skip
        results.append([parameter, first, second, *([] if largest is None else [largest])])
    assert all(same_values(a, b) for a, b in zip(*results, strict=True))


@EXAMPLES
@given(x=STATES, first=st.booleans(), decay=st.sampled_from([0.0, 0.1]), nesterov=st.booleans())
def test_native_sgd_is_the_reference(
    x: np.ndarray, decay: float, *, first: bool, nesterov: bool
) -> None:
    for momentum in (0.0, 0.9):
        results = []
        for kernels in (REFERENCE, native()):
            parameter, gradient, buffer, _ = torch.from_numpy(x.copy())
            kernels.sgd_step(
                parameter, gradient, buffer if momentum else None, first=first, lr=0.5,
                momentum=momentum, dampening=0.0, weight_decay=decay, nesterov=nesterov,
            )  # fmt: skip
            results.append([parameter, buffer])
        assert all(same_values(a, b) for a, b in zip(*results, strict=True))


def test_threads_do_not_change_a_bit() -> None:
    generator = torch.Generator().manual_seed(4)
    x, w = torch.randn(300, 257, generator=generator), torch.randn(257, generator=generator)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y, mean, rstd = native().layer_norm(x, w, w, 1e-5)
            results.append(
                [
                    y,
                    *native().layer_norm_backward(x, x, mean, rstd, w),
                    native().sum(x, (0,), keepdim=False),
                    native().sum(x, (0, 1), keepdim=False),
                    native().softmax(x, log=True, empty_rows_are_zero=False),
                ]
            )
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(same_bits(a, b) for a, b in zip(results[0], other, strict=True))


# ---- random numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers(
    counter: tuple[int, ...], key: tuple[int, int], expected: str
) -> None:
    """The known-answer tests of Random123, the authors' own library."""
    words = philox.blocks(tuple(torch.tensor([c]) for c in counter), key)
    assert " ".join(f"{int(word):08x}" for word in words) == expected


def test_uniform_and_normal_look_it() -> None:
    uniform = philox.uniform(12345, 200_000, "cpu")
    assert 0 <= float(uniform.min()) < 1e-4
    assert 1 - 1e-4 < float(uniform.max()) < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.003)
    normal = philox.normal(54321, 200_001, "cpu")
    assert len(normal) == 200_001
    assert float(normal.mean()) == pytest.approx(0, abs=0.01)
    assert float(normal.std()) == pytest.approx(1, abs=0.01)
