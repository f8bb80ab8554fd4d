"""Transformers: GPT, a Llama-like decoder, encoders with masks, PyTorch's own layers."""

import math

import torch
from torch import nn
from torch.nn import functional

from tests.exact.programs.inputs import fill, gradients, integers, lattice, weights
from tests.exact.programs.registry import Tensors, program


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, drop: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, drop
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.joint, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.joint(self.before(x)).split(width, dim=2)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        seen = self.mixed(seen.transpose(1, 2).reshape(batch, length, width))
        x = x + functional.dropout(seen, self.drop, self.training)
        thought = self.narrow(functional.gelu(self.wide(self.between(x))))
        return x + functional.dropout(thought, self.drop, self.training)


class GPT(nn.Module):
    """A small GPT with learned positions."""

    def __init__(
        self, *, tokens: int, width: int, layers: int, heads: int, length: int, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(tokens, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(_Block(width, heads, drop) for _ in range(layers))
        self.last, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)

    def forward(self, indices: torch.Tensor) -> torch.Tensor:
        x = self.token(indices) + self.position(torch.arange(indices.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x))


def small_gpt(*, seed: int, drop: float = 0.0) -> GPT:
    model = GPT(tokens=97, width=64, layers=2, heads=4, length=48, drop=drop)
    fill(model, seed=seed)
    return model


@program
def gpt_training() -> Tensors:
    """Dropout, AdamW, a cosine schedule with warm-up, gradients clipped by their norm."""
    torch.manual_seed(3)
    model = small_gpt(seed=300, drop=0.1)
    tokens = integers(4, 41, seed=301, below=97)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 2) * 0.5 * (1 + math.cos(math.pi * step / 8))
    )
    losses, norms = [], []
    for _ in range(4):
        optimizer.zero_grad(set_to_none=True)
        logits = model(tokens[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses), "norms": torch.stack(norms), **weights(model)}


@program
def gpt_greedy_text() -> Tensors:
    model = small_gpt(seed=310).eval()
    tokens = integers(2, 6, seed=311, below=97)
    with torch.inference_mode():
        for _ in range(10):
            logits = model(tokens)
            tokens = torch.cat([tokens, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    return {"tokens": tokens.clone(), "logits": logits.clone()}


@program
def gpt_sampled_text() -> Tensors:
    """Temperature, the 20 best, the nucleus of 90 %, then one draw."""
    torch.manual_seed(5)
    model = small_gpt(seed=320).eval()
    tokens = integers(2, 6, seed=321, below=97)
    with torch.no_grad():
        for _ in range(8):
            logits = model(tokens)[:, -1] / 0.8
            least = logits.topk(20).values[:, -1:]
            logits = logits.masked_fill(logits < least, -math.inf)
            ordered, order = logits.sort(dim=-1, descending=True)
            before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
            ordered = ordered.masked_fill(before > 0.9, -math.inf)
            logits = torch.full_like(logits, -math.inf).scatter(1, order, ordered)
            tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1)], dim=1)
    return {"tokens": tokens, "odds": logits.softmax(-1)}


class _LlamaBlock(nn.Module):
    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.before, self.between = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, groups * self.size, bias=False)
        self.value = nn.Linear(width, groups * self.size, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 2 * width, bias=False)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        normed = self.before(x)
        query = self.query(normed).view(batch, length, self.heads, self.size).transpose(1, 2)
        key = self.key(normed).view(batch, length, self.groups, self.size).transpose(1, 2)
        value = self.value(normed).view(batch, length, self.groups, self.size).transpose(1, 2)
        seen = functional.scaled_dot_product_attention(
            _turned(query, turn), _turned(key, turn), value, is_causal=True, enable_gqa=True
        )
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        normed = self.between(x)
        return x + self.down(functional.silu(self.gate(normed)) * self.up(normed))


def _turned(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Rotate pairs of features by their position's angle."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cosine, sine = turn.cos(), turn.sin()
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


@program
def llama_like_training() -> Tensors:
    """RMS norm, rotary positions, grouped-query attention, SwiGLU."""
    width, heads, groups, length = 48, 6, 2, 20
    embedding = nn.Embedding(61, width)
    blocks = nn.ModuleList(_LlamaBlock(width, heads, groups) for _ in range(2))
    last, head = nn.RMSNorm(width), nn.Linear(width, 61, bias=False)
    model = nn.ModuleList([embedding, blocks, last, head])
    fill(model, seed=330)
    rates = 10000.0 ** (-torch.arange(0, width // heads, 2).float() / (width // heads))
    turn = torch.outer(torch.arange(length).float(), rates)
    tokens = integers(3, length + 1, seed=331, below=61)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        x = embedding(tokens[:, :-1])
        for block in blocks:
            x = block(x, turn)
        logits = head(last(x))
        loss = functional.cross_entropy(logits.reshape(-1, 61), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
    return {"loss": loss.detach(), "logits": logits.detach(), **weights(model)}


@program
def encoder_with_masks() -> Tensors:
    """Padding masks, boolean and additive, and grouped queries, forward and backward."""
    query = lattice(2, 6, 17, 8, seed=340).requires_grad_()
    key = lattice(2, 2, 17, 8, seed=341).requires_grad_()
    value = lattice(2, 2, 17, 8, seed=342).requires_grad_()
    lengths = torch.tensor([17, 9])
    kept = (torch.arange(17) < lengths[:, None])[:, None, None, :]
    bias = -0.5 * (torch.arange(17)[:, None] - torch.arange(17)).abs().float()
    boolean = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=kept, enable_gqa=True
    )
    additive = functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(3, dim=1),
        value.repeat_interleave(3, dim=1),
        attn_mask=bias.masked_fill(~kept, -math.inf),
        scale=0.3,
    )
    (boolean.square().sum() + additive.sum()).backward()
    return {
        "boolean": boolean.detach(),
        "additive": additive.detach(),
        "query.grad": query.grad,
        "key.grad": key.grad,
        "value.grad": value.grad,
    }


@program
def multihead_attention() -> Tensors:
    layer = fill(nn.MultiheadAttention(32, 4, batch_first=True), seed=350)
    x = lattice(3, 11, 32, seed=351).requires_grad_()
    other = lattice(3, 7, 32, seed=352)
    hidden = torch.arange(11) >= torch.tensor([11, 8, 5])[:, None]
    itself, odds = layer(x, x, x, key_padding_mask=hidden)
    crossed, _ = layer(x, other, other, need_weights=False)
    (itself.square().sum() + crossed.sum()).backward()
    return {
        "itself": itself.detach(),
        "odds": odds.detach(),
        "crossed": crossed.detach(),
        "x.grad": x.grad,
        **gradients(layer),
    }


@program
def transformer_encoder_layer() -> Tensors:
    """PyTorch's own layers, in training and in the inference fast path."""
    torch.manual_seed(13)
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
    encoder = fill(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), seed=360)
    x = lattice(2, 10, 32, seed=361)
    padding = torch.arange(10) >= torch.tensor([10, 6])[:, None]
    trained = encoder(x, src_key_padding_mask=padding)
    trained[0].square().sum().backward()
    encoder.eval()
    with torch.no_grad():
        evaluated = encoder(x)
    return {"trained": trained.detach(), "evaluated": evaluated, **gradients(encoder)}


@program
def transformer_decoder() -> Tensors:
    layer = nn.TransformerDecoderLayer(24, 3, 48, dropout=0.0, activation="gelu", norm_first=True)
    fill(layer, seed=370)
    target, memory = lattice(9, 2, 24, seed=371), lattice(5, 2, 24, seed=372)
    causal = nn.Transformer.generate_square_subsequent_mask(9)
    result = layer(target, memory, tgt_mask=causal)
    result.square().mean().backward()
    return {"result": result.detach(), **gradients(layer)}


@program
def vision_transformer() -> Tensors:
    """Patches by a strided convolution, a class token, sinusoidal positions."""
    width = 32
    patches = fill(nn.Conv2d(3, width, 4, stride=4), seed=380)
    block = fill(_Block(width, 4, 0.0), seed=381)
    head = fill(nn.Linear(width, 7), seed=390)
    images = lattice(3, 3, 16, 16, seed=391)
    sequence = patches(images).flatten(2).transpose(1, 2)
    token = lattice(1, 1, width, seed=392).requires_grad_()
    sequence = torch.cat([token.expand(3, -1, -1), sequence], dim=1)
    places = torch.arange(sequence.shape[1]).float()[:, None]
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    positions = torch.stack([(places * rates).sin(), (places * rates).cos()], -1).flatten(1)
    logits = head(block(sequence + positions)[:, 0])
    functional.cross_entropy(logits, torch.tensor([0, 3, 6])).backward()
    return {
        "logits": logits.detach(),
        "token.grad": token.grad,
        **gradients(nn.ModuleList([patches, block, head])),
    }


@program
def cached_decoding() -> Tensors:
    """Keys and values kept from step to step, against the whole sequence at once."""
    query, key, value = (lattice(1, 4, 12, 16, seed=400 + n) for n in range(3))
    steps = [
        functional.scaled_dot_product_attention(
            query[:, :, n : n + 1], key[:, :, : n + 1], value[:, :, : n + 1]
        )
        for n in range(12)
    ]
    whole = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    return {"steps": torch.cat(steps, dim=2), "whole": whole}
