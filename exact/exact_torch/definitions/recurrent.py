"""Recurrent networks, step by step: every step is a sequence of defined ops.

torch hands whole sequences to cuDNN, oneDNN or a loop of its own, with different roundings. Here
the inputs' share of all gates is one product, and each step adds the state's share.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch.nn import functional

from exact_torch.table import Rule, replace, trust

trust(
    "_pack_padded_sequence",
    "_cudnn_rnn_flatten_weight",
    rule=Rule.MOVES,
    meaning="copies of elements",
)

State = tuple[torch.Tensor, ...]
"""h of a layer and direction, (batch, hidden), or h and c."""

Cell = Callable[[torch.Tensor, torch.Tensor, State], State]
"""Takes the inputs' and the state's share of the gates, (batch, gates·size), to the next state."""


def _lstm_cell(inputs: torch.Tensor, states: torch.Tensor, state: State) -> State:
    """Hochreiter and Schmidhuber, Neural Computation 9(8), 1997; gates in torch's order."""
    i, f, g, o = (inputs + states).chunk(4, 1)
    c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def _gru_cell(inputs: torch.Tensor, states: torch.Tensor, state: State) -> State:
    """Cho et al., arXiv:1406.1078, with the reset after the product, as in torch."""
    input_r, input_z, input_n = inputs.chunk(3, 1)
    state_r, state_z, state_n = states.chunk(3, 1)
    r, z = torch.sigmoid(input_r + state_r), torch.sigmoid(input_z + state_z)
    n = torch.tanh(input_n + r * state_n)
    return (n + z * (state[0] - n),)


def _tanh_cell(inputs: torch.Tensor, states: torch.Tensor, state: State) -> State:
    return (torch.tanh(inputs + states),)


def _relu_cell(inputs: torch.Tensor, states: torch.Tensor, state: State) -> State:
    return (torch.relu(inputs + states),)


_CELLS: Final[dict[str, tuple[Cell, str]]] = {
    "lstm": (_lstm_cell, "c = s(f)·c + s(i)·tanh(g), h = s(o)·tanh(c), s the sigmoid"),
    "gru": (_gru_cell, "n = tanh(in + r·hn), h = n + z·(h - n)"),
    "rnn_tanh": (_tanh_cell, "h = tanh(x @ Wᵀ + h @ Uᵀ)"),
    "rnn_relu": (_relu_cell, "h = relu(x @ Wᵀ + h @ Uᵀ)"),
}


def _define(name: str) -> None:
    cell, meaning = _CELLS[name]
    has_memory = name == "lstm"

    @replace(getattr(torch, name), rule=Rule.COMPOSITION, meaning=meaning)
    def run(data: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, ...]:
        """Run over a sequence: (input, hx, weights, …) or (data, batch_sizes, hx, weights, …)."""
        packed = isinstance(arguments[0 if has_memory else 1], torch.Tensor)
        if packed:
            sizes, initial, weights, *options = arguments
            has_biases, layers, dropout, train, bidirectional = options
            steps = [int(size) for size in sizes]
            rows = data
        else:
            initial, weights, *options, batch_first = arguments
            has_biases, layers, dropout, train, bidirectional = options
            sequence = data.transpose(0, 1) if batch_first else data
            steps = [sequence.shape[1]] * sequence.shape[0]
            rows = sequence.reshape(-1, sequence.shape[2])
        output, state = _layers(
            cell,
            rows,
            steps,
            tuple(initial) if has_memory else (initial,),
            _split(weights, layers * (2 if bidirectional else 1), has_biases=has_biases),
            layers=layers,
            dropout=dropout if train else 0.0,
        )
        if not packed:
            output = output.reshape(*sequence.shape[:2], -1)
            output = output.transpose(0, 1) if batch_first else output
        return output, *state

    @replace(getattr(torch, f"{name}_cell"), rule=Rule.COMPOSITION, meaning=meaning)
    def run_cell(
        x: torch.Tensor,
        state: Any,
        input_weight: torch.Tensor,
        state_weight: torch.Tensor,
        input_bias: torch.Tensor | None = None,
        state_bias: torch.Tensor | None = None,
    ) -> State | torch.Tensor:
        """Take one step."""
        before = tuple(state) if has_memory else (state,)
        inputs = functional.linear(x, input_weight, input_bias)
        after = cell(inputs, functional.linear(before[0], state_weight, state_bias), before)
        return after if has_memory else after[0]


Weights = tuple[torch.Tensor | None, ...]
"""Of a layer and direction: input weight, state weight, biases, projection; None if absent."""


def _split(weights: Sequence[torch.Tensor], count: int, *, has_biases: bool) -> list[Weights]:
    """Divide the flat list of weights by layer and direction."""
    size = len(weights) // count
    groups = []
    for start in range(0, len(weights), size):
        group = list(weights[start : start + size])
        biases = group[2:4] if has_biases else [None, None]
        projection = group[-1] if size in (3, 5) else None
        groups.append((group[0], group[1], *biases, projection))
    return groups


def _layers(
    cell: Cell,
    rows: torch.Tensor,
    steps: Sequence[int],
    initial: State,
    weights: Sequence[Weights],
    *,
    layers: int,
    dropout: float,
) -> tuple[torch.Tensor, State]:
    """Run all layers and directions.

    Args:
        cell: one step.
        rows: the inputs of all steps one after the other, (sum of steps, features).
        steps: how many sequences each step has; never more than the one before.
        initial: the states, each (layers · directions, batch, size).
        weights: by layer, then direction.
        layers: how many layers.
        dropout: probability, between layers.

    Returns:
        The last layer's h of all steps, (sum of steps, directions · size), and the final states.
    """
    directions = len(weights) // layers
    final: list[State] = []
    for layer in range(layers):
        if layer > 0 and dropout > 0.0:
            rows = functional.dropout(rows, dropout)
        outputs = []
        for direction in range(directions):
            number = layer * directions + direction
            state = tuple(s[number] for s in initial)
            run = _backwards if direction == 1 else _forwards
            output, last = run(cell, rows, steps, state, weights[number])
            outputs.append(output)
            final.append(last)
        rows = torch.cat(outputs, -1) if directions == 2 else outputs[0]
    return rows, tuple(torch.stack(states) for states in zip(*final, strict=True))


def _forwards(
    cell: Cell, rows: torch.Tensor, steps: Sequence[int], state: State, weights: Weights
) -> tuple[torch.Tensor, State]:
    """Run from the first step; sequences that end leave their state behind."""
    inputs = functional.linear(rows, *_input_side(weights)).split(list(steps))
    outputs, ended = [], []
    for size, share in zip(steps, inputs, strict=True):
        if size < len(state[0]):
            ended.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        state = _step(cell, share, state, weights)
        outputs.append(state[0])
    parts = [state, *reversed(ended)]
    final = tuple(torch.cat(states) for states in zip(*parts, strict=True)) if ended else state
    return torch.cat(outputs), final


def _backwards(
    cell: Cell, rows: torch.Tensor, steps: Sequence[int], state: State, weights: Weights
) -> tuple[torch.Tensor, State]:
    """Run from the last step; shorter sequences join with their initial state."""
    inputs = functional.linear(rows, *_input_side(weights)).split(list(steps))
    initial, outputs = state, []
    state = tuple(s[: steps[-1]] for s in initial)
    for size, share in zip(reversed(steps), reversed(inputs), strict=True):
        present = len(state[0])
        if size > present:
            state = tuple(
                torch.cat([s, start[present:size]]) for s, start in zip(state, initial, strict=True)
            )
        state = _step(cell, share, state, weights)
        outputs.append(state[0])
    return torch.cat(outputs[::-1]), state


def _step(cell: Cell, inputs: torch.Tensor, state: State, weights: Weights) -> State:
    _, state_weight, _, state_bias, projection = weights
    assert state_weight is not None
    h, *rest = cell(inputs, functional.linear(state[0], state_weight, state_bias), state)
    return (h if projection is None else functional.linear(h, projection)), *rest


def _input_side(weights: Weights) -> tuple[torch.Tensor, torch.Tensor | None]:
    weight, _, bias, _, _ = weights
    assert weight is not None
    return weight, bias


for _name in _CELLS:
    _define(_name)
