"""Losses against float64: values and gradients for every reduction, edges, names, orders."""

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import exact_torch
from tests.exact.float64_reference import (
    both,
    close,
    close_to_largest,
    run,
    same_bits,
    seeded,
    upstream,
)

Loss = Callable[..., torch.Tensor]

F64 = torch.float64
REDUCTIONS = ("mean", "sum", "none")
ROWS, CLASSES = 11, 5
CHECKED = settings(max_examples=4, deadline=None)
ALLOWED = 2.0**-21
"""Of the largest element: compositions round a few times in float32."""


def labels(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    found = torch.randint(0, CLASSES, shape, generator=generator)
    found.reshape(-1)[::4] = -100
    return found


def positive(seed: int, *shape: int) -> torch.Tensor:
    return seeded(*shape, seed=seed).abs() + 0.1


def signs(seed: int, *shape: int) -> torch.Tensor:
    return torch.where(seeded(*shape, seed=seed) > 0, 1.0, -1.0)


def odds(seed: int) -> torch.Tensor:
    return seeded(ROWS, CLASSES, seed=seed).softmax(1)


TARGETS = seeded(ROWS, CLASSES, seed=1)
LABELS = labels(2, ROWS)
VALID = LABELS.clamp(min=0)
PIXELS = labels(3, 2, 3, 4)
WEIGHT = positive(4, CLASSES)
ODDS = odds(5)
SIGNS = signs(6, ROWS, CLASSES)
YES = (SIGNS > 0).float()


def wide(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a constant of a loss in the type that the loss is computed in."""
    return x.to(like.dtype)


ROW_LOSSES: dict[str, Loss] = {
    "cross_entropy": lambda x, r: functional.cross_entropy(x, LABELS, reduction=r),
    "cross_entropy_weighted": lambda x, r: functional.cross_entropy(
        x, LABELS, wide(WEIGHT, x), reduction=r
    ),
    "cross_entropy_smoothed": lambda x, r: functional.cross_entropy(
        x, LABELS, reduction=r, label_smoothing=0.125
    ),
    "cross_entropy_smoothed_weighted": lambda x, r: functional.cross_entropy(
        input=x, target=LABELS, weight=wide(WEIGHT, x), reduction=r, label_smoothing=0.25
    ),
    "cross_entropy_ignoring": lambda x, r: functional.cross_entropy(
        x, VALID, reduction=r, ignore_index=3
    ),
    "cross_entropy_odds": lambda x, r: functional.cross_entropy(x, wide(ODDS, x), reduction=r),
    "cross_entropy_odds_smoothed": lambda x, r: functional.cross_entropy(
        x, wide(ODDS, x), wide(WEIGHT, x), reduction=r, label_smoothing=0.125
    ),
    "nll": lambda x, r: functional.nll_loss(x, LABELS, wide(WEIGHT, x), reduction=r),
    "mse": lambda x, r: functional.mse_loss(x, wide(TARGETS, x), reduction=r),
    "l1": lambda x, r: functional.l1_loss(x, wide(TARGETS, x), reduction=r),
    "smooth_l1": lambda x, r: functional.smooth_l1_loss(x, wide(TARGETS, x), reduction=r, beta=0.5),
    "smooth_l1_sharp": lambda x, r: functional.smooth_l1_loss(
        x, wide(TARGETS, x), reduction=r, beta=0.0
    ),
    "huber": lambda x, r: functional.huber_loss(x, wide(TARGETS, x), reduction=r, delta=0.75),
    "gaussian": lambda x, r: functional.gaussian_nll_loss(
        x, wide(TARGETS, x), wide(TARGETS, x).abs(), full=True, eps=0.25, reduction=r
    ),
    "gaussian_of_rows": lambda x, r: functional.gaussian_nll_loss(
        x, wide(TARGETS, x), wide(ODDS, x)[:, :1], reduction=r
    ),
    "poisson": lambda x, r: functional.poisson_nll_loss(
        x, 3 * wide(TARGETS, x).abs(), full=True, reduction=r
    ),
    "poisson_of_rates": lambda x, r: functional.poisson_nll_loss(
        x.abs() + 0.5, wide(TARGETS, x).abs(), log_input=False, reduction=r
    ),
    "with_logits": lambda x, r: functional.binary_cross_entropy_with_logits(
        x, wide(YES, x), reduction=r
    ),
    "with_logits_weighted": lambda x, r: functional.binary_cross_entropy_with_logits(
        x, wide(ODDS, x), wide(WEIGHT, x), pos_weight=wide(WEIGHT, x).flip(0), reduction=r
    ),
    "soft_margin": lambda x, r: functional.soft_margin_loss(x, wide(SIGNS, x), reduction=r),
    "kl_div": lambda x, r: functional.kl_div(x, wide(ODDS, x), reduction=r),
    "kl_div_with_zeros": lambda x, r: functional.kl_div(x, wide(YES, x), reduction=r),
    "kl_div_of_logarithms": lambda x, r: functional.kl_div(
        x, wide(TARGETS, x), reduction=r, log_target=True
    ),
    "triplet": lambda x, r: functional.triplet_margin_loss(
        x, wide(TARGETS, x), wide(ODDS, x), reduction=r, swap=True
    ),
    "cosine_embedding": lambda x, r: functional.cosine_embedding_loss(
        x, wide(TARGETS, x), SIGNS[:, 0], margin=0.125, reduction=r
    ),
    "margin_ranking": lambda x, r: functional.margin_ranking_loss(
        x, wide(TARGETS, x), wide(SIGNS, x), margin=0.125, reduction=r
    ),
    "hinge_embedding": lambda x, r: functional.hinge_embedding_loss(
        x, wide(SIGNS, x), margin=0.75, reduction=r
    ),
    "multi_margin": lambda x, r: functional.multi_margin_loss(
        x, VALID, p=2, weight=wide(WEIGHT, x), reduction=r
    ),
    "multilabel_soft_margin": lambda x, r: functional.multilabel_soft_margin_loss(
        x, wide(YES, x), weight=wide(WEIGHT, x), reduction=r
    ),
}


def holds(loss: Loss, x: torch.Tensor, reduction: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch advises kl_div's batchmean
        found, expected = both(lambda v: loss(v, reduction), x)
    assert found.value.dtype is torch.float32
    assert close_to_largest(found.value, expected.value, ALLOWED)
    assert close_to_largest(found.gradients[0], expected.gradients[0], ALLOWED)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ROW_LOSSES)
@CHECKED
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([1e-3, 0.5, 2.0, 8.0]))
def test_value_and_gradient_are_those_of_float64(
    name: str, reduction: str, seed: int, spread: float
) -> None:
    holds(ROW_LOSSES[name], seeded(ROWS, CLASSES, seed=seed, spread=spread), reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@CHECKED
@given(seed=st.integers(0, 2**31))
def test_binary_cross_entropy(reduction: str, seed: int) -> None:
    chances = torch.rand(ROWS, CLASSES, generator=torch.Generator().manual_seed(seed))

    def loss(v: torch.Tensor, how: str) -> torch.Tensor:
        return functional.binary_cross_entropy(v, wide(YES, v), wide(WEIGHT, v), reduction=how)

    holds(loss, chances, reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_classes_of_pixels(reduction: str, smoothing: float) -> None:
    x = seeded(2, CLASSES, 3, 4, seed=7, spread=2.0)

    def by_pixel(v: torch.Tensor, how: str) -> torch.Tensor:
        return functional.cross_entropy(
            v, PIXELS, wide(WEIGHT, v), reduction=how, label_smoothing=smoothing
        )

    def by_place(v: torch.Tensor, how: str) -> torch.Tensor:
        return functional.cross_entropy(
            v, PIXELS[:, :, 0], reduction=how, label_smoothing=smoothing
        )

    holds(by_pixel, x, reduction)
    holds(by_place, x[..., 0], reduction)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_single_row_without_batch(reduction: str) -> None:
    def loss(v: torch.Tensor, how: str) -> torch.Tensor:
        return functional.cross_entropy(v, LABELS[1], wide(WEIGHT, v), reduction=how)

    holds(loss, seeded(CLASSES, seed=8), reduction)


def test_batchmean_of_kl_div_and_flags_of_before() -> None:
    x = seeded(ROWS, CLASSES, seed=9)
    found, expected = both(lambda v: functional.kl_div(v, wide(ODDS, v), reduction="batchmean"), x)
    assert close_to_largest(found.value, expected.value, ALLOWED)
    with exact_torch.mode():
        named = functional.l1_loss(x, TARGETS, reduction="sum")
        flagged = functional.l1_loss(x, TARGETS, size_average=False)
    assert same_bits(named, flagged)


@pytest.mark.parametrize("function", [functional.cosine_similarity, functional.pairwise_distance])
@CHECKED
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([1e-3, 1.0, 1e3]))
def test_similarities(function: Loss, seed: int, spread: float) -> None:
    x = seeded(4, 6, seed=seed, spread=spread)
    found, expected = both(function, x, seeded(4, 6, seed=seed + 1))
    assert close_to_largest(found.value, expected.value, ALLOWED)
    for slope, wanted in zip(found.gradients, expected.gradients, strict=True):
        assert close_to_largest(slope, wanted, ALLOWED)


def test_cosine_similarity_of_zeros_is_zero() -> None:
    found, expected = both(functional.cosine_similarity, torch.zeros(2, 3), torch.ones(2, 3))
    assert same_bits(found.value, torch.zeros(2))
    for slope, wanted in zip(found.gradients, expected.gradients, strict=True):
        assert close_to_largest(slope, wanted, ALLOWED)


@pytest.mark.parametrize("name", [n for n in ROW_LOSSES if not n.startswith("gaussian_of")])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_reductions_do_not_depend_on_the_order_of_terms(name: str, reduction: str) -> None:
    """Exact sums: the transposed elements come in another order, the loss has the same bits."""
    each = seeded(ROWS, CLASSES, seed=10, spread=3.0)
    with exact_torch.mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        losses = ROW_LOSSES[name](each, "none")
        shuffled = losses.reshape(-1).flip(0)
        assert same_bits(losses.sum(), shuffled.sum())
        assert same_bits(losses.mean(), shuffled.mean())


def test_an_ignored_row_may_hold_anything() -> None:
    x = seeded(4, CLASSES, seed=11)
    x[2] = float("-inf")
    target = torch.tensor([0, 4, -100, 2])
    with exact_torch.mode():
        found = run(lambda v: functional.nll_loss(v, target), x)
        each = run(lambda v: functional.nll_loss(v, target, reduction="none"), x)
    assert found.value.isfinite()
    assert same_bits(each.value[2], torch.zeros(()))
    assert same_bits(found.gradients[0][2], torch.zeros(CLASSES))


def test_all_rows_ignored_or_none_there_gives_nan() -> None:
    nothing = torch.full((3,), -100)
    with exact_torch.mode():
        ignored = functional.cross_entropy(seeded(3, CLASSES, seed=12), nothing)
        empty = functional.cross_entropy(torch.zeros(0, CLASSES), nothing[:0])
        mean = functional.mse_loss(torch.zeros(0), torch.zeros(0))
        total = functional.mse_loss(torch.zeros(0), torch.zeros(0), reduction="sum")
    assert ignored.isnan()
    assert empty.isnan()
    assert mean.isnan()
    assert same_bits(total, torch.zeros(()))


def test_a_class_that_is_not_there_is_an_error() -> None:
    with exact_torch.mode(), pytest.raises((IndexError, RuntimeError)):
        functional.nll_loss(seeded(2, CLASSES, seed=13), torch.tensor([0, CLASSES]))


def test_infinities_and_nan_reach_the_loss() -> None:
    x = torch.tensor([float("inf"), 1.0])
    with exact_torch.mode():
        assert functional.mse_loss(x, torch.zeros(2)) == float("inf")
        assert functional.huber_loss(x, torch.zeros(2)) == float("inf")
        assert functional.soft_margin_loss(x * float("nan"), torch.ones(2)).isnan()
        zero_odds = functional.binary_cross_entropy(torch.tensor([0.0]), torch.tensor([1.0]))
    assert zero_odds == 100.0  # torch's limit: no logarithm below -100


@pytest.mark.parametrize("magnitude", [30.0, 80.0, 1e4])
def test_certain_logits_keep_their_small_losses(magnitude: float) -> None:
    """Neither value nor gradient cancels where the other label's term is large; torch's do."""
    x, labels_of_x = torch.tensor([magnitude, -magnitude]), torch.tensor([1.0, 0.0])
    with_logits = functional.binary_cross_entropy_with_logits
    with exact_torch.mode():
        found = run(lambda v: with_logits(v, labels_of_x, reduction="sum"), x)
        each = with_logits(x, labels_of_x, reduction="none")
    small = math.exp(-magnitude)
    expected = torch.tensor([small, small], dtype=torch.float64)
    slope = torch.tensor([-small, small], dtype=torch.float64) * float(upstream((), F64))
    assert close(each, expected, relative=2.0**-22)
    assert close(found.gradients[0], slope, relative=2.0**-21)


@pytest.mark.parametrize("name", ["mse", "huber", "smooth_l1", "nll", "cross_entropy"])
def test_bfloat16_rounds_to_bfloat16(name: str) -> None:
    x = seeded(ROWS, CLASSES, seed=14, spread=2.0)
    found, expected = both(lambda v: ROW_LOSSES[name](v, "none"), x, dtype=torch.bfloat16)
    assert found.value.dtype is torch.bfloat16
    assert close_to_largest(found.value, expected.value, 2.0**-6)
    assert close_to_largest(found.gradients[0], expected.gradients[0], 2.0**-6)


def test_unknown_reductions_and_negative_variances_are_errors() -> None:
    x = torch.ones(2, 2)
    with exact_torch.mode():
        with pytest.raises(ValueError, match="reduction"):
            functional.l1_loss(x, x, reduction="median")
        with pytest.raises(ValueError, match="negative"):
            functional.gaussian_nll_loss(x, x, -x)
        with pytest.raises(ValueError, match="must be the same"):
            functional.binary_cross_entropy_with_logits(x, x[:1])
