"""Optimizers, lists of tensors and loss scaling: by formula, the same however torch is asked."""

import copy
import importlib
import io
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import optim

import exact_torch
from exact_torch.arithmetic.steps import rounded_rate, whole_power
from tests.exact.comparing import EXAMPLES, FINITE, error, lattice, same_bits

Parameters = Iterable[torch.Tensor]
Make = Callable[[Parameters], optim.Optimizer]

RATE = float(np.float32(0.05))


def train(
    make: Make,
    *,
    steps: int = 6,
    kind: torch.dtype = torch.float32,
    schedule: Callable[[optim.Optimizer], Any] | None = None,
) -> list[torch.Tensor]:
    """Fit a linear map; return its weights and the states of the optimizer."""
    weight = lattice(4, 3).to(kind).requires_grad_()
    bias = torch.zeros(4, dtype=kind, requires_grad=True)
    x, y = lattice(8, 3, seed=1).to(kind), lattice(8, 4, seed=2).to(kind)
    optimizer = make([weight, bias])
    scheduler = schedule(optimizer) if schedule else None
    for _ in range(steps):
        optimizer.zero_grad()
        ((x @ weight.t() + bias - y) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_([weight, bias], 1.0)
        torch.nn.utils.clip_grad_value_([weight, bias], 0.3)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    states = [
        state
        for parameter in (weight, bias)
        for _, state in sorted(optimizer.state[parameter].items())
        if isinstance(state, torch.Tensor)
    ]
    return [weight.detach(), bias.detach(), *states]


OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "SGD momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "SGD Nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, maximize=True),
    "Adam": lambda p: optim.Adam(p, 0.05, weight_decay=0.1),
    "Adam amsgrad": lambda p: optim.Adam(p, 0.05, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, 0.05, maximize=True, weight_decay=0.3),
    "Adam rate tensor": lambda p: optim.Adam(p, torch.tensor(0.05)),
    "RMSprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "Adagrad": lambda p: optim.Adagrad(p, 0.1, lr_decay=0.1),
    "Adadelta": optim.Adadelta,
    "Adamax": optim.Adamax,
    "NAdam": optim.NAdam,
    "RAdam": lambda p: optim.RAdam(p, 0.05),
    "ASGD": optim.ASGD,
    "Rprop": optim.Rprop,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_follows_torchs_in_float64(name: str) -> None:
    expected = train(OPTIMIZERS[name], kind=torch.float64)
    with exact_torch.mode("E21"):
        got = train(OPTIMIZERS[name])
    assert len(got) == len(expected)
    for ours, reference in zip(got, expected, strict=True):
        assert error(ours, reference, least=1e-3) < 2e-5


@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": False}, {"fused": True}])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_lists_and_fused_kernels_take_the_same_step(
    kind: type[optim.Optimizer], options: dict[str, bool]
) -> None:
    with exact_torch.mode("E21"):
        usual = train(lambda p: kind(p, lr=0.05, weight_decay=0.1))  # type: ignore[call-arg]
        asked = train(lambda p: kind(p, lr=0.05, weight_decay=0.1, **options))  # type: ignore[call-arg]
    assert all(same_bits(a, b) for a, b in zip(usual, asked, strict=True))


def adam_in_numpy(
    p: np.ndarray,
    g: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    step: int,
    decay: float,
    decoupled: bool,
) -> tuple[np.ndarray, ...]:
    """The formula of the documentation, one float64 operation at a time."""
    kind = p.dtype
    p, g, m, v = (a.astype(np.float64) for a in (p, g, m, v))
    powers = [math.prod([beta] * step) for beta in (0.9, 0.999)]
    if decoupled:
        p = p * (1.0 - RATE * decay)
    else:
        g = g + p * decay
    m = m * 0.9 + g * (1.0 - 0.9)
    v = v * 0.999 + (g * (1.0 - 0.999)) * g
    root = np.sqrt(v) / math.sqrt(1.0 - powers[1])
    p = p - (m * (RATE / (1.0 - powers[0]))) / (root + 1e-8)
    return tuple(a.astype(kind) for a in (p, m, v))


GRADIENTS = st.lists(st.one_of(st.floats(-10, 10, width=32), FINITE), min_size=3, max_size=3)


@EXAMPLES
@given(
    gradients=st.lists(GRADIENTS, min_size=1, max_size=3),
    decoupled=st.booleans(),
    kind=st.sampled_from([torch.float32, torch.float64]),
)
def test_adam_is_its_formula_bit_for_bit(
    gradients: list[list[float]], decoupled: bool, kind: torch.dtype
) -> None:
    parameter = torch.nn.Parameter(lattice(3).to(kind))
    start = parameter.detach().numpy().copy()
    state = (start, np.zeros_like(start), np.zeros_like(start))
    make = optim.AdamW if decoupled else optim.Adam
    optimizer = make([parameter], lr=0.05, weight_decay=0.02)
    for step, gradient in enumerate(gradients, 1):
        parameter.grad = torch.tensor(gradient).to(kind)
        with exact_torch.mode("E21"):
            optimizer.step()
        with np.errstate(over="ignore"):
            numbers = parameter.grad.numpy()
            state = adam_in_numpy(state[0], numbers, *state[1:], step, 0.02, decoupled)  # type: ignore[assignment]
    saved = optimizer.state[parameter]
    for ours, reference in zip(
        (parameter.detach(), saved["exp_avg"], saved["exp_avg_sq"]), state, strict=True
    ):
        assert same_bits(ours, torch.from_numpy(reference))


@EXAMPLES
@given(gradients=st.lists(GRADIENTS, min_size=1, max_size=3), nesterov=st.booleans())
def test_gradient_descent_is_its_formula_bit_for_bit(
    gradients: list[list[float]], nesterov: bool
) -> None:
    parameter = torch.nn.Parameter(lattice(3))
    p, buffer = parameter.detach().numpy().copy(), None
    optimizer = optim.SGD([parameter], 0.05, momentum=0.9, weight_decay=0.02, nesterov=nesterov)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        with exact_torch.mode("E21"):
            optimizer.step()
        with np.errstate(over="ignore"):
            g = np.array(gradient, np.float32).astype(np.float64) + p.astype(np.float64) * 0.02
            b = g if buffer is None else buffer.astype(np.float64) * 0.9 + g * (1.0 - 0.0)
            g = g + b * 0.9 if nesterov else b
            p, buffer = (p - g * RATE).astype(np.float32), b.astype(np.float32)
    assert same_bits(parameter.detach(), torch.from_numpy(p))
    assert same_bits(optimizer.state[parameter]["momentum_buffer"], torch.from_numpy(buffer))


def test_half_precision_parameters_keep_half_precision_states() -> None:
    with exact_torch.mode("E21"):
        for kind in (optim.SGD, optim.AdamW):
            results = train(lambda p: kind(p, lr=0.05), kind=torch.bfloat16)  # noqa: B023
            assert {t.dtype for t in results[:2]} == {torch.bfloat16}


@pytest.mark.parametrize("name", ["SGD momentum", "Adam", "Adam amsgrad", "AdamW", "RMSprop"])
def test_a_saved_state_goes_on_as_if_never_saved(name: str) -> None:
    weight = lattice(4, 3).requires_grad_()

    def step(w: torch.Tensor, optimizer: optim.Optimizer) -> None:
        optimizer.zero_grad()
        (w.sin() * lattice(4, 3, seed=4)).sum().backward()
        optimizer.step()

    with exact_torch.mode("E21"):
        optimizer = OPTIMIZERS[name]([weight])
        for _ in range(3):
            step(weight, optimizer)
        file = io.BytesIO()
        torch.save({"weight": weight.detach(), "state": optimizer.state_dict()}, file)
        file.seek(0)
        saved = torch.load(file)
        other = saved["weight"].clone().requires_grad_()
        resumed = OPTIMIZERS[name]([other])
        resumed.load_state_dict(copy.deepcopy(saved["state"]))
        for _ in range(3):
            step(weight, optimizer)
            step(other, resumed)
    assert same_bits(weight.detach(), other.detach())


SCHEDULES: dict[str, Callable[[optim.Optimizer], Any]] = {
    "cosine": lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "one cycle": lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=10),
    "steps": lambda o: optim.lr_scheduler.StepLR(o, 2),
    "exponential": lambda o: optim.lr_scheduler.ExponentialLR(o, 0.9),
    "function": lambda o: optim.lr_scheduler.LambdaLR(o, lambda e: 0.95**e),
    "polynomial": lambda o: optim.lr_scheduler.PolynomialLR(o, 10),
    "restarts": lambda o: optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    expected = train(OPTIMIZERS["SGD momentum"], kind=torch.float64, schedule=SCHEDULES[name])
    with exact_torch.mode("E21"):
        got = train(OPTIMIZERS["SGD momentum"], schedule=SCHEDULES[name])
    for ours, reference in zip(got, expected, strict=True):
        assert error(ours, reference, least=1e-3) < 1e-5


@EXAMPLES
@given(rate=st.floats(1e-12, 10), nudges=st.integers(-2, 2))
def test_the_last_bits_of_a_rate_are_not_seen(rate: float, nudges: int) -> None:
    """A host's mathematics may differ there; all but ties between float32 round alike."""
    assert rounded_rate(rate) == float(np.float32(rate))
    near = float(np.float32(rate)) * (1 + nudges * 2.0**-52)
    assert rounded_rate(near) == float(np.float32(rate))


@EXAMPLES
@given(base=st.floats(0.5, 1), exponent=st.integers(0, 5000))
def test_whole_powers(base: float, exponent: int) -> None:
    assert whole_power(base, exponent) == pytest.approx(base**exponent, rel=1e-12)
    assert whole_power(base, 3) == (base * base) * base


def test_what_has_no_definition_is_refused() -> None:
    weight = torch.ones(3, requires_grad=True)
    with exact_torch.mode("E21"):
        for make in (optim.Adam, optim.SGD):
            optimizer = make([weight], lr=0.1, differentiable=True)  # type: ignore[operator]
            weight.grad = torch.ones(3)
            with pytest.raises(exact_torch.UnsupportedOp, match="differentiable"):
                optimizer.step()


def test_optimizers_run_their_loop_on_every_device() -> None:
    """Which implementation runs by default depends on the device outside a mode."""
    module = importlib.import_module("torch.optim.rmsprop")
    assert module._default_to_fused_or_foreach([], False) == (False, True)
    with exact_torch.mode("E21"):
        assert module._default_to_fused_or_foreach([], False) == (False, False)


def test_torchs_functions_come_back() -> None:
    adam, sgd = (importlib.import_module(f"torch.optim.{name}") for name in ("adam", "sgd"))
    before = (adam.adam, sgd.sgd)
    with exact_torch.mode("E21"), exact_torch.mode("E14"):
        assert adam.adam is not before[0]
        assert sgd.sgd is not before[1]
    assert (adam.adam, sgd.sgd) == before
    assert before[0].__module__ == "torch.optim.adam"


# ---- lists of tensors ---------------------------------------------------------------------------


LISTS: dict[str, tuple[Any, ...]] = {
    "add": ([lattice(3, seed=5), lattice(2, seed=6)],),
    "sub": (0.3,),
    "mul": ([0.1, 0.7],),
    "div": (3.0,),
    "lerp": ([lattice(3, seed=5), lattice(2, seed=6)], 0.3),
    "addcmul": ([lattice(3, seed=5), lattice(2, seed=6)], [lattice(3), lattice(2)], 0.3),
    "addcdiv": ([lattice(3, seed=5), lattice(2, seed=6)], [lattice(3), lattice(2)], [0.3, 0.6]),
    "sqrt": (),
    "exp": (),
    "neg": (),
    "pow": (2,),
    "maximum": (0.2,),
    "clamp_max": (0.1,),
    "sigmoid": (),
}


@pytest.mark.parametrize("name", LISTS)
def test_an_op_on_a_list_is_the_op_on_each(name: str) -> None:
    tensors = [lattice(3).abs(), lattice(2, seed=1).abs()]
    listed, listed_in_place = (
        getattr(torch, f"_foreach_{name}"),
        getattr(torch, f"_foreach_{name}_"),
    )
    with exact_torch.mode("E21"):
        results = listed(tensors, *LISTS[name])
        changed = [t.clone() for t in tensors]
        listed_in_place(changed, *LISTS[name])
        for i, tensor in enumerate(tensors):
            own = [a[i] if isinstance(a, list) else a for a in LISTS[name]]
            options = {"value": own.pop()} if name.startswith("addc") else {}
            if name in ("maximum", "clamp_max"):
                expected = torch.clamp(tensor, **{"min" if name == "maximum" else "max": own[0]})
            else:
                expected = getattr(torch, name)(tensor, *own, **options)
            assert same_bits(results[i], expected)
            assert same_bits(changed[i], expected)


def test_norms_and_copies_of_lists() -> None:
    tensors = [lattice(30), lattice(20, seed=1)]
    with exact_torch.mode("E21"):
        norms = torch._foreach_norm(tensors, 2)
        assert all(same_bits(n, t.norm()) for n, t in zip(norms, tensors, strict=True))
        targets = [torch.empty(30), torch.empty(20)]
        torch._foreach_copy_(targets, tensors)
        assert all(same_bits(a, b) for a, b in zip(targets, tensors, strict=True))
        torch._foreach_zero_(targets)
        assert not any(bool(t.any()) for t in targets)


def test_clipping_bounds_the_norm_and_the_values() -> None:
    weights = [torch.nn.Parameter(lattice(30)), torch.nn.Parameter(lattice(20))]
    for seed, weight in enumerate(weights):
        weight.grad = lattice(*weight.shape, seed=seed) * 100
    expected = torch.cat([w.grad.double() for w in weights if w.grad is not None]).norm()
    with exact_torch.mode("E21"):
        norm = torch.nn.utils.clip_grad_norm_(weights, 1.0)
        after = torch.cat([w.grad for w in weights if w.grad is not None]).norm()
        torch.nn.utils.clip_grad_value_(weights, 0.01)
    assert error(norm, expected) < 2e-7
    assert abs(float(after) - 1) < 1e-5
    assert all(
        float(w.grad.abs().max()) <= float(np.float32(0.01)) for w in weights if w.grad is not None
    )


def test_loss_scaling() -> None:
    scale, tracker, found = torch.tensor(1024.0), torch.zeros((), dtype=torch.int32), torch.zeros(1)
    gradients = [torch.tensor([1024.0, 512.0]), torch.tensor([2048.0])]
    with exact_torch.mode("E21"):
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, torch.tensor(1 / 1024))
        assert [g.tolist() for g in gradients] == [[1.0, 0.5], [2.0]]
        assert float(found) == 0
        for expected in (1024.0, 2048.0):
            torch._amp_update_scale_(scale, tracker, found, 2.0, 0.5, 2)
            assert float(scale) == expected
        gradients[0][0] = math.inf
        torch._amp_foreach_non_finite_check_and_unscale_(gradients, found, torch.tensor(1.0))
        assert float(found) == 1
        torch._amp_update_scale_(scale, tracker, found, 2.0, 0.5, 2)
    assert float(scale) == 1024
    assert int(tracker) == 0
