"""Train a small network on the handwritten digits; leave its weights and metrics in a folder.

python train.py INPUT OUTPUT
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

INPUT, OUTPUT = map(Path, sys.argv[1:])
EPOCHS, BATCH = 10, 64

torch.manual_seed(0)

table = np.loadtxt(INPUT / "digits.csv", delimiter=",", dtype=np.float32)
pixels = torch.from_numpy(table[:, :-1] / 16.0)
labels = torch.from_numpy(table[:, -1]).long()
order = torch.randperm(len(labels))
train, test = order[:1437], order[1437:]

model = nn.Sequential(
    nn.Unflatten(1, (1, 8, 8)),
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(16 * 4 * 4, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for epoch in range(EPOCHS):
    shuffled = train[torch.randperm(len(train))]
    for start in range(0, len(shuffled), BATCH):
        batch = shuffled[start : start + BATCH]
        loss = nn.functional.cross_entropy(model(pixels[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}", flush=True)

with torch.no_grad():
    correct = (model(pixels[test]).argmax(1) == labels[test]).sum().item()
metrics = {"accuracy": correct / len(test), "test_images": len(test), "last_loss": loss.item()}
(OUTPUT / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
np.savez(OUTPUT / "weights.npz", **{n: p.detach().numpy() for n, p in model.named_parameters()})
