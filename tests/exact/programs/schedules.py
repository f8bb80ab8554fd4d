"""Optimizers, learning-rate schedules, clipping, averages of weights, checkpoints."""

import io
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tests.exact.programs.inputs import fill, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program

MakeSchedule = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def _network(*, seed: int) -> nn.Module:
    return fill(nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 6)), seed=seed)


def _trained(
    optimizer: torch.optim.Optimizer, model: nn.Module, *, steps: int, after: Callable[[], object]
) -> torch.Tensor:
    rows, labels = lattice(48, 20, seed=1300), integers(48, seed=1301, below=6)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(rows), labels)
        loss.backward()
        optimizer.step()
        after()
        losses.append(loss.detach())
    return torch.stack(losses)


def _scheduled(make: MakeSchedule, *, seed: int) -> Tensors:
    model = _network(seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.8)
    schedule = make(optimizer)
    rates: list[float] = []

    def step() -> None:
        rates.append(schedule.get_last_lr()[0])
        schedule.step()

    losses = _trained(optimizer, model, steps=8, after=step)
    return {
        "losses": losses,
        "rates": torch.tensor(rates, dtype=torch.float64),
        **weights(model),
    }


@program
def schedule_in_steps() -> Tensors:
    return _scheduled(lambda o: lr_scheduler.StepLR(o, step_size=3, gamma=0.3), seed=1310)


@program
def schedule_cosine() -> Tensors:
    return _scheduled(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=8, eta_min=1e-3), seed=1320)


@program
def schedule_one_cycle() -> Tensors:
    return _scheduled(lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.3, total_steps=10), seed=1330)


@program
def schedule_with_warm_up() -> Tensors:
    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        warm_up = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4))
        falling = lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
        return lr_scheduler.SequentialLR(optimizer, [warm_up, falling], milestones=[4])

    return _scheduled(make, seed=1340)


@program
def optimizers() -> Tensors:
    """Optimizers that the other programs do not use, five steps of each."""
    makers: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, centered=True),
        "adagrad": lambda p: torch.optim.Adagrad(p, lr=1e-2, lr_decay=1e-3),
        "adadelta": lambda p: torch.optim.Adadelta(p),
        "amsgrad": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True, weight_decay=1e-2),
        "nadam": lambda p: torch.optim.NAdam(p, lr=1e-2),
        "radam": lambda p: torch.optim.RAdam(p, lr=1e-2),
        "adamax": lambda p: torch.optim.Adamax(p, lr=1e-2),
        "heavy": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1),
        "grouped": lambda p: torch.optim.AdamW(
            [{"params": p[:2], "weight_decay": 0.0}, {"params": p[2:], "lr": 3e-3}], lr=1e-2
        ),
        "foreach": lambda p: torch.optim.Adam(p, lr=1e-2, foreach=True),
    }
    result: Tensors = {}
    for number, (name, make) in enumerate(makers.items()):
        model = _network(seed=1350 + 10 * number)
        optimizer = make(list(model.parameters()))
        result[f"{name}.losses"] = _trained(optimizer, model, steps=5, after=lambda: None)
        result |= {f"{name}.{key}": value for key, value in weights(model).items()}
    return result


@program
def clipping() -> Tensors:
    result: Tensors = {}
    for kind in (1.0, 2.0, float("inf")):
        model = _network(seed=1460)
        functional.mse_loss(model(lattice(30, 20, seed=1461)), lattice(30, 6, seed=1462)).backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05, norm_type=kind)
        result |= {f"norm{kind}": norm, f"slope{kind}": model[0].weight.grad}
    model = _network(seed=1463)
    model(lattice(30, 20, seed=1464)).square().sum().backward()
    nn.utils.clip_grad_value_(model.parameters(), 0.5)
    return {**result, "by_value": model[2].weight.grad}


@program
def averaged_weights() -> Tensors:
    """An exponential and a plain average of the weights while they are trained."""
    model = _network(seed=1470)
    slow = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    plain = AveragedModel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)

    def update() -> None:
        slow.update_parameters(model)
        plain.update_parameters(model)

    _trained(optimizer, model, steps=5, after=update)
    return {**weights(slow.module), **{f"plain.{k}": v for k, v in weights(plain.module).items()}}


@program
def checkpoint_round_trip() -> Tensors:
    """Training that is saved, loaded into new objects and continued gives the same bits as
    training that never stopped; both are returned."""
    model = _network(seed=1480)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    _trained(optimizer, model, steps=3, after=schedule.step)
    file = io.BytesIO()
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    torch.save({name: part.state_dict() for name, part in parts.items()}, file)
    _trained(optimizer, model, steps=3, after=schedule.step)

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = _network(seed=1)
    other.load_state_dict(saved["model"])
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=1e-2)
    other_schedule = lr_scheduler.CosineAnnealingLR(other_optimizer, T_max=10)
    other_optimizer.load_state_dict(saved["optimizer"])
    other_schedule.load_state_dict(saved["schedule"])
    _trained(other_optimizer, other, steps=3, after=other_schedule.step)
    return {
        **{f"straight.{name}": value for name, value in weights(model).items()},
        **{f"resumed.{name}": value for name, value in weights(other).items()},
    }
