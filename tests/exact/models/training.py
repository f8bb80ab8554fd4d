"""Two trainings on real data: a transformer on characters of text, a CNN on handwritten digits.

Weights start from hashed values and batches are chosen by hashed numbers, so that runs under any
mode, and native ones, do the same work from the same start.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from tests.exact.models import texts
from tests.exact.programs.inputs import fill, integers
from tests.exact.programs.transformers import GPT


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training ended with; `held_out` is the mean loss on data it never saw."""

    losses: list[float]
    held_out: float
    accuracy: float
    model: nn.Module


def characters(*, steps: int, autocast: bool = False) -> Trained:
    """Train a two-layer GPT to foretell the next character of Python's language reference."""
    text = texts.prose(60_000)
    known = sorted(set(text))
    number = {character: place for place, character in enumerate(known)}
    tokens = torch.tensor([number[character] for character in text])
    train, held_out = tokens[:54_000], tokens[54_000:]
    model = GPT(tokens=len(known), width=96, layers=2, heads=4, length=64)
    fill(model, seed=2000)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    losses = []
    for step in range(steps):
        loss = _loss_of_text(model, _windows(train, seed=3000 + step), autocast=autocast)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    with torch.no_grad():
        windows = held_out[: 65 * 64].view(64, 65)
        logits = model(windows[:, :-1])
        missed = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        right = (logits.argmax(-1) == windows[:, 1:]).float().mean()
    return Trained(losses=losses, held_out=missed.item(), accuracy=right.item(), model=model)


def digits(*, steps: int, autocast: bool = False) -> Trained:
    """Train a small CNN on scikit-learn's 1,797 handwritten digits; the last 360 are held out."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images.tolist()).reshape(-1, 1, 8, 8) / 16.0
    labels = torch.tensor(data.target.tolist())
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, groups=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4, 10),
    )
    fill(model, seed=2100)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for step in range(steps):
        chosen = integers(64, seed=4000 + step, below=1437)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = functional.cross_entropy(model(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        logits = model(images[1437:])
        missed = functional.cross_entropy(logits, labels[1437:])
        right = (logits.argmax(1) == labels[1437:]).float().mean()
    return Trained(losses=losses, held_out=missed.item(), accuracy=right.item(), model=model)


def _windows(tokens: torch.Tensor, *, seed: int) -> torch.Tensor:
    starts = integers(12, seed=seed, below=len(tokens) - 65)
    return tokens[starts[:, None] + torch.arange(65)]


def _loss_of_text(model: nn.Module, windows: torch.Tensor, *, autocast: bool) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(windows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
