"""Where the programs of the corpus register themselves."""

from collections.abc import Callable

import torch

Tensors = dict[str, torch.Tensor]
Program = Callable[[], Tensors]

PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    """Add a program to the corpus under the function's name, once."""
    name = function.__name__
    if name in PROGRAMS:
        raise ValueError(f"two programs are called {name}")
    PROGRAMS[name] = function
    return function
