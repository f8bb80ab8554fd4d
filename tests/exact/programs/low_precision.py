"""bfloat16: under autocast, and whole models."""

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.inputs import fill, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program
from tests.exact.programs.transformers import small_gpt


@program
def autocast_training() -> Tensors:
    """Products in bfloat16, weights, norms, softmax and losses in float32."""
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(8 * 64, 48),
        nn.LayerNorm(48),
        nn.SiLU(),
        nn.Linear(48, 10),
    )
    fill(model, seed=1100)
    images, labels = lattice(16, 1, 8, 8, seed=1120), integers(16, seed=1121, below=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), "logits": logits.detach(), **weights(model)}


@program
def autocast_gpt() -> Tensors:
    model = small_gpt(seed=1130)
    tokens = integers(2, 25, seed=1131, below=97)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(tokens[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
    loss.backward()
    return {
        "loss": loss.detach(),
        "logits": logits.detach(),
        "head.grad": model.head.weight.grad,
        "token.grad": model.token.weight.grad,
    }


@program
def bfloat16_gpt() -> Tensors:
    """Weights, activations, gradients and the optimizer's moments in bfloat16."""
    model = small_gpt(seed=1140).to(torch.bfloat16)
    tokens = integers(2, 25, seed=1141, below=97)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        logits = model(tokens[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "logits": logits.detach(), **weights(model)}


@program
def bfloat16_network() -> Tensors:
    model = nn.Sequential(nn.Linear(32, 64), nn.RMSNorm(64), nn.ReLU(), nn.Linear(64, 5))
    fill(model, seed=1150).to(torch.bfloat16)
    rows, labels = lattice(24, 32, seed=1151).bfloat16(), integers(24, seed=1152, below=5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(rows).float(), labels)
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "odds": model(rows).softmax(1).detach(), **weights(model)}


@program
def conversions() -> Tensors:
    """Rounding to narrower types and back, and arithmetic of mixed types."""
    values = lattice(500, seed=1160) * 2.0 ** (integers(500, seed=1161, below=40) - 20)
    return {
        "bfloat16": values.to(torch.bfloat16),
        "float16": values.to(torch.float16),
        "again": values.bfloat16().float(),
        "integers": (values * 1000).to(torch.int32),
        "bytes": values.abs().clamp(0, 255).to(torch.uint8),
        "mixed": values.bfloat16() + values,
        "product": values.bfloat16() * values.bfloat16(),
        "divided": values.bfloat16() / 3,
        "average": (integers(500, seed=1162, below=100)).double().mean(),
        "sum": values.bfloat16().sum(),
    }
