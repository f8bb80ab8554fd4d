"""Real models under the mode: as accurate as documented, and of use for what they are for."""

import functools
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch.nn import functional

import exact_torch
from tests.exact.models import minilm, texts, training
from tests.exact.settings import MODES, NATIVE

EMBEDDING_ERROR_MAX = {"E21": 1e-5, "E14": 1e-3, "FMA": 1e-6, NATIVE: 1e-6}
"""Largest difference of any element of an embedding (they have length one) from float64's."""

SENTENCES = 120
BEST = 10
"""Places of a ranking that a person would look at."""

needs_model = pytest.mark.skipif(
    minilm.model_folder() is None, reason=f"the package {minilm.PACKAGE} is not installed"
)


@pytest.fixture(scope="module")
def reference() -> torch.Tensor:
    """Embeddings of the questions and sentences by float64 PyTorch."""
    model, tokenizer = minilm.load(minilm.model_folder())
    return minilm.encode(model.double(), tokenizer, _texts())


@needs_model
@pytest.mark.parametrize("mode", [NATIVE, *MODES])
def test_embeddings_are_within_the_documented_error(mode: str, reference: torch.Tensor) -> None:
    embeddings = _embeddings(mode)
    error = (embeddings.double() - reference).abs().max().item()
    assert error <= EMBEDDING_ERROR_MAX[mode]
    cosine = functional.cosine_similarity(embeddings.double(), reference)
    assert (1 - cosine).max().item() <= EMBEDDING_ERROR_MAX[mode]


@needs_model
@pytest.mark.parametrize("mode", MODES)
def test_the_best_sentences_for_a_question_stay_in_their_order(
    mode: str, reference: torch.Tensor
) -> None:
    """Neighbours may change places only where float64 itself holds them equal to within the error
    that two embeddings can add up to; for E21 and FMA none does."""
    wanted, found = _rankings(reference), _rankings(_embeddings(mode).double())
    if mode != "E14":
        assert torch.equal(found, wanted)
    scores = reference[: len(texts.QUESTIONS)] @ reference[len(texts.QUESTIONS) :].t()
    gaps = (scores.gather(1, wanted) - scores.gather(1, found)).abs()
    assert gaps.max().item() <= 2 * EMBEDDING_ERROR_MAX[mode]


@needs_model
def test_the_answer_to_a_question_is_found() -> None:
    """The encoder, the tokenizer and the weights fit together: else neighbours would be chance."""
    lines = texts.sentences(SENTENCES)
    [row] = _rankings(_embeddings("E21"))[:1].tolist()
    assert "exception" in " ".join(lines[place].lower() for place in row[:3])


@pytest.mark.parametrize("mode", MODES)
def test_a_transformer_learns_text_as_well_as_natively(mode: str) -> None:
    native = training.characters(steps=12)
    with _context(mode):
        exact = training.characters(steps=12)
    assert exact.losses[-1] < 0.8 * exact.losses[0]
    assert exact.held_out == pytest.approx(native.held_out, rel=_like_native(mode))
    assert exact.losses == pytest.approx(native.losses, rel=_like_native(mode))


@pytest.mark.parametrize("mode", MODES)
def test_a_cnn_learns_digits_as_well_as_natively(mode: str) -> None:
    native = training.digits(steps=40)
    with _context(mode):
        exact = training.digits(steps=40)
    assert exact.accuracy > 0.8
    assert exact.accuracy == pytest.approx(native.accuracy, abs=0.02)
    assert exact.losses[:10] == pytest.approx(native.losses[:10], rel=_like_native(mode))


@functools.cache
def _embeddings(mode: str) -> torch.Tensor:
    model, tokenizer = minilm.load(minilm.model_folder())
    with _context(mode):
        return minilm.encode(model, tokenizer, _texts())


def _texts() -> list[str]:
    return [*texts.QUESTIONS, *texts.sentences(SENTENCES)]


def _rankings(embeddings: torch.Tensor) -> torch.Tensor:
    """Return, for each question, the places of its best sentences, best first."""
    questions = embeddings[: len(texts.QUESTIONS)]
    scores = questions @ embeddings[len(texts.QUESTIONS) :].t()
    return scores.topk(BEST, dim=1).indices


def _context(mode: str) -> AbstractContextManager[object]:
    return nullcontext() if mode == NATIVE else exact_torch.mode(mode)


def _like_native(mode: str) -> float:
    """Return how far losses may drift from float32's in a few steps, relative."""
    return {"E21": 1e-3, "FMA": 1e-3, "E14": 1e-2}[mode]
