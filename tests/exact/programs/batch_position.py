"""The same row in batches of other sizes, at other places: one result each.

Every tensor that a program of this family returns is the result for one and the same row, so all
of them must be equal. Native PyTorch picks kernels and blockings by the size of the batch.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.convolutional import _Residual
from tests.exact.programs.inputs import fill, integers, lattice
from tests.exact.programs.registry import Tensors, program
from tests.exact.programs.transformers import small_gpt

PLACES = ((1, 0), (2, 1), (3, 0), (8, 5), (17, 16))
"""Sizes of batches and where in them the row stands."""


def _everywhere(
    model: Callable[[torch.Tensor], torch.Tensor], row: torch.Tensor, others: torch.Tensor
) -> Tensors:
    """Return the model's result for `row` at each place, among `others`."""
    results: Tensors = {}
    with torch.no_grad():
        for size, place in PLACES:
            batch = torch.cat([others[:place], row[None], others[place : size - 1]])
            results[f"{place} of {size}"] = model(batch)[place]
    return results


@program
def batch_position_mlp() -> Tensors:
    model = nn.Sequential(
        nn.Linear(64, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, 33), nn.Softmax(dim=1)
    )
    fill(model, seed=1500)
    return _everywhere(model, lattice(64, seed=1510), lattice(16, 64, seed=1511, scale=3.0))


@program
def batch_position_cnn() -> Tensors:
    model = nn.Sequential(
        nn.Conv2d(2, 12, 3, padding=1),
        _Residual(12),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(12, 6, 2, stride=2),
        nn.GroupNorm(2, 6),
        nn.Flatten(),
        nn.Linear(6 * 64, 9),
    )
    fill(model, seed=1520).eval()
    return _everywhere(
        model, lattice(2, 8, 8, seed=1540), lattice(16, 2, 8, 8, seed=1541, scale=5.0)
    )


@program
def batch_position_gpt() -> Tensors:
    model = small_gpt(seed=1550).eval()
    return _everywhere(
        model, integers(24, seed=1551, below=97), integers(16, 24, seed=1552, below=97)
    )


@program
def batch_position_lstm() -> Tensors:
    lstm = fill(nn.LSTM(12, 20, num_layers=2, batch_first=True), seed=1560)
    return _everywhere(
        lambda batch: lstm(batch)[0],
        lattice(14, 12, seed=1580),
        lattice(16, 14, 12, seed=1581, scale=2.0),
    )


@program
def batch_position_encoder() -> Tensors:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
    encoder = fill(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), seed=1590).eval()

    def embedded(batch: torch.Tensor) -> torch.Tensor:
        return functional.normalize(encoder(batch).mean(1), dim=1)

    return _everywhere(
        embedded, lattice(11, 32, seed=1620), lattice(16, 11, 32, seed=1621, scale=2.0)
    )


@program
def batch_position_bfloat16() -> Tensors:
    model = small_gpt(seed=1630).to(torch.bfloat16).eval()
    return _everywhere(
        model, integers(20, seed=1631, below=97), integers(16, 20, seed=1632, below=97)
    )


@program
def batch_position_layouts() -> Tensors:
    """The same numbers laid out otherwise in memory, and with gradients or without.

    PyTorch splits `linear` into one op or two by the strides of its input.
    """
    first, last = fill(nn.Linear(24, 40), seed=1640), fill(nn.Linear(40, 10), seed=1650)
    attention = fill(nn.MultiheadAttention(24, 3, batch_first=True), seed=1660)

    def model(x: torch.Tensor) -> torch.Tensor:
        seen, _ = attention(x, x, x, need_weights=False)
        return last(functional.gelu(first(x + seen)))

    x = lattice(3, 8, 24, seed=1670, scale=2.0)
    wide = torch.zeros(3, 8, 48)
    wide[:, :, ::2] = x
    layouts = {
        "rows": x,
        "turned": x.transpose(0, 1).contiguous().transpose(0, 1),
        "columns": x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "every other": wide[:, :, ::2],
    }
    results = {name: model(value)[1].detach() for name, value in layouts.items()}
    with torch.no_grad():
        results["without gradients"] = model(x)[1]
        results["alone"] = model(layouts["turned"][1:2])[0]
    with torch.inference_mode():
        results["in inference"] = model(x)[1].clone()
        results["turned, in inference"] = model(layouts["turned"])[1].clone()
    return results
