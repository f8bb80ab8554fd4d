"""Recurrent networks against torch's own in float64, packed and alone."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import exact_torch
from tests.exact.comparing import EXAMPLES, error, lattice, same_bits

KINDS: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    (nn.LSTM, {}),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "proj_size": 3}),
    (nn.LSTM, {"batch_first": True, "num_layers": 2, "bias": False}),
    (nn.GRU, {"num_layers": 2, "bidirectional": True, "bias": False}),
    (nn.GRU, {"batch_first": True}),
    (nn.RNN, {"bidirectional": True}),
    (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
]
LENGTHS = (3, 5, 1)


def network(kind: type[nn.RNNBase], options: dict[str, Any]) -> nn.RNNBase:
    module = kind(4, 6, **options)
    for seed, parameter in enumerate(module.parameters()):
        parameter.data.copy_(lattice(*parameter.shape, seed=seed) * 0.6)
    return module


def run(module: nn.RNNBase, x: torch.Tensor, *, packed: bool) -> list[torch.Tensor]:
    """Outputs, final states, and the gradients of the input and of every weight."""
    x = x.clone().requires_grad_()
    first = module.batch_first
    if packed:
        packs = pack_padded_sequence(x, list(LENGTHS), batch_first=first, enforce_sorted=False)
        output, states = module(packs)
        output, _ = pad_packed_sequence(output, batch_first=first)
    else:
        output, states = module(x)
    results = [output, *(states if isinstance(states, tuple) else (states,))]
    loss = sum(((t * t).sum() for t in results), torch.zeros((), dtype=x.dtype))
    gradients = torch.autograd.grad(loss, [x, *module.parameters()])
    return [*(t.detach() for t in results), *gradients]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_outputs_states_and_gradients_are_torchs_in_float64(
    kind: type[nn.RNNBase], options: dict[str, Any], packed: bool
) -> None:
    module = network(kind, options)
    x = lattice(3, 5, 4) if module.batch_first else lattice(5, 3, 4)
    expected = run(module.double(), x.double(), packed=packed)
    module.float()
    with exact_torch.mode("E21"):
        got = run(module, x, packed=packed)
    assert len(got) == len(expected)
    for ours, reference in zip(got, expected, strict=True):
        assert ours.shape == reference.shape
        assert error(ours, reference, least=0.1) < 2e-5


@EXAMPLES
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4), kind=st.sampled_from(KINDS[:4]))
def test_a_sequence_in_a_pack_is_the_sequence_alone(
    lengths: list[int], kind: tuple[type[nn.RNNBase], dict[str, Any]]
) -> None:
    module = network(*kind)
    first = module.batch_first
    x = lattice(len(lengths), max(lengths), 4)
    with exact_torch.mode("E14"), torch.no_grad():
        pack = pack_padded_sequence(
            x if first else x.transpose(0, 1), lengths, batch_first=first, enforce_sorted=False
        )
        packed, states = module(pack)
        output, _ = pad_packed_sequence(packed, batch_first=True)
        for i, length in enumerate(lengths):
            alone = x[i, :length].unsqueeze(0 if first else 1)
            single, single_states = module(alone)
            assert same_bits(output[i, :length], single.squeeze(0 if first else 1))
            for all_states, own in zip(tuples(states), tuples(single_states), strict=True):
                assert same_bits(all_states[:, i], own[:, 0])


def tuples(states: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return states if isinstance(states, tuple) else (states,)


@pytest.mark.parametrize(("kind", "options"), [KINDS[1], KINDS[3]])
def test_packs_begin_with_the_given_states(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    module = network(kind, options)
    x = lattice(5, 3, 4)
    sizes = [options.get("proj_size", 6), 6] if kind is nn.LSTM else [6]
    states = tuple(lattice(4, 3, size, seed=7 + size) for size in sizes)
    outputs = []
    for dtype in (torch.float64, torch.float32):
        module.to(dtype)
        pack = pack_padded_sequence(x.to(dtype), list(LENGTHS), enforce_sorted=False)
        given_states = tuple(s.to(dtype) for s in states)
        start = given_states if kind is nn.LSTM else given_states[0]
        if dtype is torch.float32:
            with exact_torch.mode("E21"):
                output, end = module(pack, start)
        else:
            output, end = module(pack, start)
        outputs.append([output.data, *tuples(end)])
    for reference, ours in zip(*outputs, strict=True):
        assert error(ours, reference, least=0.1) < 2e-5


def test_given_states_are_continued() -> None:
    module = network(nn.LSTM, {})
    x = lattice(6, 2, 4)
    with exact_torch.mode("E21"), torch.no_grad():
        whole, end = module(x)
        start, state = module(x[:2])
        rest, last = module(x[2:], state)
        unbatched, _ = module(x[:, 0])
    assert same_bits(torch.cat([start, rest]), whole)
    assert all(same_bits(a, b) for a, b in zip(end, last, strict=True))
    assert same_bits(unbatched, whole[:, 0])


@pytest.mark.parametrize(
    "cell",
    [
        nn.LSTMCell(4, 6),
        nn.GRUCell(4, 6),
        nn.RNNCell(4, 6),
        nn.RNNCell(4, 6, nonlinearity="relu", bias=False),
    ],
)
def test_a_cell_is_one_step_of_its_network(cell: nn.RNNCellBase) -> None:
    for seed, parameter in enumerate(cell.parameters()):
        parameter.data.copy_(lattice(*parameter.shape, seed=seed))
    x = lattice(3, 4)
    expected = tuples(cell.double()(x.double()))
    cell.float()
    with exact_torch.mode("E21"):
        got = tuples(cell(x))
    assert all(error(a, b, least=0.1) < 2e-5 for a, b in zip(got, expected, strict=True))


def test_dropout_is_between_layers_in_training_alone() -> None:
    module = network(nn.GRU, {"num_layers": 2, "dropout": 0.5})
    single = network(nn.GRU, {"dropout": 0.0})
    x = lattice(5, 3, 4)
    with exact_torch.mode("E21"), torch.no_grad():
        torch.manual_seed(1)
        one = module(x)[0]
        torch.manual_seed(2)
        other = module(x)[0]
        assert not same_bits(one, other)
        module.eval()
        state = torch.get_rng_state()
        assert same_bits(module(x)[0], module(x)[0])
        assert torch.equal(state, torch.get_rng_state())
        assert single(x)[0].shape == one.shape
