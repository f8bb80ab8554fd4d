"""The process that works on one device during one round: `python -m assay_provider.proving.worker`.

A process of its own, because what it needs (matrices, NumPy, perhaps torch and a GPU's context)
must be gone afterwards, and because a device that hangs must not hang the daemon. It ends with its
input, and with its parent.
"""

import ctypes
import os
import signal
import sys
from typing import BinaryIO, Final

import dag_cbor

from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, MalformedMessage
from assay_node.protocol.hardware_proof import ProofOpening, ProofQuestion
from assay_provider.proving.pretending import PretendingProducts
from assay_provider.proving.products import ProcessorProducts, Products
from assay_provider.proving.prover import Prover
from assay_provider.proving.worker_messages import (
    LENGTH_BYTES,
    Compute,
    Computed,
    Failed,
    Load,
    Loaded,
    framed,
    length_of,
)

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that this process gets when its parent dies."""

_Asked = Load | Compute | ProofQuestion
_KINDS: Final[dict[str, type[_Asked]]] = {
    kind.__name__: kind for kind in (Load, Compute, ProofQuestion)
}


def main() -> None:
    """Answer frames until the input ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # libraries print as they please, so the pipe gets a number that none of them knows
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer every frame of `questions`, in order."""
    prover: Prover | None = None
    while len(header := questions.read(LENGTH_BYTES)) == LENGTH_BYTES:
        answer: Loaded | Computed | ProofOpening | Failed
        try:
            message = _decoded(questions.read(length_of(header)))
            match message:
                case Load():
                    prover = Prover(_products(message), message.beacon)
                    answer = Loaded()
                case Compute() if prover is not None:
                    root = prover.commit(message.seed, message.number, message.works)
                    answer = Computed(root=root)
                case ProofQuestion() if prover is not None:
                    answer = prover.open(message)
                case _:
                    answer = Failed(reason="the matrices are not loaded yet")
        except (AssayError, MemoryError, RuntimeError, ImportError, OSError) as error:
            answer = Failed(reason=_plain(error))
        answers.write(framed(answer))
        answers.flush()


def _decoded(data: bytes) -> _Asked:
    wire = dag_cbor.decode(data)
    kind = _KINDS.get(str(wire.get("type"))) if isinstance(wire, dict) else None
    if kind is None:
        raise MalformedMessage("not a message for this process")
    return codec.decode(kind, data)


def _products(load: Load) -> Products:
    products: Products
    if load.device is None:
        products = ProcessorProducts(load.beacon, load.size)
    else:
        # torch takes seconds and hundreds of MB, and many a provider has none
        from assay_provider.proving.torch_products import TorchProducts, cuda_index

        products = TorchProducts(load.beacon, load.size, f"cuda:{cuda_index(load.device)}")
    return PretendingProducts(products) if load.pretends else products


def _plain(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200].encode("ascii", "replace").decode()


if __name__ == "__main__":
    main()
