"""Contractions in every form: einsum, batched products, iterations."""

import torch
from torch.nn import functional

from tests.exact.programs.inputs import integers, lattice
from tests.exact.programs.registry import Tensors, program


@program
def einsum_contractions() -> Tensors:
    a, b = lattice(4, 9, 14, seed=1000), lattice(4, 14, 11, seed=1001)
    c, vector = lattice(9, 14, seed=1002), lattice(14, seed=1003)
    for tensor in (a, b, c, vector):
        tensor.requires_grad_()
    parts = {
        "batched": torch.einsum("bij,bjk->bik", a, b),
        "traced": torch.einsum("bij,ij->b", a, c),
        "outer": torch.einsum("ij,k->ijk", c, vector),
        "bilinear": torch.einsum("bij,j,bjk->bk", a, vector, b),
        "diagonal": torch.einsum("bii->bi", a[:, :9, :9]),
        "summed": torch.einsum("bij->j", a),
    }
    sum((value * value).sum() for value in parts.values()).backward()
    return {
        **{name: value.detach() for name, value in parts.items()},
        "a.grad": a.grad,
        "b.grad": b.grad,
        "c.grad": c.grad,
        "vector.grad": vector.grad,
    }


@program
def products_of_every_shape() -> Tensors:
    matrix, other = lattice(17, 29, seed=1010), lattice(29, 8, seed=1011)
    vector, batch = lattice(29, seed=1012), lattice(3, 17, 29, seed=1013)
    bias = lattice(17, 8, seed=1014)
    return {
        "mm": matrix @ other,
        "transposed": other.t() @ matrix.t(),
        "mv": matrix @ vector,
        "vm": vector @ other,
        "dot": vector @ vector,
        "batched": batch @ other,
        "broadcast": batch[:, None] @ other.expand(2, 29, 8),
        "bmm": torch.bmm(batch, batch.transpose(1, 2)),
        "addmm": torch.addmm(bias, matrix, other, beta=0.5, alpha=2.0),
        "baddbmm": torch.baddbmm(bias.expand(3, 17, 8), batch, other.expand(3, 29, 8)),
        "outer": torch.outer(vector, vector),
        "linear": functional.linear(batch, other.t(), bias[0]),
        "bilinear": functional.bilinear(matrix, matrix, lattice(3, 29, 29, seed=1015)),
        "tensordot": torch.tensordot(batch, batch, dims=([0, 2], [0, 2])),
        "empty": matrix[:0] @ other,
        "empty_sum": matrix[:, :0] @ other[:0],
        "one": matrix[:1, :1] @ other[:1, :1],
        "integers": integers(5, 6, seed=1016, below=99) @ integers(6, 4, seed=1017, below=99),
    }


@program
def badly_scaled_products() -> Tensors:
    """Rows and columns from 1e-15 to 1e15, and sums that cancel."""
    exponents = (integers(40, seed=1020, below=30) - 15).float()
    rows = lattice(40, 64, seed=1021) * 10.0 ** exponents[:, None]
    columns = lattice(64, 40, seed=1022) * 10.0**-exponents
    cancelling = torch.cat([rows[:, :32], -rows[:, :32]], dim=1) @ torch.ones(64, 1)
    return {
        "product": rows @ columns,
        "cancelling": cancelling,
        "long": lattice(3, 20000, seed=1023) @ lattice(20000, 2, seed=1024),
        "sum": (rows * 1e-15).sum(),
    }


@program
def power_iteration() -> Tensors:
    matrix = lattice(40, 40, seed=1030)
    matrix = matrix @ matrix.t() / 40
    vector = torch.ones(40)
    for _ in range(30):
        vector = matrix @ vector
        vector = vector / vector.norm()
    return {"value": vector @ matrix @ vector, "vector": vector}


@program
def newton_schulz() -> Tensors:
    """Orthogonal factors by matrix products alone, as the Muon optimizer takes them."""
    matrix = lattice(24, 40, seed=1040)
    factor = matrix / (matrix.norm() + 1e-7)
    for _ in range(5):
        gram = factor @ factor.mT
        factor = 3.4445 * factor + (-4.7750 * gram + 2.0315 * gram @ gram) @ factor
    return {"factor": factor, "gram": factor @ factor.mT}


@program
def lbfgs_of_rosenbrock() -> Tensors:
    """An optimizer that decides by the values it sees: one bit changes its path."""
    point = (lattice(10, seed=1050) * 2.0).requires_grad_()
    optimizer = torch.optim.LBFGS([point], lr=0.8, max_iter=12, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = (100 * (point[1:] - point[:-1] ** 2) ** 2 + (1 - point[:-1]) ** 2).sum()
        value.backward()
        return value

    value = optimizer.step(loss)
    return {"start": value.detach(), "point": point.detach(), "grad": point.grad}


@program
def attention_by_hand() -> Tensors:
    """Scores, a softmax taken in blocks as it streams, and the plain one beside it."""
    query, key, value = (lattice(2, 3, 24, 16, seed=1060 + n) for n in range(3))
    plain = (query @ key.transpose(-1, -2) / 4.0).softmax(-1) @ value
    highest = torch.full((2, 3, 24, 1), -float("inf"))
    total, mixed = torch.zeros(2, 3, 24, 1), torch.zeros(2, 3, 24, 16)
    for keys, values in zip(key.split(8, 2), value.split(8, 2), strict=True):
        scores = query @ keys.transpose(-1, -2) / 4.0
        above = torch.maximum(highest, scores.amax(-1, keepdim=True))
        odds = (scores - above).exp()
        shrink = (highest - above).exp()
        total, mixed = total * shrink + odds.sum(-1, keepdim=True), mixed * shrink + odds @ values
        highest = above
    return {"plain": plain, "streamed": mixed / total}
