"""One point of a sweep: softmax regression on the digits with the learning rate in $RATE."""

import json
import os
from pathlib import Path

import numpy as np

rate = float(os.environ["RATE"])
table = np.loadtxt("/input/digits.csv", delimiter=",", dtype=np.float64)
order = np.random.default_rng(0).permutation(len(table))
pixels, labels = table[order, :-1] / 16.0, table[order, -1].astype(int)
train, test = slice(0, 1437), slice(1437, None)

weights = np.zeros((64, 10))
wanted = np.eye(10)[labels[train]]
for _ in range(100):
    scores = pixels[train] @ weights
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    gradient = pixels[train].T @ (odds / odds.sum(axis=1, keepdims=True) - wanted) / len(wanted)
    weights -= rate * gradient

accuracy = float((np.argmax(pixels[test] @ weights, axis=1) == labels[test]).mean())
result = {"rate": rate, "accuracy": accuracy}
Path("/output/result.json").write_text(json.dumps(result) + "\n")
