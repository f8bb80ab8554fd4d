"""The proof of hardware: what checking costs beside computing, on this machine's processor.

The verifier's arithmetic and the provider's are measured in one process, one after the other, with
NumPy on all cores; no network, no GPU. "Provider seconds" are those of this processor.
"""

import secrets
import statistics
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from assay_node.proof_arithmetic.matrices import Matrix, mixed_rows, permutation_of, rows_of
from assay_node.proof_arithmetic.questions import questions
from assay_node.proof_arithmetic.verification import Secret, check_opening
from assay_node.protocol.hardware_proof import ProofPart, ProofQuestion
from assay_node.protocol.ids import Digest
from assay_provider.proving.products import ProcessorProducts
from assay_provider.proving.prover import Prover
from bench.figures import Figure, percentile

_T = TypeVar("_T")

SIZE = 8192
WORKS = 2
"""What a processor of 180 GFLOPS is asked for in twelve seconds."""
SAMPLE_ROWS = 64
REPEATS = 3


def run() -> list[Figure]:
    beacon, seed, round_id = (Digest(secrets.token_bytes(32)) for _ in range(3))
    part = ProofPart(device=None, size=SIZE, works=WORKS)
    epoch_s, secret = timed(lambda: Secret.draw(beacon, SIZE))
    products = ProcessorProducts(beacon, SIZE)
    prover = Prover(products, beacon)
    commit_s, root = timed(lambda: prover.commit(seed, 0, WORKS))
    pages = [(question, prover.open(question)) for _, question in questions(round_id, (part,))]
    rows = sum(len(question.rows) for question, _ in pages)

    def verify() -> None:
        for question, opening in pages:
            check_opening(opening, question, part, seed=seed, root=root, secret=secret)

    verify_s = [timed(verify)[0] for _ in range(5 * REPEATS)]
    recompute_s = recomputing(products, beacon, seed, pages[0][0])
    samples = rows / SAMPLE_ROWS
    print(
        f"n = {SIZE}: {WORKS} products in {commit_s:.1f} s "
        f"({part.operations / commit_s / 1e9:.0f} GFLOPS), {rows} rows checked in "
        f"{statistics.median(verify_s) * 1e3:.1f} ms, once an epoch {epoch_s:.2f} s"
    )
    return [
        verifier_figure(verify_s, samples, recompute_s),
        ratio_figure(commit_s, verify_s),
        epoch_figure(epoch_s, commit_s),
        share_figure(prover, seed),
    ]


def verifier_figure(verify_s: list[float], samples: float, recompute_s: float) -> Figure:
    per_sample = [1e3 * seconds / samples for seconds in verify_s]
    value = statistics.median(per_sample)
    return Figure(
        figure="proof: verifier time for a sample of 64 rows, n = 8192",
        value=round(value, 2),
        unit="ms",
        spread=(round(percentile(per_sample, 0.05), 2), round(percentile(per_sample, 0.95), 2)),
        reference="computing those rows instead, here",
        reference_value=round(recompute_s * 1e3, 1),
        ratio=round(value / (recompute_s * 1e3), 3),
        goal="at most 20 ms (arithmetic on this CPU)",
        holds=value <= 20,
    )


def ratio_figure(commit_s: float, verify_s: list[float]) -> Figure:
    ratios = [commit_s / seconds for seconds in verify_s]
    value = statistics.median(ratios)
    return Figure(
        figure="proof: provider seconds for a verifier second, n = 8192",
        value=round(value, 0),
        unit="s/s",
        spread=(round(percentile(ratios, 0.05), 0), round(percentile(ratios, 0.95), 0)),
        reference="what is asked for",
        reference_value=100,
        ratio=round(value / 100, 2),
        goal="at least 100 (arithmetic on this CPU)",
        holds=value >= 100,
    )


def epoch_figure(epoch_s: float, commit_s: float) -> Figure:
    return Figure(
        figure="proof: verifier time once an epoch, n = 8192",
        value=round(epoch_s, 2),
        unit="s",
        spread=(round(epoch_s, 2), round(epoch_s, 2)),
        reference="one challenge, at the provider",
        reference_value=round(commit_s, 1),
        ratio=round(epoch_s / commit_s, 3),
        goal="less than one challenge",
        holds=epoch_s < commit_s,
    )


def share_figure(prover: Prover, seed: Digest) -> Figure:
    """How much of plain multiplication's figure an honest proof shows; pairs, in turns."""
    ones = np.ones((SIZE, SIZE), np.float32)
    out = np.empty_like(ones)
    shares, rates = [], []
    for _ in range(REPEATS):
        plain_s, _ = timed(lambda: np.matmul(ones, ones, out=out))
        proof_s, _ = timed(lambda: prover.commit(seed, 0, 1))
        shares.append(plain_s / proof_s)
        rates.append(2 * SIZE**3 / plain_s / 1e9)
    value = statistics.median(shares)
    return Figure(
        figure="proof: share of plain GEMM that an honest proof shows, n = 8192",
        value=round(value, 3),
        unit="of 1",
        spread=(round(percentile(shares, 0.05), 3), round(percentile(shares, 0.95), 3)),
        reference="plain float32 GEMM, GFLOPS",
        reference_value=round(statistics.median(rates), 0),
        ratio=round(value, 3),
        goal="at least 0.9, which is what passes",
        holds=value >= 0.9,
    )


def recomputing(
    products: ProcessorProducts, beacon: Digest, seed: Digest, question: ProofQuestion
) -> float:
    """Seconds to compute 64 rows from scratch, with the whole of B there already."""
    places = list(zip(question.works, question.rows, strict=True))
    mixed = np.concatenate(
        [
            mixed_rows(rows_of(beacon, SIZE, Matrix.A, row, 1), permutation_of(seed, 0, work, SIZE))
            for work, row in places
        ]
    )
    sample = np.concatenate([mixed] * (SAMPLE_ROWS // len(mixed) + 1))[:SAMPLE_ROWS]
    return min(timed(lambda: products.rows(sample))[0] for _ in range(REPEATS))


def timed(work: Callable[[], _T]) -> tuple[float, _T]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found
