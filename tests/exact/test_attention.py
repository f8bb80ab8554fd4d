"""Attention against its formula in float64, and what it must not depend on."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import exact_torch
from tests.exact.comparing import EXAMPLES, agrees, error, lattice, same_bits, with_gradients

attend = functional.scaled_dot_product_attention


def formula(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> torch.Tensor:
    """Attention in float64, with zeros for queries that see nothing."""
    query, key, value = query.double(), key.double(), value.double()
    scores = query @ key.transpose(-1, -2) * (scale or 1 / math.sqrt(query.shape[-1]))
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype is torch.bool else scores + mask
    blind = (scores == -math.inf).all(-1, keepdim=True)
    weights = torch.softmax(torch.where(blind, 0.0, scores), -1)
    return torch.where(blind, 0.0, weights) @ value


def inputs(*leading: int, queries: int, keys: int, width: int) -> list[torch.Tensor]:
    return [
        lattice(*leading, n, width, seed=seed) * 2 for seed, n in enumerate((queries, keys, keys))
    ]


def check(
    tensors: list[torch.Tensor], mask: torch.Tensor | None, scale: float | None = None
) -> None:
    expected = with_gradients(
        lambda q, k, v: formula(q, k, v, mask, scale), *(t.double() for t in tensors)
    )
    with exact_torch.mode("E21"):
        got = with_gradients(lambda q, k, v: attend(q, k, v, attn_mask=mask, scale=scale), *tensors)
    for ours, reference in zip(got, expected, strict=True):
        assert error(ours, reference, least=0.1) < 2e-5


@EXAMPLES
@given(
    leading=st.lists(st.integers(1, 3), max_size=3),
    queries=st.integers(1, 5),
    keys=st.integers(1, 6),
    width=st.integers(1, 9),
    scale=st.sampled_from([None, 0.3]),
)
def test_result_and_gradients_are_those_of_the_formula(
    leading: list[int], queries: int, keys: int, width: int, scale: float | None
) -> None:
    check(inputs(*leading, queries=queries, keys=keys, width=width), None, scale)


@EXAMPLES
@given(bits=st.lists(st.booleans(), min_size=30, max_size=30))
def test_boolean_masks_hide_keys_and_blind_queries_get_zeros(bits: list[bool]) -> None:
    mask = torch.tensor(bits).reshape(5, 6)
    check(inputs(2, queries=5, keys=6, width=4), mask)


def test_a_query_that_sees_nothing_gets_zeros_and_gives_no_gradient() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    with exact_torch.mode("E21"):
        got = with_gradients(
            lambda q, k, v: attend(q, k, v, attn_mask=mask),
            *inputs(queries=2, keys=2, width=4),
        )
    assert same_bits(got[0][1], torch.zeros(4))
    assert not got[1][1].any()
    assert got[1][0].any()
    assert all(torch.isfinite(t).all() for t in got)


def test_float_masks_are_added() -> None:
    mask = lattice(2, 1, 5, 6, seed=9)
    mask[0, 0, 0, 3] = -math.inf
    check(inputs(2, 3, queries=5, keys=6, width=4), mask)


def test_causal_is_the_triangular_mask() -> None:
    tensors = inputs(2, queries=4, keys=6, width=8)
    with exact_torch.mode("E21"):
        triangle = torch.ones(4, 6, dtype=torch.bool).tril()
        assert same_bits(attend(*tensors, is_causal=True), attend(*tensors, attn_mask=triangle))


def test_grouped_queries_share_heads_that_are_repeated_in_place() -> None:
    query = lattice(2, 6, 5, 4)
    key, value = lattice(2, 3, 7, 4, seed=1), lattice(2, 3, 7, 4, seed=2)
    with exact_torch.mode("E21"):
        grouped = attend(query, key, value, enable_gqa=True)
        repeated = attend(query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1))
        assert same_bits(grouped, repeated)
        with pytest.raises(RuntimeError, match="no multiple"):
            attend(query, key[:, :2].repeat(1, 2, 1, 1), value, enable_gqa=True)


def test_keys_broadcast_over_leading_dimensions() -> None:
    query, key = lattice(2, 3, 5, 4), lattice(1, 3, 7, 4, seed=1)
    agrees(lambda q, k: formula_or(attend, q, k), [query, key], 2e-5)


def formula_or(function: object, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Attend under a mode, where inputs are float32; else take the formula."""
    if query.dtype is torch.float64:
        return formula(query, key, key)
    assert callable(function)
    result = function(query, key, key)
    assert isinstance(result, torch.Tensor)
    return result


def test_no_item_depends_on_its_batch() -> None:
    tensors = inputs(5, 2, queries=6, keys=6, width=8)
    with exact_torch.mode("E14"):
        together = attend(*tensors, is_causal=True)
        for i in range(5):
            alone = attend(*(t[i : i + 1] for t in tensors), is_causal=True)
            assert same_bits(together[i : i + 1], alone)


def test_dropout_drops_weights_and_scales_the_others() -> None:
    query, key = torch.zeros(1, 200, 4), torch.zeros(1, 50, 4)
    value = torch.ones(1, 50, 1)
    with exact_torch.mode("E21"):
        torch.manual_seed(3)
        kept = attend(query, key, value, dropout_p=0.25)
        assert abs(float(kept.mean()) - 1.0) < 0.02
        assert len(kept.unique()) > 5
        assert not attend(query, key, value, dropout_p=1.0).any()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precisions_round_once_at_the_end(kind: torch.dtype) -> None:
    tensors = [t.to(kind) for t in inputs(2, queries=5, keys=6, width=8)]
    with exact_torch.mode("E21"):
        got = attend(*tensors)
        assert same_bits(got, attend(*(t.float() for t in tensors)).to(kind))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = attend(*(t.float() for t in tensors))
        assert same_bits(cast, attend(*(t.bfloat16() for t in tensors)))
    assert error(got, formula(*tensors)) < 0.01


def test_no_keys_and_no_queries() -> None:
    with exact_torch.mode("E21"):
        assert attend(torch.ones(2, 0, 4), torch.ones(2, 3, 4), torch.ones(2, 3, 5)).shape == (
            2,
            0,
            5,
        )
        mask = torch.ones(3, 0, dtype=torch.bool)
        none = attend(torch.ones(2, 3, 4), torch.ones(2, 0, 4), torch.ones(2, 0, 5), attn_mask=mask)
    assert same_bits(none, torch.zeros(2, 3, 5))


def test_what_is_refused() -> None:
    query = torch.ones(2, 3, 4)
    with exact_torch.mode("E21"):
        with pytest.raises(exact_torch.UnsupportedOp, match="float32"):
            attend(query.double(), query.double(), query.double())
        mask = torch.ones(3, 3, dtype=torch.bool)
        with pytest.raises(RuntimeError, match="attn_mask must be None"):
            attend(query, query, query, attn_mask=mask, is_causal=True)


def same_weights(module: nn.Module) -> nn.Module:
    """Give a module weights that no generator chose."""
    for seed, parameter in enumerate(module.parameters()):
        parameter.data.copy_(lattice(*parameter.shape, seed=seed) * 0.5)
    return module


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_in_its_own_python_code(need_weights: bool) -> None:
    module = same_weights(nn.MultiheadAttention(12, 3, batch_first=True))
    x = lattice(2, 5, 12)
    expected, _ = module.double()(x.double(), x.double(), x.double(), need_weights=need_weights)
    module.float()
    with exact_torch.mode("E21"):
        got, _ = module(x, x, x, need_weights=need_weights)
    assert error(got, expected) < 2e-5


def test_an_encoder_layer_trains() -> None:
    layer = same_weights(nn.TransformerEncoderLayer(12, 3, 16, dropout=0.0, batch_first=True))
    x = lattice(2, 5, 12)
    wide = layer.double()
    (expected,) = torch.autograd.grad((wide(x.double()) ** 2).sum(), wide.linear1.weight)
    narrow = layer.float()
    with exact_torch.mode("E21"):
        (got,) = torch.autograd.grad((narrow(x) ** 2).sum(), narrow.linear1.weight)
    assert error(got, expected) < 1e-4


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_repeated_forward_pass_is_looked_up_and_draws_the_same(reentrant: bool) -> None:
    """Checkpointing repeats the forward pass inside backward, with the generator set back."""

    def block(q: torch.Tensor) -> torch.Tensor:
        return functional.dropout(attend(q, q, q, is_causal=True), 0.5)

    gradients = []
    for repeated in (False, True):
        x = lattice(2, 5, 4).requires_grad_()
        with exact_torch.mode("E21"):
            torch.manual_seed(7)
            y = checkpoint(block, x, use_reentrant=reentrant) if repeated else block(x)
            y.sum().backward()
        gradients.append(x.grad)
    assert same_bits(*gradients)
