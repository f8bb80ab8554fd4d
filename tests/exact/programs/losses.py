"""Every loss a program is likely to use, with its gradient."""

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from tests.exact.programs.inputs import integers, lattice
from tests.exact.programs.registry import Tensors, program

Loss = Callable[[torch.Tensor], torch.Tensor]


def _each(inputs: torch.Tensor, losses: Mapping[str, Loss]) -> Tensors:
    """Return the value of every loss at `inputs` and its gradient."""
    result: Tensors = {}
    for name, loss in losses.items():
        point = inputs.detach().clone().requires_grad_()
        value = loss(point)
        value.sum().backward()
        result |= {name: value.detach(), f"{name}.grad": point.grad}
    return result


@program
def losses_of_classes() -> Tensors:
    logits = lattice(40, 12, seed=800, scale=6.0)
    labels = integers(40, seed=801, below=12)
    labels[::7] = -100
    weight = lattice(12, seed=802).abs() + 0.1
    odds = lattice(40, 12, seed=803, scale=2.0).softmax(dim=1)
    cross = functional.cross_entropy
    return _each(
        logits,
        {
            "plain": lambda x: cross(x, labels),
            "sum": lambda x: cross(x, labels, reduction="sum"),
            "each": lambda x: cross(x, labels, reduction="none"),
            "weighted": lambda x: cross(x, labels, weight=weight),
            "smoothed": lambda x: cross(x, labels, label_smoothing=0.1),
            "smoothed_weighted": lambda x: cross(x, labels, weight=weight, label_smoothing=0.2),
            "ignored": lambda x: cross(x, labels.clamp(min=0), ignore_index=3),
            "odds": lambda x: cross(x, odds),
            "nll": lambda x: functional.nll_loss(x.log_softmax(1), labels, weight=weight),
        },
    )


@program
def losses_of_images() -> Tensors:
    """Cross-entropy by pixel."""
    logits = lattice(3, 6, 8, 8, seed=810, scale=4.0)
    labels = integers(3, 8, 8, seed=811, below=6)
    weight = lattice(6, seed=812).abs() + 0.25
    return _each(
        logits,
        {
            "plain": lambda x: functional.cross_entropy(x, labels),
            "weighted": lambda x: functional.cross_entropy(x, labels, weight=weight),
            "nll": lambda x: functional.nll_loss(x.log_softmax(1), labels, ignore_index=2),
        },
    )


@program
def losses_of_distances() -> Tensors:
    inputs, targets = lattice(50, 9, seed=820, scale=3.0), lattice(50, 9, seed=821, scale=3.0)
    variance = lattice(50, 9, seed=822).abs() + 0.1
    return _each(
        inputs,
        {
            "mse": lambda x: functional.mse_loss(x, targets),
            "mse_sum": lambda x: functional.mse_loss(x, targets, reduction="sum"),
            "l1": lambda x: functional.l1_loss(x, targets),
            "smooth_l1": lambda x: functional.smooth_l1_loss(x, targets, beta=0.5),
            "huber": lambda x: functional.huber_loss(x, targets, delta=0.7),
            "huber_each": lambda x: functional.huber_loss(x, targets, reduction="none"),
            "gaussian": lambda x: functional.gaussian_nll_loss(x, targets, variance),
            "poisson": lambda x: functional.poisson_nll_loss(x, targets.abs()),
        },
    )


@program
def losses_of_pairs() -> Tensors:
    """Odds of yes and no, and divergences between distributions."""
    logits = lattice(30, 8, seed=830, scale=8.0)
    labels = integers(30, 8, seed=831, below=2).float()
    weight = lattice(8, seed=832).abs() + 0.5
    other = lattice(30, 8, seed=833, scale=2.0).log_softmax(1)
    with_logits = functional.binary_cross_entropy_with_logits
    return _each(
        logits,
        {
            "bce": lambda x: functional.binary_cross_entropy(x.sigmoid(), labels),
            "bce_weighted": lambda x: functional.binary_cross_entropy(
                x.sigmoid(), labels, weight=weight
            ),
            "with_logits": lambda x: with_logits(x, labels),
            "with_logits_positive": lambda x: with_logits(x, labels, pos_weight=weight),
            "with_logits_sum": lambda x: with_logits(x, labels, weight=weight, reduction="sum"),
            "soft_margin": lambda x: functional.soft_margin_loss(x, labels * 2 - 1),
            "kl": lambda x: functional.kl_div(x.log_softmax(1), other.exp(), reduction="batchmean"),
            "kl_log": lambda x: functional.kl_div(
                x.log_softmax(1), other, reduction="sum", log_target=True
            ),
        },
    )


@program
def losses_of_embeddings() -> Tensors:
    anchors = lattice(24, 16, seed=840)
    near, far = anchors + lattice(24, 16, seed=841, scale=0.25), lattice(24, 16, seed=842)
    signs = integers(24, seed=843, below=2) * 2 - 1
    return _each(
        anchors,
        {
            "triplet": lambda x: functional.triplet_margin_loss(x, near, far),
            "cosine": lambda x: functional.cosine_embedding_loss(x, far, signs, margin=0.1),
            "ranking": lambda x: functional.margin_ranking_loss(
                x.sum(1), far.sum(1), signs.float(), margin=0.2
            ),
            "hinge": lambda x: functional.hinge_embedding_loss(x, signs[:, None].expand(-1, 16)),
        },
    )


@program
def contrastive() -> Tensors:
    """Two views against each other: normalised, cosine similarities, both directions."""
    left = lattice(20, 32, seed=850).requires_grad_()
    right = (lattice(20, 32, seed=850) + lattice(20, 32, seed=851, scale=0.5)).requires_grad_()
    similar = functional.normalize(left, dim=1) @ functional.normalize(right, dim=1).t() / 0.07
    places = torch.arange(20)
    loss = functional.cross_entropy(similar, places) + functional.cross_entropy(similar.t(), places)
    margin = (1 - functional.cosine_similarity(left, right, dim=1)).mean()
    spread = torch.logsumexp(similar, dim=1).mean()
    (loss + margin + 0.1 * spread).backward()
    return {
        "loss": loss.detach(),
        "margin": margin.detach(),
        "spread": spread.detach(),
        "left.grad": left.grad,
        "right.grad": right.grad,
    }
