"""Random numbers: Philox4x32-10, keyed by torch's own generators."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch.nn import functional, init

from exact_torch.arithmetic import functions, inverse_erf, philox
from exact_torch.arithmetic.bits import F32, F64, I64, constant, exponent_of, pow2
from exact_torch.arithmetic.functions import SQRT_2, to_type
from exact_torch.engines import kernels_for
from exact_torch.errors import UnsupportedOp
from exact_torch.generators import next_key
from exact_torch.table import Rule, define, replace

Generator = torch.Generator | None

SIGNIFICANT_BITS: Final = {torch.bfloat16: 8, torch.float16: 11, F32: 24, F64: 53}
"""Bits of a uniform number in [0, 1): every one is exact, so none rounds up to 1."""

NARROW_RANGE_MAX: Final = 1 << 16
"""Integer ranges up to here take one word (bias below 2^-16), wider ones two."""

TRUNCATED_MIN: Final = 1e-6
"""Least probability between the bounds of a truncated normal distribution."""

WEIGHT_BITS: Final = 52
"""Weights of a categorical draw are integers whose sum is at most 2^53."""


# ---- uniform ------------------------------------------------------------------------------------


@define("rand", rule=Rule.RANDOM, meaning="the type's significant bits of a word over 2^bits")
def rand(
    size: Sequence[int],
    *,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Draw from [0, 1)."""
    kind = _floating("rand", dtype)
    return _unit(next_key(generator), math.prod(size), kind, device).reshape(tuple(size))


@define("rand_like", rule=Rule.RANDOM, meaning="as rand")
def rand_like(
    x: torch.Tensor,
    *,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Draw from [0, 1) in the shape of another."""
    return rand(x.shape, generator=generator, dtype=dtype or x.dtype, device=device or x.device)


@define(
    "uniform",
    rule=Rule.RANDOM,
    meaning="low + u·(high - low) in float64, u of 24 bits (float64: 53), rounded; high is low",
)
def uniform(
    x: torch.Tensor, low: float = 0.0, high: float = 1.0, *, generator: Generator = None
) -> torch.Tensor:
    """Draw from [low, high); what rounds up to high becomes low."""
    if high < low:
        raise RuntimeError(f"uniform_ expects low <= high, not {low} and {high}")
    wide = F64 if x.dtype is F64 else F32
    unit = _unit(next_key(generator), x.numel(), wide, x.device).to(F64)
    drawn = to_type(unit * (float(high) - float(low)) + float(low), x.dtype)
    first = to_type(constant(float(low), x), x.dtype)
    return torch.where(drawn.to(F64) >= high, first, drawn).reshape(x.shape)


def _unit(
    key: int, count: int, kind: torch.dtype, device: torch.device | str | None
) -> torch.Tensor:
    """Return `count` numbers in [0, 1) of a floating type."""
    device = device or "cpu"
    if kind is F64:
        return philox.uniform64(key, count, device)
    if kind is F32:
        return _uniform(key, count, device)
    bits = SIGNIFICANT_BITS[kind]
    return ((_words(key, count, device) >> (32 - bits)).to(F32) * 2.0**-bits).to(kind)


def _words(key: int, count: int, device: torch.device | str | None) -> torch.Tensor:
    place = torch.device(device or "cpu")
    return kernels_for(place).words(key, count, place)


def _uniform(key: int, count: int, device: torch.device | str | None) -> torch.Tensor:
    place = torch.device(device or "cpu")
    return kernels_for(place).uniform(key, count, place)


def _floating(op: str, dtype: torch.dtype | None) -> torch.dtype:
    kind = dtype or torch.get_default_dtype()
    if kind not in SIGNIFICANT_BITS:
        raise UnsupportedOp(f"aten::{op}", f"no {kind} is drawn; draw float32 and convert it")
    return kind


# ---- normal -------------------------------------------------------------------------------------

_NORMAL = "mean + std·z in float64, z by Box and Muller, rounded once"


@define("randn", rule=Rule.RANDOM, meaning="z by Box and Muller in float64, rounded once")
def randn(
    size: Sequence[int],
    *,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Draw from the standard normal distribution."""
    kind = _floating("randn", dtype)
    return _drawn(size, kind, generator, device, lambda z: z)


@define("randn_like", rule=Rule.RANDOM, meaning="as randn")
def randn_like(
    x: torch.Tensor,
    *,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Draw from the standard normal distribution in the shape of another."""
    return randn(x.shape, generator=generator, dtype=dtype or x.dtype, device=device or x.device)


@define("normal_", rule=Rule.RANDOM, meaning=_NORMAL)
def normal_(
    x: torch.Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator = None
) -> torch.Tensor:
    """Fill with normal numbers."""
    return x.copy_(_normal_like(x, mean, std, generator))


@define("normal_functional", rule=Rule.RANDOM, meaning=_NORMAL)
def normal_functional(
    x: torch.Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator = None
) -> torch.Tensor:
    """Return normal numbers in the shape of another tensor."""
    return _normal_like(x, mean, std, generator)


@define("normal", rule=Rule.RANDOM, meaning=_NORMAL)
def normal(
    mean: torch.Tensor | float,
    std: torch.Tensor | float = 1.0,
    size: Sequence[int] | None = None,
    *,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Draw with a mean and a standard deviation an element, or the same for all of a size."""
    tensors = [a for a in (mean, std) if isinstance(a, torch.Tensor)]
    if not tensors:
        kind = _floating("normal", dtype)
        return _drawn(size or (), kind, generator, device, lambda z: _scaled(z, mean, std))
    shape = torch.broadcast_shapes(*(a.shape for a in tensors))
    kind = _floating("normal", torch.result_type(mean, std))
    return to_type(_scaled(_standard(shape, generator, tensors[0].device), mean, std), kind)


@define("log_normal_", rule=Rule.RANDOM, meaning="e^(mean + std·z) in float64, rounded once")
def log_normal_(
    x: torch.Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator = None
) -> torch.Tensor:
    """Fill with log-normal numbers."""
    drawn = _scaled(_standard(x.shape, generator, x.device), mean, std)
    return x.copy_(to_type(functions.exp64(drawn), x.dtype))


def _normal_like(x: torch.Tensor, mean: float, std: float, generator: Generator) -> torch.Tensor:
    return _drawn(x.shape, x.dtype, generator, x.device, lambda z: _scaled(z, mean, std))


def _drawn(
    size: Sequence[int],
    kind: torch.dtype,
    generator: Generator,
    device: torch.device | None,
    change: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Return changed standard normal numbers of a type; float64 is made in small pieces only."""
    count = math.prod(size)
    result = torch.empty(count, dtype=kind, device=device)
    for where, z in philox.normal_pieces(next_key(generator), count, device or "cpu"):
        result[where] = to_type(change(z), kind)
    return result.reshape(tuple(size))


def _standard(
    size: Sequence[int], generator: Generator, device: torch.device | None
) -> torch.Tensor:
    """Return standard normal float64."""
    count = math.prod(size)
    return philox.normal(next_key(generator), count, device or "cpu").reshape(tuple(size))


def _scaled(z: torch.Tensor, mean: torch.Tensor | float, std: torch.Tensor | float) -> torch.Tensor:
    mean = mean.to(F64) if isinstance(mean, torch.Tensor) else constant(float(mean), z)
    std = std.to(F64) if isinstance(std, torch.Tensor) else constant(float(std), z)
    if bool((std < 0).any()):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    return mean + std * z


@define("erfinv", rule=Rule.FUNCTION, meaning="Giles's polynomials in -ln(1 - x²), float64")
def erfinv(x: torch.Tensor) -> torch.Tensor:
    """Return the inverse of erf."""
    floating = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    return functions.rounded(inverse_erf.erfinv, floating)


@replace(
    init._no_grad_trunc_normal_,
    rule=Rule.RANDOM,
    meaning="mean + std·√2·erfinv(2q - 1), q uniform between the bounds' probabilities, in "
    "float64, rounded once, then limited to the bounds",
)
def truncated_normal(
    tensor: torch.Tensor,
    mean: float,
    std: float,
    a: float,
    b: float,
    generator: Generator = None,
) -> torch.Tensor:
    """Fill with normal numbers between a and b; torch's own way differs between its versions."""
    with torch.no_grad():
        return tensor.copy_(_truncated(tensor, mean, std, a, b, generator))


def _truncated(
    x: torch.Tensor, mean: float, std: float, a: float, b: float, generator: Generator
) -> torch.Tensor:
    with torch.utils._python_dispatch._disable_current_modes():
        ends = torch.tensor([a, b], dtype=F64)
        low, high = functions.normal_cdf((ends - constant(mean, ends)) / constant(std, ends))
        if not high - low >= TRUNCATED_MIN:
            raise UnsupportedOp("trunc_normal_", f"[{a}, {b}] lies too far from the mean", (x,))
        drawn = philox.uniform64(next_key(generator), x.numel(), x.device).reshape(x.shape)
        q = drawn * (high - low).to(x.device) + low.to(x.device)
        root = constant(SQRT_2, q)
        z = inverse_erf.erfinv((q + q) - torch.ones_like(q)) * root
        return to_type((z * constant(std, q) + constant(mean, q)).clamp(a, b), x.dtype).clamp(a, b)


# ---- other distributions ------------------------------------------------------------------------


@define("exponential_", rule=Rule.RANDOM, meaning="-ln((word + ½)/2^32)/λ in float64, rounded once")
def exponential_(
    x: torch.Tensor, lambd: float = 1.0, *, generator: Generator = None
) -> torch.Tensor:
    """Fill with exponentially distributed numbers, never zero in float32."""
    if lambd <= 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd}")
    drawn = _exponential(next_key(generator), x.numel(), x.device) / constant(float(lambd), x)
    return x.copy_(to_type(drawn, x.dtype).reshape(x.shape))


def _exponential(key: int, count: int, device: torch.device) -> torch.Tensor:
    """Return float64 of mean 1, above 1e-10."""
    words = _words(key, count, device).to(F64)
    return -functions.log64((words + 0.5) * 2.0**-32)


@define("bernoulli", rule=Rule.RANDOM, meaning="1 where word/2^32 < p")
def bernoulli(
    x: torch.Tensor, p: torch.Tensor | float | None = None, *, generator: Generator = None
) -> torch.Tensor:
    """Draw ones with probability p, or with the elements of x as probabilities."""
    return _bernoulli(x, x if p is None else p, generator).to(x.dtype)


@define("bernoulli_", rule=Rule.RANDOM, meaning="1 where word/2^32 < p")
def bernoulli_(
    x: torch.Tensor, p: torch.Tensor | float = 0.5, *, generator: Generator = None
) -> torch.Tensor:
    """Fill with ones with probability p, else zeros."""
    return x.copy_(_bernoulli(x, p, generator))


def _bernoulli(x: torch.Tensor, p: torch.Tensor | float, generator: Generator) -> torch.Tensor:
    """Return booleans in x's shape."""
    chance = p.to(F64) if isinstance(p, torch.Tensor) else constant(float(p), x)
    if not bool(((chance >= 0) & (chance <= 1)).all()):
        raise RuntimeError("bernoulli expects every p to be in [0, 1]")
    words = _words(next_key(generator), x.numel(), x.device).reshape(x.shape)
    return words.to(F64) * 2.0**-32 < chance


@define(
    "multinomial",
    rule=Rule.RANDOM,
    meaning="with replacement: u against the running integer sum of the weights on a grid of "
    "2^-39 of the largest; without: the largest weight/(exponential number)",
)
def multinomial(
    weights: torch.Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator = None,
) -> torch.Tensor:
    """Draw indices of weights (n,) or (rows, n) as int64 (num_samples,) or (rows, num_samples)."""
    rows = weights.reshape(-1, weights.shape[-1]).to(F64)
    positive = (rows > 0).sum(-1)
    needed = 1 if replacement else num_samples
    if not bool((torch.isfinite(rows) & (rows >= 0)).all()) or bool((positive < needed).any()):
        raise RuntimeError(
            "multinomial expects finite weights >= 0 with enough of them above 0 in each row"
        )
    draw = _with_replacement if replacement else _without_replacement
    drawn = draw(rows, num_samples, next_key(generator))
    return drawn.reshape(*weights.shape[:-1], num_samples)


def _with_replacement(rows: torch.Tensor, count: int, key: int) -> torch.Tensor:
    largest = rows.amax(-1, keepdim=True)
    grid = min(39, WEIGHT_BITS - 1 - max(rows.shape[-1] - 1, 0).bit_length())
    # in two steps: the scale alone may be out of float64's range
    exponent = exponent_of(largest)
    half = exponent >> 1
    integers = torch.round(rows * pow2(-half) * pow2(half - exponent + grid)).to(I64)
    running = integers.cumsum(-1)
    total = running[:, -1:]
    unit = philox.uniform64(key, rows.shape[0] * count, rows.device).reshape(-1, count)
    target = torch.minimum(torch.floor(unit * total.to(F64)).to(I64), total - 1)
    return torch.searchsorted(running, target, right=True)


def _without_replacement(rows: torch.Tensor, count: int, key: int) -> torch.Tensor:
    """The order of weight/exponential is that of drawing one by one (Efraimidis and Spirakis)."""
    waiting = _exponential(key, rows.numel(), rows.device).reshape(rows.shape)
    order = torch.sort(rows / waiting, dim=-1, descending=True, stable=True).indices
    return order[:, :count].contiguous()


def _refused(name: str, advice: str) -> None:
    @define(name, rule=Rule.RANDOM, meaning=f"refused: {advice}")
    def run(*args: Any, **kwargs: Any) -> torch.Tensor:
        raise UnsupportedOp(f"aten::{name}", advice, (*args, *kwargs.values()))


_refused("geometric_", "write torch.ceil(torch.rand_like(x).log() / log(1 - p))")
_refused("cauchy_", "write median + sigma * torch.tan(pi * (torch.rand_like(x) - 0.5))")
_refused("poisson", "no definition; count exponential waiting times")
_refused("binomial", "no definition; sum torch.bernoulli over a dimension of trials")


# ---- integers -----------------------------------------------------------------------------------


@define("randint", rule=Rule.RANDOM, meaning="low + word mod range; two words beyond 2^16")
def randint(
    *bounds_and_size: Any,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Draw from low (0) to below high."""
    *bounds, size = bounds_and_size
    low, high = (0, bounds[0]) if len(bounds) == 1 else bounds
    drawn = _integers(next_key(generator), math.prod(size), low, high, device or "cpu")
    return drawn.reshape(tuple(size)).to(dtype or I64)


@define("randint_like", rule=Rule.RANDOM, meaning="as randint")
def randint_like(
    x: torch.Tensor,
    *bounds: int,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Draw from low (0) to below high in the shape of another."""
    whole = [int(bound) for bound in bounds]
    kind, where = dtype or x.dtype, device or x.device
    return randint(*whole, x.shape, generator=generator, dtype=kind, device=where)


_LARGEST: Final = {
    torch.bool: 1,
    torch.bfloat16: 1 << 8,
    torch.float16: 1 << 11,
    F32: 1 << 24,
    F64: 1 << 53,
}
"""Largest number that random_ fills these types with; integer types have their own largest."""


@define("random_", "random", rule=Rule.RANDOM, meaning="as randint; by default every integer >= 0")
def random(x: torch.Tensor, *bounds: int | None, generator: Generator = None) -> torch.Tensor:
    """Fill with integers from low (0) to below high, or of the whole range of the type."""
    drawn = _random(x, bounds, next_key(generator))
    return x.copy_(drawn.reshape(x.shape))


def _random(x: torch.Tensor, bounds: tuple[int | None, ...], key: int) -> torch.Tensor:
    largest = _LARGEST[x.dtype] if x.dtype in _LARGEST else torch.iinfo(x.dtype).max
    low, high = 0, None
    if len(bounds) == 1:
        high = bounds[0]
    elif bounds:
        low, high = bounds[0] or 0, bounds[1]
    if high is None and low == -(2**63):
        both = _words(key, 2 * x.numel(), x.device).reshape(-1, 2)
        return (both[:, 0] << 32) | both[:, 1]
    return _integers(key, x.numel(), low, largest + 1 if high is None else high, x.device)


@define("randperm", rule=Rule.RANDOM, meaning="the stable order of n random 63-bit keys")
def randperm(
    n: int,
    *,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Shuffle 0 to n - 1."""
    keys = _wide(next_key(generator), n, device or "cpu")
    return torch.sort(keys, stable=True).indices.to(dtype or I64)


def _integers(
    key: int, count: int, low: int, high: int, device: torch.device | str
) -> torch.Tensor:
    """Return int64 in [low, high)."""
    if high <= low:
        raise RuntimeError(f"random integers expect low < high, not {low} and {high}")
    span = high - low
    if span <= NARROW_RANGE_MAX:
        return _words(key, count, device) % span + low
    drawn = _wide(key, count, device)
    return (drawn if span == 2**63 else drawn % _span(span)) + low


def _span(span: int) -> int:
    if span > 2**63:
        raise UnsupportedOp("random integers", "of a range beyond 2^63; draw two and combine them")
    return span


def _wide(key: int, count: int, device: torch.device | str) -> torch.Tensor:
    """Return int64 in [0, 2^63): 32 bits of one word, 31 of the next."""
    both = _words(key, 2 * count, device).reshape(-1, 2)
    return (both[:, 0] << 31) | (both[:, 1] >> 1)


# ---- dropout ------------------------------------------------------------------------------------


@define("native_dropout", rule=Rule.RANDOM, meaning="x·(1/(1 - p)) where word/2^32 < 1 - p, else 0")
def native_dropout(
    x: torch.Tensor, p: float, train: bool | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Drop elements; returns the result and which were kept."""
    if train is False or p == 0.0:
        return x.clone(), torch.ones_like(x, dtype=torch.bool)
    kept = _bernoulli(x, 1.0 - p, None)
    return _kept(x, kept, 0.0 if p == 1.0 else 1.0 / (1.0 - p)), kept


@define("native_dropout_backward", rule=Rule.RANDOM, meaning="g·scale where kept, else 0")
def native_dropout_backward(g: torch.Tensor, kept: torch.Tensor, scale: float) -> torch.Tensor:
    """Differentiate dropout."""
    return _kept(g, kept, scale)


def _kept(x: torch.Tensor, kept: torch.Tensor, scale: float) -> torch.Tensor:
    """Return x·scale where kept, else +0; half precisions through float32."""
    wide = x if x.dtype is F64 else x.to(F32)
    scaled = wide * torch.full((), scale, dtype=wide.dtype, device=x.device)
    return torch.where(kept, scaled, torch.zeros_like(scaled)).to(x.dtype)


@replace(
    functional.dropout,
    rule=Rule.RANDOM,
    meaning="x·(1/(1 - p)) where word/2^32 < 1 - p, else 0; nothing is drawn for p = 0",
)
def dropout(
    input: torch.Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> torch.Tensor:
    """Drop elements in training."""
    _check_probability(p)
    if not training or p == 0.0:
        return input
    return _returned(input, torch.native_dropout(input, p, True)[0], inplace=inplace)


def _feature_dropout(name: str, unbatched_dim: int | None) -> None:
    @replace(
        getattr(functional, name), rule=Rule.RANDOM, meaning="x times dropout of ones a channel"
    )
    def run(
        input: torch.Tensor,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> torch.Tensor:
        """Drop whole channels in training."""
        _check_probability(p)
        if not training or p == 0.0:
            return input
        batched = input.unsqueeze(0) if input.dim() == unbatched_dim else input
        result = batched * functional.dropout(_channels(batched), p)
        return _returned(input, result.reshape(input.shape), inplace=inplace)


# dropout2d takes 3 dimensions as a batch of one-dimensional features, for history's sake
_feature_dropout("dropout1d", 2)
_feature_dropout("dropout2d", None)
_feature_dropout("dropout3d", 4)

ALPHA: Final = 1.7580993408473766
"""Minus the limit of SELU at -inf (Klambauer et al., arXiv:1706.02515)."""


def _alpha_dropout(name: str, noise_of: Callable[[torch.Tensor], torch.Tensor]) -> None:
    @replace(
        getattr(functional, name),
        rule=Rule.RANDOM,
        meaning="a·x where kept, else -1.758…·a, plus 1.758…·a·p; a = ((1 + 1.758…²p)(1 - p))^-½",
    )
    def run(
        input: torch.Tensor,
        p: float = 0.5,
        training: bool = False,
        inplace: bool = False,
    ) -> torch.Tensor:
        """Drop to the negative limit of SELU, keeping mean and variance."""
        _check_probability(p)
        if not training or p == 0.0:
            return input
        if p == 1.0:
            return _returned(input, input * 0.0, inplace=inplace)
        scale = 1.0 / math.sqrt((ALPHA * ALPHA * p + 1.0) * (1.0 - p))
        kept = noise_of(input).bernoulli_(1.0 - p).to(torch.bool)
        dropped = torch.full((), -ALPHA * scale, dtype=input.dtype, device=input.device)
        result = torch.where(kept, input * scale, dropped) + ALPHA * scale * p
        return _returned(input, result, inplace=inplace)


def _channels(x: torch.Tensor) -> torch.Tensor:
    """Return ones, one for each channel (dimension 1) of each sample."""
    return torch.ones((*x.shape[:2], *[1] * (x.dim() - 2)), dtype=x.dtype, device=x.device)


_alpha_dropout("alpha_dropout", lambda x: torch.empty_like(x, requires_grad=False))
_alpha_dropout("feature_alpha_dropout", _channels)


def _torch_dropout(name: str, run: Callable[..., torch.Tensor]) -> None:
    """Replace a function of `torch`, and its in-place form, by the one of `functional`."""
    for suffix, inplace in (("", False), ("_", True)):
        _replace_by(getattr(torch, name + suffix), run, inplace=inplace)


def _replace_by(function: Any, run: Callable[..., torch.Tensor], *, inplace: bool) -> None:
    @replace(function, rule=Rule.RANDOM, meaning=f"as functional.{run.__name__}")
    def called(input: torch.Tensor, p: float, train: bool) -> torch.Tensor:
        return run(input, p, train, inplace)


_torch_dropout("dropout", functional.dropout)
_torch_dropout("feature_dropout", functional.dropout2d)
_torch_dropout("alpha_dropout", functional.alpha_dropout)
_torch_dropout("feature_alpha_dropout", functional.feature_alpha_dropout)


def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _returned(original: torch.Tensor, result: torch.Tensor, *, inplace: bool) -> torch.Tensor:
    return original.copy_(result) if inplace else result
