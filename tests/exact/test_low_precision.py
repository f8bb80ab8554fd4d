"""Training in bfloat16 and under autocast."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import exact_torch
from tests.exact.comparing import error, lattice, same_bits


def model() -> nn.Module:
    module = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))
    for seed, parameter in enumerate(module.parameters()):
        parameter.data.add_(lattice(*parameter.shape, seed=seed) * 0.1)
    return module


def same_start(module: nn.Module) -> nn.Module:
    for seed, parameter in enumerate(module.parameters()):
        parameter.data.copy_(lattice(*parameter.shape, seed=seed) * 0.3)
    return module


def train(module: nn.Module, *, autocast: bool, steps: int = 15) -> list[float]:
    """Classify a lattice; return the losses."""
    x, labels = lattice(32, 8, seed=9), torch.arange(32) % 4
    kind = next(module.parameters()).dtype
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.02)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            scores = module(x if autocast else x.to(kind))
            loss = functional.cross_entropy(scores.float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_training_under_autocast_learns_as_torchs_does() -> None:
    native = train(same_start(model()), autocast=True)
    module = same_start(model())
    with exact_torch.mode("E14"):
        losses = train(module, autocast=True)
        again = same_start(model())
        assert train(again, autocast=True) == losses
    assert losses[-1] < 0.8 * losses[0]
    assert losses == pytest.approx(native, rel=0.03)
    assert all(parameter.dtype is torch.float32 for parameter in module.parameters())
    for one, other in zip(module.parameters(), again.parameters(), strict=True):
        assert same_bits(one.detach(), other.detach())


def test_training_in_bfloat16_learns() -> None:
    module = same_start(model()).bfloat16()
    with exact_torch.mode("E14"):
        losses = train(module, autocast=False)
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.dtype is torch.bfloat16 for parameter in module.parameters())


def test_autocast_chooses_types_as_torch_does() -> None:
    x, weight = lattice(3, 8), lattice(4, 8, seed=1)
    with exact_torch.mode("E21"), torch.autocast("cpu", dtype=torch.bfloat16):
        product = functional.linear(x, weight)
        attention = functional.scaled_dot_product_attention(x, x, x)
        total = (x * 2).sum()
        recurrent, _ = same_start(nn.LSTM(8, 4))(lattice(5, 3, 8))
    assert product.dtype is torch.bfloat16
    assert attention.dtype is torch.bfloat16
    assert total.dtype is torch.float32
    assert recurrent.dtype is torch.float32
    assert error(product, x.double() @ weight.double().t()) < 0.01
