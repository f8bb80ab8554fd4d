"""Random numbers from seeds: distributions, dropout, initialisation, shuffled data."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tests.exact.programs.inputs import fill, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program


@program
def draws_of_a_generator() -> Tensors:
    generator = torch.Generator().manual_seed(1234)
    odds = lattice(6, 20, seed=1200).abs() + 0.01
    return {
        "rand": torch.rand(100, generator=generator),
        "randn": torch.randn(7, 30, generator=generator),
        "randint": torch.randint(-5, 90, (50,), generator=generator),
        "randperm": torch.randperm(75, generator=generator),
        "multinomial": torch.multinomial(odds, 5, generator=generator),
        "with_replacement": torch.multinomial(odds[0], 40, replacement=True, generator=generator),
        "bernoulli": torch.bernoulli(odds.clamp(max=1), generator=generator),
        "uniform": torch.empty(33).uniform_(-2, 5, generator=generator),
        "normal": torch.empty(33).normal_(1.0, 3.0, generator=generator),
        "exponential": torch.empty(33).exponential_(2.0, generator=generator),
        "again": torch.rand(3, generator=torch.Generator().manual_seed(1234)),
    }


@program
def draws_of_the_default() -> Tensors:
    torch.manual_seed(99)
    first = {
        "rand": torch.rand(20, 3),
        "randn_like": torch.randn_like(torch.zeros(31)),
        "rand_like": torch.rand_like(torch.zeros(31)),
        "randint": torch.randint(0, 10, (40,)),
        "randperm": torch.randperm(20),
        "normal": torch.normal(torch.zeros(9), torch.ones(9)),
        "bernoulli": torch.empty(50).bernoulli_(0.3),
        "half": torch.randn(12, dtype=torch.bfloat16),
    }
    torch.manual_seed(99)
    return {**first, "again": torch.rand(20, 3)}


@program
def dropout_network() -> Tensors:
    torch.manual_seed(21)
    model = nn.Sequential(
        nn.Linear(40, 60), nn.ReLU(), nn.Dropout(0.5), nn.Linear(60, 60), nn.AlphaDropout(0.1)
    )
    fill(model, seed=1210)
    rows = lattice(50, 40, seed=1211)
    value = model(rows)
    value.square().mean().backward()
    images = functional.dropout2d(torch.ones(4, 6, 3, 3), 0.5)
    model.eval()
    return {
        "value": value.detach(),
        "slope": model[0].weight.grad,
        "channels": images,
        "evaluated": model(rows).detach(),
    }


@program
def initialisation() -> Tensors:
    """Layers as their constructors leave them, and the common schemes of `nn.init`."""
    torch.manual_seed(0)
    parts = nn.ModuleList(
        [
            nn.Linear(30, 20),
            nn.Conv2d(3, 8, 3),
            nn.Embedding(15, 10),
            nn.LSTM(6, 7),
            nn.MultiheadAttention(8, 2),
        ]
    )
    schemes = {
        "xavier_uniform": nn.init.xavier_uniform_(torch.empty(12, 16)),
        "xavier_normal": nn.init.xavier_normal_(torch.empty(12, 16)),
        "kaiming_uniform": nn.init.kaiming_uniform_(torch.empty(12, 16), nonlinearity="relu"),
        "kaiming_normal": nn.init.kaiming_normal_(torch.empty(12, 16), mode="fan_out"),
        "truncated": nn.init.trunc_normal_(torch.empty(12, 16), std=0.02),
    }
    return {**weights(parts), **schemes}


@program
def shuffled_data() -> Tensors:
    """A data loader that shuffles, a network as its constructor leaves it, two epochs."""
    torch.manual_seed(31)
    data = TensorDataset(lattice(80, 12, seed=1220), integers(80, seed=1221, below=4))
    shuffling = torch.Generator().manual_seed(5)
    loader = DataLoader(data, batch_size=16, shuffle=True, generator=shuffling)
    train, _ = torch.utils.data.random_split(data, [60, 20], torch.Generator().manual_seed(6))
    model = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    seen = []
    for _ in range(2):
        for rows, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(rows), labels).backward()
            optimizer.step()
            seen.append(labels)
    return {"seen": torch.cat(seen), "split": torch.tensor(train.indices), **weights(model)}


@program
def diffusion_step() -> Tensors:
    """Noise added on a schedule, predicted, and taken away again."""
    torch.manual_seed(41)
    model = fill(nn.Sequential(nn.Linear(17, 48), nn.SiLU(), nn.Linear(48, 16)), seed=1230)
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 50), dim=0)
    data = lattice(40, 16, seed=1231)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        step = torch.randint(0, 50, (40,))
        noise = torch.randn(40, 16)
        share = kept[step][:, None]
        noisy = share.sqrt() * data + (1 - share).sqrt() * noise
        guessed = model(torch.cat([noisy, step[:, None] / 50], dim=1))
        loss = functional.mse_loss(guessed, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "kept": kept, **weights(model)}
