"""torch.optim under a mode: Adam, AdamW and SGD by formulas of their own.

torch has up to three implementations of each (a loop, lists of tensors, one fused kernel), chosen
by device and version, and their roundings differ. Under a mode these three take one float64 step an
element. The others run the loop, whose ops are defined, on every device.
"""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.utils._python_dispatch import _disable_current_modes

from exact_torch.arithmetic.steps import rounded_rate
from exact_torch.errors import UnsupportedOp
from exact_torch.state import kernels
from exact_torch.table import Rule, replace

_ADAM: Final = importlib.import_module("torch.optim.adam")
_SGD: Final = importlib.import_module("torch.optim.sgd")

Number = float | int | torch.Tensor


@replace(
    _ADAM.adam,
    rule=Rule.FUNCTION,
    meaning="m = β1·m + (1 - β1)·g, v = β2·v + (1 - β2)·g·g, p - lr/(1 - β1^t)·m/(√v/√(1 - β2^t) + "
    "eps) in float64, p, m and v rounded once; lr is rounded to float32",
)
def adam(
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    exp_avgs: Sequence[torch.Tensor],
    exp_avg_sqs: Sequence[torch.Tensor],
    max_exp_avg_sqs: Sequence[torch.Tensor],
    state_steps: Sequence[torch.Tensor],
    *_: Any,
    decoupled_weight_decay: bool = False,
    amsgrad: bool,
    beta1: Number,
    beta2: Number,
    lr: Number,
    weight_decay: float,
    eps: float,
    maximize: bool,
    **options: Any,
) -> None:
    """Take the steps of all parameters; the arguments are those of torch.optim.adam.adam."""
    _check("torch.optim.Adam", params, grads, options)
    for i, parameter in enumerate(params):
        with _natively():
            step = state_steps[i].add_(1)
            kernels(parameter).adam_step(
                parameter,
                -grads[i] if maximize else grads[i],
                exp_avgs[i],
                exp_avg_sqs[i],
                largest=max_exp_avg_sqs[i] if amsgrad else None,
                step=int(step),
                lr=rounded_rate(float(lr)),
                beta1=float(beta1),
                beta2=float(beta2),
                eps=float(eps),
                weight_decay=float(weight_decay),
                decoupled=decoupled_weight_decay,
            )


@replace(
    _SGD.sgd,
    rule=Rule.FUNCTION,
    meaning="b = μ·b + (1 - dampening)·g, p - lr·b (Nesterov: lr·(g + μ·b)) in float64, p and b "
    "rounded once; lr is rounded to float32",
)
def sgd(
    params: Sequence[torch.Tensor],
    d_p_list: Sequence[torch.Tensor],
    momentum_buffer_list: list[torch.Tensor | None],
    *_: Any,
    weight_decay: float,
    momentum: float,
    lr: Number,
    dampening: float,
    nesterov: bool,
    maximize: bool,
    **options: Any,
) -> None:
    """Take the steps of all parameters; the arguments are those of torch.optim.sgd.sgd."""
    _check("torch.optim.SGD", params, d_p_list, options)
    for i, parameter in enumerate(params):
        with _natively():
            # without momentum, torch hands over an empty list
            buffer = momentum_buffer_list[i] if momentum != 0 else None
            first = buffer is None
            if momentum != 0 and buffer is None:
                buffer = momentum_buffer_list[i] = torch.empty_like(parameter).detach()
            kernels(parameter).sgd_step(
                parameter,
                -d_p_list[i] if maximize else d_p_list[i],
                buffer,
                first=first,
                lr=rounded_rate(float(lr)),
                momentum=float(momentum),
                dampening=float(dampening),
                weight_decay=float(weight_decay),
                nesterov=nesterov,
            )


@contextmanager
def _natively() -> Iterator[None]:
    """Compute with torch's own ops: what a kernel does is exact by construction."""
    with torch.no_grad(), torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _check(
    name: str,
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    options: dict[str, Any],
) -> None:
    # only a differentiable optimizer steps with gradients enabled
    if torch.is_grad_enabled():
        raise UnsupportedOp(name, "differentiable=True has no definition", params)
    if options.get("grad_scale") is not None or options.get("found_inf") is not None:
        raise UnsupportedOp(name, "a GradScaler with fused=True; leave fused out", params)
    for tensor in (*params, *grads):
        if tensor.is_sparse or not tensor.is_floating_point():
            raise UnsupportedOp(name, "parameters and gradients must be dense and real", (tensor,))
