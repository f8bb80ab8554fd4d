"""How near exact_torch is to float64, beside plain PyTorch's float32 and bfloat16.

Products of matrices, the sentence encoder MiniLM on real sentences, and two trainings on real
data. Writes bench/exact_accuracy.md. No times: only plain PyTorch's numbers depend on where it ran.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from tests.exact.models import minilm, texts, training
from tests.exact.programs.inputs import lattice
from torch.nn import functional

import exact_torch
from bench.figures import Figure

TABLES = Path(__file__).parent / "exact_accuracy.md"
FLOAT32, BFLOAT16 = "plain float32", "plain bfloat16"
MODES = ("E21", "E14", "FMA")
SENTENCES = 600
BEST = 10
SIZES = (256, 1024, 2048)
OUTLIERS = 100.0
STEPS = 150
EMBEDDING_GOALS = {"E21": 1e-5, "E14": 1e-3, "FMA": 1e-6}

Rows = list[list[str]]


def run() -> list[Figure]:
    torch.set_num_threads(2)
    parts = [_products()]
    figures: list[Figure] = []
    folder = minilm.model_folder()
    if folder is None:
        print(f"  MiniLM left out: the package {minilm.PACKAGE} is not installed")
    else:
        sentence_part, figures = _sentences(folder)
        parts += [sentence_part, _equilibration(folder)]
    parts += [
        _training("A transformer on characters of text", training.characters),
        _training("A CNN on handwritten digits", training.digits),
    ]
    TABLES.write_text("\n".join([_HEAD, *parts]))
    print("\n".join(parts))
    return figures


_HEAD = """# Accuracy of exact_torch

<!-- Written by `make bench ONLY=exact_accuracy`; do not edit. -->
"""


def _products() -> str:
    rows: Rows = []
    for name in (FLOAT32, *MODES, BFLOAT16):
        cells = [name]
        for outliers in (1.0, OUTLIERS):
            for size in SIZES:
                a, b = lattice(size, size, seed=1), lattice(size, size, seed=2)
                a[:, ::97] *= outliers
                wanted = a.double() @ b.double()
                found = _product(name, a, b).double()
                cells.append(f"{float((found - wanted).norm() / wanted.norm()):.1e}")
        rows.append(cells)
    heads = [f"n = {n}" for n in SIZES] + [f"n = {n}, outliers" for n in SIZES]
    return _table(
        "Products of square matrices",
        "Relative error (Frobenius norm) against float64. Entries are spread evenly; with "
        f"outliers, each 97th column of the left factor is {OUTLIERS:g} times as large.",
        ["", *heads],
        rows,
    )


def _product(name: str, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if name == BFLOAT16:
        return a.bfloat16() @ b.bfloat16()
    with _context(name):
        return a @ b


def _sentences(folder: Path) -> tuple[str, list[Figure]]:
    lines = [*texts.QUESTIONS, *texts.sentences(SENTENCES)]
    model, tokenizer = minilm.load(folder)
    reference = minilm.encode(model.double(), tokenizer, lines)
    wanted = _ranking(reference)
    rows: Rows = []
    worst: dict[str, float] = {}
    for name in (FLOAT32, *MODES, BFLOAT16):
        model, tokenizer = minilm.load(folder)
        if name == BFLOAT16:
            model = model.bfloat16()
        with _context(name):
            found = minilm.encode(model, tokenizer, lines).double()
        error = (found - reference).abs()
        cosine = 1 - functional.cosine_similarity(found, reference)
        ranking = _ranking(found)
        worst[name] = float(error.max())
        rows.append(
            [
                name,
                f"{worst[name]:.1e}",
                f"{float(error.square().mean().sqrt()):.1e}",
                f"{max(0.0, float(cosine.max())):.1e}",
                str(int((ranking[:, :BEST] != wanted[:, :BEST]).any(1).sum())),
                str(int((ranking != wanted).sum())),
            ]
        )
    part = _table(
        "Sentences: all-MiniLM-L6-v2, published weights",
        f"{SENTENCES} sentences of Python's language reference and {len(texts.QUESTIONS)} "
        "questions about it, against the same model in float64. An embedding has length one and "
        "384 numbers. Rankings: the sentences by their cosine to each question; "
        f"{len(texts.QUESTIONS)} rankings of {SENTENCES} places.",
        [
            "",
            "largest error",
            "root mean square error",
            "largest cosine distance",
            f"questions whose {BEST} best changed",
            f"places changed, of {SENTENCES * len(texts.QUESTIONS):,}",
        ],
        rows,
    )
    return part, [_figure(name, worst) for name in MODES]


def _ranking(embeddings: torch.Tensor) -> torch.Tensor:
    count = len(texts.QUESTIONS)
    scores = embeddings[:count] @ embeddings[count:].t()
    return scores.argsort(dim=1, descending=True, stable=True)


def _figure(name: str, worst: dict[str, float]) -> Figure:
    goal = EMBEDDING_GOALS[name]
    return Figure(
        figure=f"exact accuracy: MiniLM embeddings, {name}",
        value=worst[name],
        unit="largest error",
        spread=(worst[name], worst[name]),
        reference=BFLOAT16,
        reference_value=worst[BFLOAT16],
        ratio=round(worst[name] / worst[BFLOAT16], 6),
        goal=f"<= {goal:g}",
        holds=worst[name] <= goal,
    )


def _training(title: str, train: Callable[..., training.Trained]) -> str:
    rows: Rows = []
    for name in (FLOAT32, *MODES, BFLOAT16):
        with _context(name):
            result = train(steps=STEPS, autocast=name == BFLOAT16)
        rows.append(
            [
                name,
                *(f"{result.losses[step - 1]:.6f}" for step in (1, 10, 50, STEPS)),
                f"{result.held_out:.5f}",
                f"{100 * result.accuracy:.2f} %",
            ]
        )
    return _table(
        title,
        f"{STEPS} steps from the same weights over the same batches; bfloat16 by autocast. The "
        "last two columns are of data that training never saw.",
        ["", "loss, step 1", "step 10", "step 50", f"step {STEPS}", "held-out loss", "right"],
        rows,
    )


# --- would powers of two for each channel help? ---------------------------------------------------


def _equilibration(folder: Path) -> str:
    """Emulate E14's products with and without scales for channels, taken from the weights."""
    lines = texts.sentences(100)
    model, tokenizer = minilm.load(folder)
    reference = minilm.encode(model.double(), tokenizer, lines)
    rows: Rows = []
    for name, share in (("as E14 is", 0.0), ("halves of the exponents", 0.5), ("all of it", 1.0)):
        model, tokenizer = minilm.load(folder)
        for part in model.modules():
            if isinstance(part, torch.nn.Linear):
                part.register_forward_hook(_equilibrated(share))
        error = (minilm.encode(model, tokenizer, lines).double() - reference).abs()
        rows.append(
            [name, f"{float(error.max()):.1e}", f"{float(error.square().mean().sqrt()):.1e}"]
        )
    return _table(
        "Channel equilibration: measured, and left out",
        "E14 with a power of two for each channel, from the largest weight that the channel meets, "
        "so that it does not depend on the batch; emulated, in the encoder's 36 linear layers, 100 "
        "sentences. These weights have no channel that needs it, and the spread of the weights "
        "which it moves into the activations costs more than it saves.",
        ["scales", "largest error", "root mean square error"],
        rows,
    )


def _equilibrated(share: float) -> Callable[..., torch.Tensor]:
    """Return a hook that puts an emulated E14 product in place of a linear layer's own."""

    def hook(layer: torch.nn.Linear, inputs: tuple[torch.Tensor], _: torch.Tensor) -> torch.Tensor:
        rows, weight = inputs[0].double(), layer.weight.double()
        largest = weight.abs().amax(0)
        scale = 2.0 ** torch.round(share * torch.log2(largest))
        product = _quantised(rows * scale) @ _quantised(weight / scale).t()
        return (product + layer.bias).to(inputs[0].dtype)

    return hook


def _quantised(x: torch.Tensor) -> torch.Tensor:
    """Round each row as E14 does: 13 bits from the exponent of its largest value down."""
    exponent = torch.floor(torch.log2(x.abs().amax(-1, keepdim=True).clamp(min=1e-300)))
    unit = 2.0 ** (exponent - 12)
    return torch.round(x / unit) * unit


# --------------------------------------------------------------------------------------------------


def _context(name: str) -> AbstractContextManager[object]:
    return exact_torch.mode(name) if name in MODES else nullcontext()


def _table(title: str, text: str, heads: list[str], rows: Rows) -> str:
    lines = [
        f"## {title}",
        "",
        text,
        "",
        "| " + " | ".join(heads) + " |",
        "|---" * len(heads) + "|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)
