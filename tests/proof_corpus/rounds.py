"""Rounds of the proof, judged as a scheduler judges them, without a network."""

import random
from collections.abc import Sequence

import numpy as np

from assay_node.proof_arithmetic.questions import questions
from assay_node.proof_arithmetic.verification import Secret, WrongProof, check_opening
from assay_node.protocol.hardware_proof import ROWS_OPENED, ProofPart, ProofVerdict
from assay_node.protocol.ids import Digest
from assay_provider.proving.products import ProcessorProducts
from tests.proof_corpus.cheats import Cheat, Withheld, World

BEACON = Digest(b"\x11" * 32)


class Rounds:
    """Repeats rounds of small products against any prover, from one seed."""

    def __init__(self, *, size: int, works: int, seed: int, rows: int = ROWS_OPENED) -> None:
        self.part = ProofPart(device=None, size=size, works=works)
        self._secret = Secret.draw(BEACON, size)
        self._honest = ProcessorProducts(BEACON, size)
        self._seed = seed
        self._rows = rows

    def verdict(self, cheat: Cheat, number: int) -> ProofVerdict:
        """Ask one prover once; `number` makes rounds differ. Time is not judged here."""
        name = f"{self._seed} {cheat.name} {number}"
        draw = random.Random(name)  # of rows: the tests repeat themselves
        rng = np.random.default_rng(draw.getrandbits(64))
        world = World(beacon=BEACON, size=self.part.size, honest=self._honest, rng=rng)
        prover = cheat.prover(world)
        seed, round_id = (Digest(draw.randbytes(32)) for _ in range(2))
        root = prover.commit(seed, 0, self.part.works)
        try:
            for part, question in questions(round_id, (self.part,), rows=self._rows, draw=draw):
                opening = prover.open(question)
                check_opening(opening, question, part, seed=seed, root=root, secret=self._secret)
        except WrongProof:
            return ProofVerdict.WRONG
        except Withheld:
            return ProofVerdict.SILENT
        return ProofVerdict.PROVEN

    def verdicts(self, cheat: Cheat, count: int) -> Sequence[ProofVerdict]:
        """Ask one prover so many times."""
        return [self.verdict(cheat, number) for number in range(count)]


def upper_bound(hits: int, trials: int, *, confidence: float = 0.95) -> float:
    """Return the share that is with this confidence not exceeded (Clopper and Pearson).

    The largest p for which so few hits have a probability of at least 1 - confidence; by bisection.
    """
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _at_most(hits, trials, middle) >= 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def _at_most(hits: int, trials: int, share: float) -> float:
    total, term = 0.0, (1 - share) ** trials
    for count in range(hits + 1):
        total += term
        term *= (trials - count) / (count + 1) * share / max(1 - share, 1e-300)
    return total
