"""Real models as programs of the matrix: each needs data that a machine may lack."""

import importlib.util

from tests.exact.models import minilm, texts, training
from tests.exact.programs.inputs import weights
from tests.exact.programs.registry import Program, Tensors


class Missing(Exception):
    """The data of a real model is not installed here."""


def minilm_questions() -> Tensors:
    """Return the embeddings of twenty fixed questions, published weights."""
    folder = minilm.model_folder()
    if folder is None:
        raise Missing(f"the package {minilm.PACKAGE} is not installed")
    model, tokenizer = minilm.load(folder)
    return {"embeddings": minilm.encode(model, tokenizer, list(texts.QUESTIONS))}


def digits_cnn() -> Tensors:
    """Return the weights after twelve steps on handwritten digits."""
    if importlib.util.find_spec("sklearn") is None:
        raise Missing("scikit-learn is not installed")
    return weights(training.digits(steps=12).model)


MODELS: dict[str, Program] = {
    "minilm_questions": minilm_questions,
    "digits_cnn": digits_cnn,
}
