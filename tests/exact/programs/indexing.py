"""Programs that gather, scatter, sort and accumulate by index."""

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.inputs import fill, gradients, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program


@program
def bag_of_words() -> Tensors:
    """Embeddings of words, some many times, averaged by document with scatter_add."""
    embedding = fill(nn.Embedding(30, 16, padding_idx=0), seed=700)
    head = fill(nn.Linear(16, 3), seed=701)
    words, document = integers(120, seed=702, below=30), integers(120, seed=703, below=12)
    labels = integers(12, seed=704, below=3)
    optimizer = torch.optim.Adagrad([*embedding.parameters(), *head.parameters()], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        vectors = embedding(words)
        sums = torch.zeros(12, 16).scatter_add(0, document[:, None].expand(-1, 16), vectors)
        counts = torch.zeros(12).index_add(0, document, torch.ones(120)).clamp(min=1)
        loss = functional.cross_entropy(head(sums / counts[:, None]), labels)
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "sums": sums.detach(), **weights(embedding), **weights(head)}


@program
def embedding_bags() -> Tensors:
    words = integers(40, seed=710, below=25)
    starts = torch.tensor([0, 3, 3, 17, 30])
    result: Tensors = {}
    for mode in ("sum", "mean"):
        bag = fill(nn.EmbeddingBag(25, 12, mode=mode), seed=711)
        vectors = bag(words, starts)
        vectors.square().sum().backward()
        result |= {f"{mode}.vectors": vectors.detach(), f"{mode}.grad": bag.weight.grad}
    return result


@program
def accumulated_index_put() -> Tensors:
    grid = torch.zeros(9, 7)
    rows, columns = integers(400, seed=720, below=9), integers(400, seed=721, below=7)
    values = (lattice(400, seed=722) * 10.0 ** integers(400, seed=723, below=6)).requires_grad_()
    filled = grid.index_put((rows, columns), values, accumulate=True)
    (filled * lattice(9, 7, seed=724)).sum().backward()
    return {"filled": filled.detach(), "grad": values.grad}


@program
def gradients_of_gathers() -> Tensors:
    table = lattice(20, 16, seed=730).requires_grad_()
    rows = integers(90, seed=731, below=20)
    order = integers(90, 4, seed=732, below=16)
    picked = table[rows].gather(1, order)
    chosen = table.index_select(1, integers(30, seed=733, below=16))
    taken = torch.take_along_dim(table, integers(20, 5, seed=734, below=16), dim=1)
    (picked.square().sum() + chosen.exp().mean() + (taken * 3.7).sum()).backward()
    return {"picked": picked.detach(), "chosen": chosen.detach(), "table.grad": table.grad}


@program
def ties_in_order() -> Tensors:
    """Sorting and choosing where many values are equal: ties have one defined order."""
    values = (integers(6, 200, seed=740, below=9) - 4).float() / 4
    ordered, order = values.sort(dim=1, stable=True)
    falling, falling_order = values.sort(dim=1, descending=True)
    best, places = values.topk(15, dim=1)
    least, least_places = values.topk(7, dim=0 if values.shape[0] > 7 else 1, largest=False)
    return {
        "ordered": ordered,
        "order": order,
        "falling": falling,
        "falling_order": falling_order,
        "best": best,
        "places": places,
        "least": least,
        "least_places": least_places,
        "argmax": values.argmax(dim=1),
        "argmin": values.argmin(dim=1),
        "argsort": values[0].argsort(),
        "max": torch.stack(list(values.max(dim=1))[:1]),
        "max_places": values.max(dim=1).indices,
        "all": values.argmax(),
    }


@program
def running_sums() -> Tensors:
    values = lattice(5, 300, seed=750) * 10.0 ** (integers(5, 300, seed=751, below=8) - 4)
    values.requires_grad_()
    along, across = values.cumsum(dim=1), values.cumsum(dim=0)
    (along * lattice(5, 300, seed=752)).sum().backward()
    return {
        "along": along.detach(),
        "across": across.detach(),
        "counts": (values > 0).cumsum(1),
        "grad": values.grad,
    }


@program
def k_means() -> Tensors:
    """Lloyd's algorithm; distances by the expanded square, means by index_add."""
    points = torch.cat([lattice(60, 6, seed=760 + n, scale=0.5) + 1.5 * n for n in range(3)])
    centres = points[torch.tensor([0, 50, 100, 150])].clone()
    for _ in range(6):
        distances = (
            (points * points).sum(1, keepdim=True)
            - 2 * points @ centres.t()
            + (centres * centres).sum(1)
        )
        nearest = distances.argmin(dim=1)
        sums = torch.zeros_like(centres).index_add(0, nearest, points)
        counts = torch.bincount(nearest, minlength=4).clamp(min=1)
        centres = sums / counts.unsqueeze(1)
    return {"centres": centres, "nearest": nearest, "spread": distances.min(dim=1).values.mean()}


@program
def q_learning() -> Tensors:
    """A table of values moved by gathered rewards, and a small network on the same moves."""
    states, actions = integers(64, seed=770, below=10), integers(64, seed=771, below=4)
    after, rewards = integers(64, seed=772, below=10), lattice(64, seed=773)
    table = torch.zeros(10, 4)
    for _ in range(5):
        wanted = rewards + 0.9 * table[after].amax(1)
        change = wanted - table[states, actions]
        table.index_put_((states, actions), 0.1 * change, accumulate=True)
    network = fill(nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 4)), seed=774)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    coded = functional.one_hot(states, 10).float()
    coded_after = functional.one_hot(after, 10).float()
    for _ in range(4):
        optimizer.zero_grad()
        now = network(coded).gather(1, actions[:, None]).squeeze(1)
        with torch.no_grad():
            wanted = rewards + 0.9 * network(coded_after).max(1).values
        loss = functional.smooth_l1_loss(now, wanted)
        loss.backward()
        optimizer.step()
    return {"table": table, "loss": loss.detach(), **weights(network)}


@program
def graph_convolution() -> Tensors:
    """Messages along edges, summed at their ends, normalised by degree."""
    source, target = integers(150, seed=780, below=24), integers(150, seed=781, below=24)
    features, layer = lattice(24, 12, seed=782), fill(nn.Linear(12, 8), seed=783)
    degree = torch.zeros(24).scatter_add(0, target, torch.ones(150)).clamp(min=1)
    weight = (degree[source] * degree[target]).rsqrt()
    messages = layer(features)[source] * weight[:, None]
    gathered = torch.zeros(24, 8).index_add(0, target, messages)
    highest = torch.full((24, 8), -1e9).scatter_reduce(
        0, target[:, None].expand(-1, 8), messages, reduce="amax"
    )
    loss = functional.log_softmax(gathered, dim=1)[:, 0].mean() + 0.01 * highest.mean()
    loss.backward()
    return {"gathered": gathered.detach(), "highest": highest.detach(), **gradients(layer)}


@program
def policy_gradient() -> Tensors:
    """Discounted returns, advantages normalised, log-odds gathered, an entropy bonus."""
    policy = fill(nn.Linear(9, 5), seed=790)
    states, actions = lattice(70, 9, seed=791), integers(70, seed=792, below=5)
    rewards = lattice(70, seed=793)
    returns = torch.zeros(70)
    total = torch.zeros(())
    for step in range(69, -1, -1):
        total = rewards[step] + 0.97 * total
        returns[step] = total
    advantages = (returns - returns.mean()) / (returns.std() + 1e-8)
    log_odds = policy(states).log_softmax(-1)
    entropy = -(log_odds.exp() * log_odds).sum(-1).mean()
    gain = (log_odds.gather(1, actions[:, None]).squeeze(1) * advantages).mean()
    (-gain - 0.01 * entropy).backward()
    return {
        "returns": returns,
        "entropy": entropy.detach(),
        "gain": gain.detach(),
        **gradients(policy),
    }
