"""Dense networks and plain regressions, trained."""

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.inputs import fill, gradients, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program


def _classifier(*, seed: int, width: int = 96) -> nn.Module:
    layers = nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
    )
    return fill(layers, seed=seed)


@program
def mlp_sgd_momentum() -> Tensors:
    model = _classifier(seed=1)
    inputs, labels = lattice(128, 64, seed=2), integers(128, seed=3, below=10)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3
    )
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), "logits": model(inputs).detach(), **weights(model)}


@program
def linear_regression() -> Tensors:
    inputs = lattice(200, 13, seed=10)
    truth = lattice(13, 1, seed=11, scale=4.0)
    targets = inputs @ truth + 0.5 + lattice(200, 1, seed=12, scale=0.125)
    slope = torch.zeros(13, 1, requires_grad=True)
    intercept = torch.zeros(1, requires_grad=True)
    for _ in range(25):
        loss = ((inputs @ slope + intercept - targets) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            for parameter in (slope, intercept):
                parameter -= 0.3 * parameter.grad
                parameter.grad.zero_()
    return {
        "loss": loss.detach(),
        "slope": slope.detach(),
        "intercept": intercept.detach(),
        "residual": (inputs @ slope + intercept - targets).detach().abs().max(),
    }


@program
def logistic_regression_by_hand() -> Tensors:
    inputs = lattice(150, 20, seed=20)
    labels = (inputs[:, 0] + 0.5 * inputs[:, 3] > 0.1).float()
    slope = torch.zeros(20)
    for step in range(30):
        odds = torch.sigmoid(inputs @ slope)
        slope = slope - 0.5 / (1 + 0.1 * step) * (inputs.t() @ (odds - labels)) / len(labels)
    accuracy = ((inputs @ slope > 0).float() == labels).float().mean()
    return {"slope": slope, "odds": odds, "accuracy": accuracy}


@program
def gradient_accumulation() -> Tensors:
    model = _classifier(seed=30)
    inputs, labels = lattice(96, 64, seed=31), integers(96, seed=32, below=10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        for part, wanted in zip(inputs.split(32), labels.split(32), strict=True):
            (functional.cross_entropy(model(part), wanted) / 3).backward()
        optimizer.step()
    return {**weights(model), **gradients(model)}


@program
def weight_tying() -> Tensors:
    embedding = fill(nn.Embedding(50, 32), seed=40)
    hidden = fill(nn.Linear(32, 32), seed=41)
    head = nn.Linear(32, 50, bias=False)
    head.weight = embedding.weight
    tokens, wanted = integers(40, seed=42, below=50), integers(40, seed=43, below=50)
    optimizer = torch.optim.AdamW([*embedding.parameters(), *hidden.parameters()], lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        loss = functional.cross_entropy(head(torch.tanh(hidden(embedding(tokens)))), wanted)
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "tied": head.weight.detach(), **weights(hidden)}


@program
def gradient_penalty() -> Tensors:
    """A gradient of a gradient, through `torch.autograd.grad(create_graph=True)`."""
    critic = fill(nn.Sequential(nn.Linear(24, 48), nn.Tanh(), nn.Linear(48, 1)), seed=50)
    points = lattice(32, 24, seed=51).requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
    penalty.backward()
    return {"penalty": penalty.detach(), "slope": slope.detach(), **gradients(critic)}


@program
def meta_learning() -> Tensors:
    """An inner step inside an outer one, with `torch.func.functional_call`."""
    model = fill(nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 1)), seed=60)
    inputs = lattice(2, 40, 8, seed=61)
    targets = (inputs[..., :1] * inputs[..., 1:2]).detach()
    outer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        outer.zero_grad()
        named = dict(model.named_parameters())
        inner_loss = functional.mse_loss(model(inputs[0]), targets[0])
        slopes = torch.autograd.grad(inner_loss, list(named.values()), create_graph=True)
        fast = {
            name: value - 0.1 * slope
            for (name, value), slope in zip(named.items(), slopes, strict=True)
        }
        outer_loss = functional.mse_loss(
            torch.func.functional_call(model, fast, (inputs[1],)), targets[1]
        )
        outer_loss.backward()
        outer.step()
    return {"inner": inner_loss.detach(), "outer": outer_loss.detach(), **weights(model)}


@program
def mixture_of_experts() -> Tensors:
    """Rows go to the two best of four experts, chosen by a softmax gate."""
    gate = fill(nn.Linear(32, 4), seed=70)
    experts = nn.ModuleList(fill(nn.Linear(32, 32), seed=71 + n) for n in range(4))
    rows = lattice(60, 32, seed=80)
    odds, chosen = gate(rows).softmax(dim=-1).topk(2, dim=-1)
    odds = odds / odds.sum(dim=-1, keepdim=True)
    mixed = torch.zeros_like(rows)
    for number, expert in enumerate(experts):
        where, rank = torch.where(chosen == number)
        mixed = mixed.index_add(0, where, expert(rows[where]) * odds[where, rank].unsqueeze(1))
    loss = (functional.gelu(mixed) ** 2).mean()
    loss.backward()
    return {"mixed": mixed.detach(), "loss": loss.detach(), **gradients(gate), **gradients(experts)}
