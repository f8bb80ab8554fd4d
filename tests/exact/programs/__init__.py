"""The corpus: unmodified PyTorch programs, none of which knows of exact_torch.

Each is a function without arguments that returns named tensors; `PROGRAMS` holds them by name.
Their inputs have the same bits everywhere, so that a difference between two runs is the program's.
"""

from tests.exact.programs import (
    activations,
    algebra,
    batch_position,
    convolutional,
    indexing,
    losses,
    low_precision,
    normalisation,
    perceptrons,
    randomness,
    recurrent,
    schedules,
    transformers,
)
from tests.exact.programs.registry import PROGRAMS, Program, Tensors

FAMILIES = (
    activations,
    algebra,
    batch_position,
    convolutional,
    indexing,
    losses,
    low_precision,
    normalisation,
    perceptrons,
    randomness,
    recurrent,
    schedules,
    transformers,
)

__all__ = ["FAMILIES", "PROGRAMS", "Program", "Tensors"]
