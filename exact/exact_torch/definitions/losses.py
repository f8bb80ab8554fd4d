"""Losses.

Those that torch has as one op are float64 formulas with one rounding. The others are compositions
of defined ops, written here so that no release of torch can change them.
"""

import math
from collections.abc import Callable

import torch
from torch.nn import _reduction, functional

from exact_torch.arithmetic import functions
from exact_torch.arithmetic.bits import F64, constant
from exact_torch.arithmetic.functions import to_type
from exact_torch.definitions.reductions import sum64
from exact_torch.table import Rule, define, replace

MEAN, SUM = 1, 2
"""Torch's numbers for its reductions; 0 is none."""

_LOG_MIN = -100.0
"""binary_cross_entropy takes no logarithm below it, as torch: 0·ln 0 counts as 0."""

_BCE_DENOMINATOR_MIN = 1e-12
_COSINE_EPS = 1e-12


def _reduced(
    values: torch.Tensor, reduction: int, kind: torch.dtype, count: torch.Tensor | None = None
) -> torch.Tensor:
    """Reduce float64 values and round once; a mean divides by `count`, or by how many they are."""
    if reduction not in (MEAN, SUM):
        return to_type(values, kind)
    total = sum64(values, tuple(range(values.dim())))
    if reduction == MEAN:
        total = total / (constant(float(values.numel()), values) if count is None else count)
    return to_type(total, kind)


def _share(g: torch.Tensor, reduction: int, count: int) -> torch.Tensor:
    """Return what of the gradient each of `count` values gets, float64."""
    wide = g.to(F64)
    return wide / constant(float(count), wide) if reduction == MEAN else wide


def _of_clean(compute: Callable[..., torch.Tensor], *operands: torch.Tensor) -> torch.Tensor:
    """Return compute of broadcast float64 operands; NaN where any of them is NaN."""
    shape = _shape(*operands)
    wide = [operand.to(F64).expand(shape) for operand in operands]
    nan = torch.isnan(wide[0])
    for operand in wide[1:]:
        nan = nan | torch.isnan(operand)
    result = compute(*(torch.where(nan, torch.zeros_like(o), o) for o in wide))
    return torch.where(nan, torch.full_like(result, float("nan")), result)


def _shape(*operands: torch.Tensor) -> torch.Size:
    """Return the shape that operands broadcast to."""
    shapes = (operand.shape for operand in operands)
    shape: torch.Size = torch.broadcast_shapes(*shapes)
    return shape


# ---- negative log-likelihood ---------------------------------------------------------------------


@define(
    "nll_loss_forward",
    "nll_loss2d_forward",
    rule=Rule.SUM,
    meaning="-w[t]·x[t]; the mean is sum/(sum of w[t]) in float64; ignored targets count nothing",
)
def nll_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: int,
    ignore_index: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the log-likelihood of the target class; returns the loss and the total weight."""
    rows, classes = _with_batch(x, target)
    places, weights = _weights(classes, rows, weight, ignore_index)
    picked = rows.gather(1, places).squeeze(1).to(F64)
    # an ignored place may hold an infinity
    losses = torch.where(classes == ignore_index, torch.zeros_like(picked), -picked * weights)
    total = sum64(weights, tuple(range(weights.dim())))
    if reduction not in (MEAN, SUM):
        return to_type(losses.reshape(target.shape), x.dtype), x.new_zeros(())
    return _reduced(losses, reduction, x.dtype, total), to_type(total, x.dtype)


@define(
    "nll_loss_backward",
    "nll_loss2d_backward",
    rule=Rule.FUNCTION,
    meaning="-w[t]·g at the target, divided by the total weight for a mean; 0 elsewhere",
)
def nll_loss_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    reduction: int,
    ignore_index: int,
    total_weight: torch.Tensor,
) -> torch.Tensor:
    """Differentiate nll_loss."""
    rows, classes = _with_batch(x, target)
    places, weights = _weights(classes, rows, weight, ignore_index)
    wide = g.to(F64)
    if reduction == MEAN:
        wide = wide / total_weight.to(F64)
    if reduction not in (MEAN, SUM):
        wide = wide.reshape(classes.shape)
    slope = torch.where(classes == ignore_index, torch.zeros_like(weights), -weights * wide)
    result = torch.zeros_like(rows).scatter(1, places, to_type(slope, x.dtype).unsqueeze(1))
    return result.reshape(x.shape)


def _with_batch(x: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (x, target) if x.dim() > 1 else (x.unsqueeze(0), target.reshape(1))


def _weights(
    classes: torch.Tensor, rows: torch.Tensor, weight: torch.Tensor | None, ignore_index: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the classes to gather, with a channel dimension, and their weights, float64."""
    ignored = classes == ignore_index
    places = torch.where(ignored, torch.zeros_like(classes), classes)
    if weight is None:
        weights = torch.ones(classes.shape, dtype=F64, device=rows.device)
    else:
        weights = weight.to(F64)[places]
    return places.unsqueeze(1), torch.where(ignored, torch.zeros_like(weights), weights)


# ---- distances -----------------------------------------------------------------------------------


@define("mse_loss", rule=Rule.SUM, meaning="(x - t)² in float64, reduced, rounded once")
def mse_loss(x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN) -> torch.Tensor:
    """Square the distance."""
    d = x.to(F64) - target.to(F64)
    return _reduced(d * d, reduction, _kind(x, target))


@define("mse_loss_backward", rule=Rule.FUNCTION, meaning="(g/n)·2(x - t), n = 1 but for a mean")
def mse_loss_backward(
    g: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int
) -> torch.Tensor:
    """Differentiate mse_loss."""
    d = x.to(F64) - target.to(F64)
    return to_type(_share(g, reduction, d.numel()) * (d + d), _kind(x, target))


@define(
    "smooth_l1_loss",
    rule=Rule.SUM,
    meaning="½d²/beta where |d| < beta, else |d| - ½beta, d = x - t, in float64",
)
def smooth_l1_loss(
    x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN, beta: float = 1.0
) -> torch.Tensor:
    """Square small distances, count large ones."""
    z = (x.to(F64) - target.to(F64)).abs()
    half = constant(0.5, z)
    # a beta of zero has no inside; 1 keeps the branch that is not taken finite
    inside = (half * z * z) / constant(beta or 1.0, z)
    losses = torch.where(z < beta, inside, z - constant(0.5 * beta, z))
    return _reduced(losses, reduction, _kind(x, target))


@define(
    "smooth_l1_loss_backward",
    rule=Rule.FUNCTION,
    meaning="(g/n)·d/beta where |d| < beta, else (g/n)·sign(d)",
)
def smooth_l1_loss_backward(
    g: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int, beta: float
) -> torch.Tensor:
    """Differentiate smooth_l1_loss."""
    d = x.to(F64) - target.to(F64)
    slope = torch.where(d.abs() < beta, d / constant(beta or 1.0, d), torch.sign(d))
    slope = torch.where(torch.isnan(d), d, slope)
    return to_type(_share(g, reduction, d.numel()) * slope, _kind(x, target))


@define(
    "huber_loss",
    rule=Rule.SUM,
    meaning="½d² where |d| <= delta, else delta·(|d| - ½delta), d = x - t, in float64",
)
def huber_loss(
    x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN, delta: float = 1.0
) -> torch.Tensor:
    """Square small distances, count large ones by delta."""
    z = (x.to(F64) - target.to(F64)).abs()
    outside = constant(delta, z) * (z - constant(0.5 * delta, z))
    losses = torch.where(z <= delta, constant(0.5, z) * z * z, outside)
    return _reduced(losses, reduction, _kind(x, target))


@define(
    "huber_loss_backward",
    rule=Rule.FUNCTION,
    meaning="(g/n)·d limited to [-delta, delta]",
)
def huber_loss_backward(
    g: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int, delta: float
) -> torch.Tensor:
    """Differentiate huber_loss."""
    d = x.to(F64) - target.to(F64)
    limit = constant(delta, d)
    slope = torch.where(d > limit, limit, torch.where(d < -limit, -limit, d))
    return to_type(_share(g, reduction, d.numel()) * slope, _kind(x, target))


def _kind(x: torch.Tensor, target: torch.Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, target.dtype)


# ---- yes or no -----------------------------------------------------------------------------------


@define(
    "binary_cross_entropy",
    rule=Rule.SUM,
    meaning="w·((t - 1)·max(ln(1 - x), -100) - t·max(ln x, -100)) in float64",
)
def binary_cross_entropy(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    reduction: int = MEAN,
) -> torch.Tensor:
    """Compare odds with labels; odds outside [0, 1] give NaN."""

    def compute(v: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        least = constant(_LOG_MIN, v)
        no, yes = functions.log1p(-v), functions.log(v)
        no = torch.where(no < least, least, no)
        yes = torch.where(yes < least, least, yes)
        return (t - torch.ones_like(t)) * no - t * yes

    losses = _of_clean(compute, x, target)
    if weight is not None:
        losses = losses * weight.to(F64)
    return _reduced(losses, reduction, x.dtype)


@define(
    "binary_cross_entropy_backward",
    rule=Rule.FUNCTION,
    meaning="(g/n)·w·(x - t)/max((1 - x)·x, 1e-12)",
)
def binary_cross_entropy_backward(
    g: torch.Tensor,
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    reduction: int = MEAN,
) -> torch.Tensor:
    """Differentiate binary_cross_entropy."""
    v = x.to(F64)
    spread = (torch.ones_like(v) - v) * v
    least = constant(_BCE_DENOMINATOR_MIN, v)
    slope = (v - target.to(F64)) / torch.where(spread < least, least, spread)
    if weight is not None:
        slope = slope * weight.to(F64)
    return to_type(_share(g, reduction, v.numel()) * slope, x.dtype)


@define("soft_margin_loss", rule=Rule.SUM, meaning="ln(1 + e^(-t·x)) in float64")
def soft_margin_loss(x: torch.Tensor, target: torch.Tensor, reduction: int = MEAN) -> torch.Tensor:
    """Compare a score with a sign."""
    losses = _of_clean(lambda v, t: functions.softplus(-(v * t)), x, target)
    return _reduced(losses, reduction, x.dtype)


@define("soft_margin_loss_backward", rule=Rule.FUNCTION, meaning="(g/n)·-t·sigmoid(-t·x)")
def soft_margin_loss_backward(
    g: torch.Tensor, x: torch.Tensor, target: torch.Tensor, reduction: int
) -> torch.Tensor:
    """Differentiate soft_margin_loss."""
    slope = _of_clean(lambda v, t: -t * functions.sigmoid(-(v * t)), x, target)
    return to_type(_share(g, reduction, slope.numel()) * slope, x.dtype)


# ---- compositions of defined ops -----------------------------------------------------------------


def _reduce(losses: torch.Tensor, reduction: str) -> torch.Tensor:
    match reduction:
        case "mean":
            return losses.mean()
        case "sum":
            return losses.sum()
        case "none":
            return losses
        case unknown:
            raise ValueError(f"{unknown} is not a valid value for reduction")


def _name(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """Return the reduction; the two flags are what torch had before names."""
    if size_average is None and reduce is None:
        return reduction
    return str(_reduction.legacy_get_string(size_average, reduce, emit_warning=False))


@replace(
    functional.cross_entropy,
    rule=Rule.COMPOSITION,
    meaning="nll_loss of log_softmax; smoothing s: (1 - s)·nll + (s/C)·(-sum of w·log_softmax); "
    "odds as targets: -sum of w·t·log_softmax",
)
def cross_entropy(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Compare scores with classes, or with odds of classes."""
    wanted = _name(reduction, size_average, reduce)
    dim = 0 if x.dim() == 1 else 1
    logs = functional.log_softmax(x, dim)
    classes = x.shape[dim]
    weighted = logs
    if weight is not None:
        weighted = logs * weight.reshape([-1 if d == dim else 1 for d in range(x.dim())])
    if target.shape == x.shape and target.is_floating_point():
        odds = target
        if label_smoothing > 0:
            odds = target * (1 - label_smoothing) + label_smoothing / classes
        return _reduce(-(weighted * odds).sum(dim), wanted)
    hard = functional.nll_loss(logs, target, weight, None, ignore_index, None, wanted)
    if label_smoothing == 0:
        return hard
    losses = -weighted.sum(dim)
    ignored = target == ignore_index
    losses = losses.masked_fill(ignored, 0.0)
    if wanted != "mean":
        even = _reduce(losses, wanted)
    elif weight is None:
        even = losses.sum() / (~ignored).sum()
    else:
        chosen = weight[target.masked_fill(ignored, 0)].masked_fill(ignored, 0.0)
        even = losses.sum() / chosen.sum()
    return hard * (1 - label_smoothing) + even * (label_smoothing / classes)


@replace(
    functional.binary_cross_entropy_with_logits,
    rule=Rule.COMPOSITION,
    meaning="w·(positive·t·softplus(-x) + (1 - t)·softplus(x))",
)
def binary_cross_entropy_with_logits(
    x: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compare log-odds with labels; neither term nor its gradient cancels for t in [0, 1]."""
    if target.shape != x.shape:
        raise ValueError(
            f"Target size ({target.size()}) must be the same as input size ({x.size()})"
        )
    yes = target * functional.softplus(-x)
    if pos_weight is not None:
        yes = yes * pos_weight
    losses = yes + (1 - target) * functional.softplus(x)
    if weight is not None:
        losses = losses * weight
    return _reduce(losses, _name(reduction, size_average, reduce))


@replace(
    functional.kl_div,
    rule=Rule.COMPOSITION,
    meaning="t·ln t - t·x (0 where t = 0), or e^t·(t - x) for logarithms as targets",
)
def kl_div(
    x: torch.Tensor,
    target: torch.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> torch.Tensor:
    """Compare log-odds with odds (Kullback and Leibler)."""
    if log_target:
        losses = target.exp() * (target - x)
    else:
        one = torch.ones_like(target)
        losses = target * torch.where(target == 0, one, target).log() - target * x
    if reduction == "batchmean" and size_average is None and reduce is None:
        return losses.sum() / x.shape[0] if x.dim() else losses
    return _reduce(losses, _name(reduction, size_average, reduce))


@replace(functional.l1_loss, rule=Rule.COMPOSITION, meaning="|x - t|")
def l1_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """Count distances."""
    losses = (x - target).abs()
    if weight is not None:
        losses = losses * weight
        if _name(reduction, size_average, reduce) == "mean":
            return losses.sum() / weight.expand_as(losses).sum()
    return _reduce(losses, _name(reduction, size_average, reduce))


@replace(
    functional.gaussian_nll_loss,
    rule=Rule.COMPOSITION,
    meaning="½(ln v + (x - t)²/v), v = max(variance, eps); + ½ln 2π when full",
)
def gaussian_nll_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    var: torch.Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> torch.Tensor:
    """Return the negative log-likelihood of normal distributions."""
    variance = var if isinstance(var, torch.Tensor) else torch.full_like(x, var)
    if variance.shape == x.shape[:-1]:
        variance = variance.unsqueeze(-1)
    if bool((variance < 0).any()):
        raise ValueError("var has negative entry/entries")
    variance = variance.clone()
    with torch.no_grad():  # as torch: the limit does not stop the gradient
        variance.clamp_(min=eps)
    losses = 0.5 * (variance.log() + (x - target) ** 2 / variance)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return _reduce(losses, reduction)


@replace(
    functional.poisson_nll_loss,
    rule=Rule.COMPOSITION,
    meaning="e^x - t·x, or x - t·ln(x + eps); full: + t·ln t - t + ½ln(2πt) where t > 1",
)
def poisson_nll_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Return the negative log-likelihood of Poisson distributions."""
    losses = x.exp() - target * x if log_input else x - target * (x + eps).log()
    if full:
        large = torch.where(target > 1, target, torch.ones_like(target))
        stirling = large * large.log() - large + 0.5 * (2 * math.pi * large).log()
        losses = losses + stirling.masked_fill(target <= 1, 0.0)
    return _reduce(losses, _name(reduction, size_average, reduce))


@replace(
    functional.margin_ranking_loss,
    rule=Rule.COMPOSITION,
    meaning="max(0, -t·(a - b) + margin)",
)
def margin_ranking_loss(
    a: torch.Tensor,
    b: torch.Tensor,
    target: torch.Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Rank pairs."""
    losses = (-target * (a - b) + margin).clamp_min(0)
    return _reduce(losses, _name(reduction, size_average, reduce))


@replace(
    functional.hinge_embedding_loss,
    rule=Rule.COMPOSITION,
    meaning="x where t = 1, max(0, margin - x) where t = -1",
)
def hinge_embedding_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Pull likes together, push others apart; targets that are neither get both, as in torch."""
    far = (margin - x).clamp_min(0)
    losses = torch.where(target != 1, far, torch.zeros_like(far))
    losses = losses + torch.where(target != -1, x, torch.zeros_like(x))
    return _reduce(losses, _name(reduction, size_average, reduce))


@replace(
    functional.cosine_embedding_loss,
    rule=Rule.COMPOSITION,
    meaning="1 - cos where t = 1, max(0, cos - margin) where t = -1; "
    "cos = a·b/sqrt((a² + 1e-12)·(b² + 1e-12))",
)
def cosine_embedding_loss(
    a: torch.Tensor,
    b: torch.Tensor,
    target: torch.Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Compare directions with a sign."""
    squares = ((a * a).sum(-1) + _COSINE_EPS) * ((b * b).sum(-1) + _COSINE_EPS)
    cosine = (a * b).sum(-1) / squares.sqrt()
    zero = torch.zeros_like(cosine)
    losses = torch.where(target == 1, 1 - cosine, zero)
    losses = losses + torch.where(target == -1, (cosine - margin).clamp_min(0), zero)
    return _reduce(losses, _name(reduction, size_average, reduce))


@replace(
    functional.cosine_similarity,
    rule=Rule.COMPOSITION,
    meaning="sum of (a/max(|a|, eps))·(b/max(|b|, eps))",
)
def cosine_similarity(
    x1: torch.Tensor, x2: torch.Tensor, dim: int = 1, eps: float = 1e-8
) -> torch.Tensor:
    """Return the cosine of the angle between vectors."""
    shape = _shape(x1, x2)
    left, right = x1.expand(shape), x2.expand(shape)
    left = left / _norm(left, 2, dim, keepdim=True).clamp_min(eps)
    right = right / _norm(right, 2, dim, keepdim=True).clamp_min(eps)
    return (left * right).sum(dim)


def _norm(x: torch.Tensor, p: float, dim: int, *, keepdim: bool) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(x, p, dim, keepdim)
    return norm


@replace(functional.pairwise_distance, rule=Rule.COMPOSITION, meaning="the p-norm of a - b + eps")
def pairwise_distance(
    x1: torch.Tensor,
    x2: torch.Tensor,
    p: float = 2.0,
    eps: float = 1e-6,
    keepdim: bool = False,
) -> torch.Tensor:
    """Return the distance of vectors."""
    return _norm(x1 - x2 + eps, p, -1, keepdim=keepdim)


@replace(
    functional.triplet_margin_loss,
    rule=Rule.COMPOSITION,
    meaning="max(0, margin + |a - positive| - |a - negative|), pairwise distances",
)
def triplet_margin_loss(
    anchor: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Have like nearer than unlike by a margin (Balntas et al., BMVC 2016)."""
    near = pairwise_distance(anchor, positive, p, eps)
    far = pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = torch.minimum(far, pairwise_distance(positive, negative, p, eps))
    return _reduce((margin + near - far).clamp_min(0), _name(reduction, size_average, reduce))


@replace(
    functional.multi_margin_loss,
    rule=Rule.COMPOSITION,
    meaning="sum over j != t of w[t]·max(0, margin - x[t] + x[j])^p, divided by C; p is 1 or 2",
)
def multi_margin_loss(
    x: torch.Tensor,
    target: torch.Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: torch.Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> torch.Tensor:
    """Have the score of the class above all others by a margin."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    rows, places = (x, target) if x.dim() > 1 else (x.unsqueeze(0), target.reshape(1))
    chosen = places.unsqueeze(1)
    gaps = (margin - rows.gather(1, chosen) + rows).clamp_min(0)
    gaps = gaps if p == 1 else gaps * gaps
    if weight is not None:
        gaps = gaps * weight[chosen]
    gaps = gaps.masked_fill(torch.arange(rows.shape[1], device=x.device) == chosen, 0.0)
    losses = gaps.sum(1) / rows.shape[1]
    return _reduce(
        losses if x.dim() > 1 else losses.squeeze(0), _name(reduction, size_average, reduce)
    )
