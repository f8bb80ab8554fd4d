"""Activations against float64: values, gradients, in-place forms, edges, narrow types."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import exact_torch
from tests.exact.float64_reference import both, close, run, same_bits, seeded

Function = Callable[[torch.Tensor], torch.Tensor]

SMOOTH: dict[str, Function] = {
    "elu": lambda x: functional.elu(x, alpha=0.75),
    "celu": lambda x: functional.celu(x, alpha=1.25),
    "selu": functional.selu,
    "softplus": functional.softplus,
    "softplus_scaled": lambda x: functional.softplus(x, beta=1.5, threshold=3),
    "mish": functional.mish,
    "logsigmoid": functional.logsigmoid,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
}
"""Computed in float64 and rounded once."""

PIECEWISE: dict[str, Function] = {
    "leaky_relu": lambda x: functional.leaky_relu(x, 0.25),
    "rrelu": lambda x: functional.rrelu(x, 0.125, 0.375, training=False),
    "hardtanh": lambda x: functional.hardtanh(x, -0.5, 0.75),
    "relu6": functional.relu6,
    "softshrink": lambda x: functional.softshrink(x, 0.75),
    "hardshrink": lambda x: functional.hardshrink(x, 0.75),
    "threshold": lambda x: functional.threshold(x, 0.25, -1.5),
}
"""Single operations; with these parameters each is exact but for one rounding."""

IN_PLACE: dict[str, tuple[Function, Function]] = {
    "elu": (lambda x: functional.elu(x, 0.75), lambda x: functional.elu_(x, 0.75)),
    "celu": (lambda x: torch.celu(x, 1.25), lambda x: torch.celu_(x, 1.25)),
    "selu": (functional.selu, torch.selu_),
    "leaky_relu": (
        lambda x: functional.leaky_relu(x, 0.25),
        lambda x: functional.leaky_relu_(x, 0.25),
    ),
    "hardtanh": (functional.hardtanh, functional.hardtanh_),
    "threshold": (
        lambda x: functional.threshold(x, 0.25, -1.5),
        lambda x: functional.threshold_(x, 0.25, -1.5),
    ),
    "mish": (functional.mish, lambda x: functional.mish(x, inplace=True)),
    "hardswish": (functional.hardswish, lambda x: functional.hardswish(x, inplace=True)),
    "hardsigmoid": (functional.hardsigmoid, lambda x: functional.hardsigmoid(x, inplace=True)),
}

VALUES = st.lists(st.floats(width=32), max_size=24).map(torch.tensor)
POSITIVE_EDGES = (0.0, 1e-45, 1e-38, 0.75, 3.0, 20.0, 88.8, 104.0, 3.4e38, float("inf"))
EDGES = torch.tensor([sign * edge for edge in POSITIVE_EDGES for sign in (1, -1)] + [float("nan")])
CHECKED = settings(max_examples=25, deadline=None)


def holds(name: str, x: torch.Tensor) -> None:
    function = (SMOOTH | PIECEWISE)[name]
    found, expected = both(function, x.float())
    assert close(found.value, expected.value)
    # what torch's own kernels give for the slope at NaN depends on their vector width
    numbers = ~x.isnan()
    slope, wanted = found.gradients[0][numbers], expected.gradients[0][numbers]
    assert close(slope, wanted)


@pytest.mark.parametrize("name", SMOOTH | PIECEWISE)
@CHECKED
@given(VALUES)
def test_value_and_gradient_are_those_of_float64(name: str, x: torch.Tensor) -> None:
    holds(name, x)


@pytest.mark.parametrize("name", SMOOTH | PIECEWISE)
def test_edges(name: str) -> None:
    holds(name, EDGES)


@pytest.mark.parametrize("name", SMOOTH | PIECEWISE)
def test_no_element_depends_on_its_neighbours(name: str) -> None:
    function = (SMOOTH | PIECEWISE)[name]
    x = torch.cat([EDGES, seeded(50, seed=3, spread=5.0)])
    with exact_torch.mode():
        together = function(x)
        alone = torch.cat([function(part) for part in x.split(1)])
        strided = function(x.repeat_interleave(3)[::3])
    assert same_bits(together, alone)
    assert same_bits(together, strided)


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_form_is_the_same(name: str) -> None:
    plain, changing = IN_PLACE[name]
    x = torch.cat([EDGES[:-3], seeded(40, seed=4, spread=4.0)])
    with exact_torch.mode():
        expected = run(plain, x)
        target = x.clone()
        result = changing(target)
        assert result.data_ptr() == target.data_ptr()
        slopes = run(lambda v: changing(v * 1), x).gradients[0]
    assert same_bits(result, expected.value)
    # elu's gradient from its result rounds elsewhere than from its argument
    assert close(slopes, expected.gradients[0].double(), relative=2.0**-20, absolute=2.0**-20)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SMOOTH | PIECEWISE)
def test_narrow_types_round_once_more(name: str, dtype: torch.dtype) -> None:
    x = seeded(200, seed=5, spread=3.0)
    found, expected = both((SMOOTH | PIECEWISE)[name], x, dtype=dtype)
    unit = torch.finfo(dtype).eps
    assert found.value.dtype is dtype
    tiny = torch.finfo(dtype).smallest_normal * unit
    assert close(found.value, expected.value, relative=unit, absolute=tiny)
    assert close(found.gradients[0], expected.gradients[0], relative=unit, absolute=tiny)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 0, 2), ()])
@pytest.mark.parametrize("name", SMOOTH | PIECEWISE)
def test_empty_and_single(name: str, shape: tuple[int, ...]) -> None:
    x = seeded(*shape, seed=6) if shape else torch.tensor(-0.3)
    found, expected = both((SMOOTH | PIECEWISE)[name], x)
    assert found.value.shape == torch.Size(shape)
    assert close(found.value, expected.value)


@CHECKED
@given(VALUES, st.floats(-2, 2, width=32))
def test_prelu(x: torch.Tensor, slope: float) -> None:
    rows = x.float().nan_to_num(0.0, 3.0, -3.0).clamp(-1e18, 1e18).reshape(1, 1, -1)
    found, expected = both(functional.prelu, rows, torch.full((1,), slope))
    assert close(found.value, expected.value)
    assert close(found.gradients[0], expected.gradients[0])
    if rows.numel():
        # an exact sum: its error is that of its largest term's grid and one rounding
        scale = float(rows.abs().max()) * 8
        assert close(found.gradients[1], expected.gradients[1], absolute=scale * 2.0**-24)


@CHECKED
@given(st.integers(0, 2**31), st.integers(0, 6), st.floats(0.01, 100.0))
def test_glu(seed: int, half: int, spread: float) -> None:
    x = seeded(3, 2 * half, seed=seed, spread=spread)
    found, expected = both(lambda v: functional.glu(v, 1), x)
    assert close(found.value, expected.value)
    assert close(found.gradients[0], expected.gradients[0], absolute=2.0**-120)


@pytest.mark.parametrize("function", [functional.softsign, functional.tanhshrink])
@CHECKED
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([1e-30, 1e-3, 1.0, 30.0]))
def test_compositions(function: Function, seed: int, spread: float) -> None:
    """Each operation is rounded, so the error is relative to the operands of differences."""
    x = seeded(40, seed=seed, spread=spread)
    found, expected = both(function, x)
    assert bool(((found.value - expected.value).abs() <= 2.0**-22 * x.abs()).all())
    assert bool(((found.gradients[0] - expected.gradients[0]).abs() <= 2.0**-19).all())


def test_zero_is_unsigned_where_torch_kernels_disagree() -> None:
    zeros = torch.tensor([0.0, -0.0] * 9)
    with exact_torch.mode():
        shrunk = functional.hardshrink(zeros)
        soft = functional.softshrink(zeros)
    assert same_bits(shrunk, torch.zeros(18))
    assert same_bits(soft, torch.zeros(18))


def test_mish_of_minus_infinity_is_nan_everywhere() -> None:
    with exact_torch.mode():
        result = run(functional.mish, torch.full((20,), float("-inf")))
    assert result.value.isnan().all()
    assert result.gradients[0].isnan().all()


def test_random_slopes_are_refused() -> None:
    with exact_torch.mode(), pytest.raises(exact_torch.UnsupportedOp, match="random slopes"):
        functional.rrelu(torch.ones(3), training=True)


def test_softplus_has_one_value_by_both_roads() -> None:
    """The engine's function has no branch; the formula with torch's default threshold has one."""
    x = torch.cat([seeded(400, seed=7, spread=12.0), torch.arange(-110.0, 110.0) / 2])
    with exact_torch.mode():
        fast = functional.softplus(x)
        branching = functional.softplus(x, beta=1.0, threshold=20.000001)
        wide = functional.softplus(x.double()).float()
    assert same_bits(fast, branching)
    assert same_bits(fast, wide)
