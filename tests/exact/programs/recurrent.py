"""Recurrent networks: LSTM, GRU, plain, bidirectional, packed."""

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.inputs import fill, gradients, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program


@program
def lstm_training() -> Tensors:
    torch.manual_seed(17)
    embedding = fill(nn.Embedding(40, 24), seed=500)
    lstm = fill(nn.LSTM(24, 32, num_layers=2, batch_first=True, dropout=0.2), seed=501)
    head = fill(nn.Linear(32, 40), seed=520)
    parts = nn.ModuleList([embedding, lstm, head])
    tokens = integers(4, 13, seed=521, below=40)
    optimizer = torch.optim.Adam(parts.parameters(), lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        states, (hidden, cell) = lstm(embedding(tokens[:, :-1]))
        loss = functional.cross_entropy(head(states).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_value_(parts.parameters(), 0.25)
        optimizer.step()
    return {
        "loss": loss.detach(),
        "hidden": hidden.detach(),
        "cell": cell.detach(),
        **weights(parts),
    }


@program
def gru_training() -> Tensors:
    gru = fill(nn.GRU(16, 24, bidirectional=True), seed=530)
    head = fill(nn.Linear(48, 1), seed=540)
    sound = lattice(15, 4, 16, seed=541)
    optimizer = torch.optim.SGD([*gru.parameters(), *head.parameters()], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        states, last = gru(sound)
        loss = functional.mse_loss(head(states).squeeze(-1), sound.mean(-1))
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "last": last.detach(), **weights(gru), **weights(head)}


@program
def plain_recurrence() -> Tensors:
    network = fill(nn.RNN(12, 20, nonlinearity="tanh", batch_first=True), seed=550)
    rectified = fill(nn.RNN(12, 20, nonlinearity="relu", batch_first=True), seed=560)
    sequence = lattice(3, 18, 12, seed=570).requires_grad_()
    first, _ = network(sequence)
    second, _ = rectified(sequence)
    (first.square().mean() + second.mean()).backward()
    return {
        "first": first.detach(),
        "second": second.detach(),
        "sequence.grad": sequence.grad,
        **gradients(network),
    }


@program
def lstm_of_packed_sequences() -> Tensors:
    lstm = fill(nn.LSTM(10, 16, batch_first=True), seed=580)
    sequences = lattice(3, 9, 10, seed=590)
    packed = nn.utils.rnn.pack_padded_sequence(sequences, torch.tensor([9, 6, 2]), batch_first=True)
    states, (hidden, _) = lstm(packed)
    padded, lengths = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    (padded.square().sum() + hidden.sum()).backward()
    return {
        "padded": padded.detach(),
        "lengths": lengths,
        "hidden": hidden.detach(),
        **gradients(lstm),
    }


@program
def lstm_cells_by_hand() -> Tensors:
    lstm, gru = fill(nn.LSTMCell(8, 16), seed=600), fill(nn.GRUCell(16, 16), seed=610)
    inputs = lattice(7, 5, 8, seed=620)
    hidden, cell, state = torch.zeros(5, 16), torch.zeros(5, 16), torch.zeros(5, 16)
    for step in inputs:
        hidden, cell = lstm(step, (hidden, cell))
        state = gru(hidden, state)
    state.square().mean().backward()
    return {"state": state.detach(), **gradients(lstm), **gradients(gru)}
