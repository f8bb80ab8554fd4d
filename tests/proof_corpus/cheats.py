"""Provers that cheat with what they compute. Each is what a provider could really run.

A cheat with `Products` changes what is computed and lets the honest prover commit to it; one with a
prover of its own changes what is committed to or opened. Arithmetic is real: what passes here
passes the scheduler's verifier.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from assay_node.proof_arithmetic.matrices import Int16s, Permutation, permutation_of
from assay_node.protocol import merkle
from assay_node.protocol.hardware_proof import ProofOpening, ProofQuestion
from assay_node.protocol.ids import Digest
from assay_provider.proving.products import Int32s, ProcessorProducts
from assay_provider.proving.prover import Prover

Rng = np.random.Generator


class Withheld(Exception):
    """The prover does not answer."""


class AnyProver(Protocol):
    def commit(self, seed: Digest, number: int, works: int) -> Digest: ...

    def open(self, question: ProofQuestion) -> ProofOpening: ...


@dataclass(frozen=True)
class World:
    """What a cheat is made from: the epoch, the side, luck, and honest products made once."""

    beacon: Digest
    size: int
    honest: ProcessorProducts
    rng: Rng


class Spoiling:
    """Products on shared matrices, spoiled by a function of the honest product."""

    def __init__(self, world: World, spoil: Callable[[Int32s, Rng, int], Int32s]) -> None:
        self._world, self._spoil, self._started = world, spoil, 0

    @property
    def size(self) -> int:
        return self._world.size

    def start(self, permutation: Permutation) -> Iterator[Int32s]:
        product = np.concatenate(list(self._world.honest.start(permutation)))
        number, self._started = self._started, self._started + 1
        yield self._spoil(product, self._world.rng, number)

    def rows(self, mixed: Int16s) -> Int32s:
        """Honest: single rows are cheap, and it is too late to lie."""
        return self._world.honest.rows(mixed)


class KeepsWhatItCommitted(Prover):
    """Opens the very rows that it committed to, rather than computing them again."""

    def __init__(self, world: World, spoil: Callable[[Int32s, Rng, int], Int32s]) -> None:
        self._kept: list[Int32s] = []

        def keep(product: Int32s, rng: Rng, number: int) -> Int32s:
            self._kept.append(spoil(product, rng, number))
            return self._kept[-1]

        super().__init__(Spoiling(world, keep), world.beacon)

    def open(self, question: ProofQuestion) -> ProofOpening:
        opening = super().open(question)
        rows = [self._kept[w][r] for w, r in zip(question.works, question.rows, strict=True)]
        return dataclasses.replace(opening, values=np.array(rows, "<i4").tobytes())


def plausible(rng: Rng, shape: tuple[int, ...], size: int) -> Int32s:
    """Return numbers with the spread of a product's entries."""
    return rng.normal(0, 21_760 * size**0.5, shape).astype(np.int32)


def skipped_rows(share: float) -> Callable[[Int32s, Rng, int], Int32s]:
    """A worker that leaves out rows at random, and makes up their numbers."""

    def spoil(product: Int32s, rng: Rng, _number: int) -> Int32s:
        left_out = rng.random(len(product)) >= share
        product[left_out] = plausible(rng, (int(left_out.sum()), len(product)), len(product))
        return product

    return spoil


def skipped_columns(share: float) -> Callable[[Int32s, Rng, int], Int32s]:
    """A worker that multiplies by fewer columns of B."""

    def spoil(product: Int32s, rng: Rng, _number: int) -> Int32s:
        worked = int(share * len(product))
        rest = (len(product), len(product) - worked)
        product[:, worked:] = plausible(rng, rest, len(product))
        return product

    return spoil


def skipped_works(share: float) -> Callable[[Int32s, Rng, int], Int32s]:
    """A worker that leaves out whole products: every tenth at a share of 0.9."""
    every = round(1 / (1 - share))

    def spoil(product: Int32s, rng: Rng, number: int) -> Int32s:
        if number % every == every - 1:
            product[:] = plausible(rng, product.shape, len(product))
        return product

    return spoil


def low_rank(share: float) -> Callable[[Int32s, Rng, int], Int32s]:
    """Approximates by the largest singular values: the best answer of its rank there is."""

    def spoil(product: Int32s, _rng: Rng, _number: int) -> Int32s:
        left, values, right = np.linalg.svd(product.astype(np.float64), full_matrices=False)
        kept = int(share * len(values))
        return np.rint(left[:, :kept] * values[:kept] @ right[:kept]).astype(np.int32)

    return spoil


def rounded_output(product: Int32s, _rng: Rng, _number: int) -> Int32s:
    """bfloat16's output: right sums, of which 8 bits are kept."""
    bits = product.astype(np.float32).view(np.uint32)
    kept = (bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)
    return kept.view(np.float32).astype(np.int32)


class Computing(Spoiling):
    """Products by another arithmetic than the honest one's: `multiply` gets float32 A, P_t B."""

    def __init__(self, world: World, multiply: Callable[[np.ndarray, np.ndarray], np.ndarray]):
        super().__init__(world, lambda product, _rng, _number: product)
        self._multiply = multiply

    def start(self, permutation: Permutation) -> Iterator[Int32s]:
        left, right = self._world.honest._left, self._world.honest._right
        mixed = right[permutation.order] * permutation.sign[:, None]
        yield np.rint(self._multiply(left, mixed)).astype(np.int32)


def as_int8(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Entries halved to fit int8, sums scaled back: twice as fast as 16 bits on most GPUs."""
    return 4.0 * (np.rint(left / 2) @ np.rint(right / 2))


def as_float8(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Entries rounded to the 4 significant bits of float8 (E4M3)."""

    def rounded(matrix: np.ndarray) -> np.ndarray:
        fraction, exponent = np.frexp(matrix)
        return np.ldexp(np.rint(fraction * 16) / 16, exponent)

    return rounded(left) @ rounded(right)


def summed_in_float16(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sums kept in float16's 11 bits, scaled down so that they do not overflow."""
    total = np.zeros(left.shape, np.float16)
    for first in range(0, len(right), 16):
        block = slice(first, first + 16)
        total += (left[:, block] @ right[block] / 1024).astype(np.float16)
    return total.astype(np.float32) * 1024


def truncated(share: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Sums over the first entries of the inner dimension alone, scaled up."""

    def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        kept = int(share * len(right))
        return left[:, :kept] @ right[:kept] / share

    return multiply


class FromCache(Prover):
    """Answers with what it computed for an earlier challenge."""

    def commit(self, seed: Digest, number: int, works: int) -> Digest:
        del seed
        return super().commit(Digest(b"\x77" * 32), number, works)


class Copied(Prover):
    """Passes on what another provider committed to and opens for its own challenge."""

    def commit(self, seed: Digest, number: int, works: int) -> Digest:
        others = bytes(byte ^ 0xFF for byte in seed)
        return super().commit(Digest(others), number, works)


class OtherDevice(Prover):
    """Passes one device's answer on as another's in the same round: part 0's for part 1."""

    def commit(self, seed: Digest, number: int, works: int) -> Digest:
        root = super().commit(seed, number + 1, works)
        self._number = number
        return root


class FirstCommitsThenWorks(Prover):
    """Commits to nothing, at once, and computes the rows that are asked for: all are right."""

    def __init__(self, world: World) -> None:
        super().__init__(world.honest, world.beacon)
        self._rng = world.rng

    def commit(self, seed: Digest, number: int, works: int) -> Digest:
        self._seed, self._number, self._trees = seed, number, {}
        size = self._products.size
        self._leaves = [self._rng.bytes(32 * size) for _ in range(works)]
        roots = [
            merkle.root(merkle.tree([x[at : at + 32] for at in range(0, 32 * size, 32)]))
            for x in self._leaves
        ]
        self._over_works = merkle.tree(roots)
        return merkle.root(self._over_works)


class OneProductManyTimes(Prover):
    """Computes A B once and passes it off, rows permuted, as every product."""

    def _start(self, work: int) -> Iterator[Int32s]:
        identity = permutation_of(Digest(bytes(32)), 0, 0, self._products.size)
        product = np.concatenate(list(self._products.start(identity)))
        yield np.roll(product, work, axis=0)


class Withholds(KeepsWhatItCommitted):
    """Leaves out rows, and goes silent when one of them is asked for."""

    def __init__(self, world: World, share: float) -> None:
        self._left_out: set[bytes] = set()
        spoil = skipped_rows(share)

        def noting(product: Int32s, rng: Rng, number: int) -> Int32s:
            honest = product.copy()
            spoiled = spoil(product, rng, number)
            self._left_out |= {
                spoiled[row].tobytes() for row in np.flatnonzero((spoiled != honest).any(axis=1))
            }
            return spoiled

        super().__init__(world, noting)

    def open(self, question: ProofQuestion) -> ProofOpening:
        opening = super().open(question)
        width = 4 * self._products.size
        rows = [opening.values[at : at + width] for at in range(0, len(opening.values), width)]
        if self._left_out.intersection(rows):
            raise Withheld
        return opening


@dataclass(frozen=True, kw_only=True)
class Cheat:
    """One way of cheating. `caught` is the least share of rounds in which it must be found out."""

    name: str
    how: str
    prover: Callable[[World], AnyProver]
    gain: str
    caught: float = 1.0


def _rows(share: float, caught: float) -> Cheat:
    return Cheat(
        name=f"{share:.0%} worker: rows",
        how="leaves out random rows of each product, makes up their numbers",
        prover=lambda world: KeepsWhatItCommitted(world, skipped_rows(share)),
        gain=f"{1 - share:.0%} of the time",
        caught=caught,
    )


def _computing(name: str, how: str, gain: str, multiply: Callable[..., np.ndarray]) -> Cheat:
    def prover(world: World) -> AnyProver:
        products = Computing(world, multiply)
        kept: list[Int32s] = []

        def keep(product: Int32s, _rng: Rng, _number: int) -> Int32s:
            kept.append(product)
            return product

        inner = KeepsWhatItCommitted(world, keep)
        inner._products = _Kept(products, inner._kept)
        return inner

    return Cheat(name=name, how=how, gain=gain, prover=prover)


class _Kept:
    """Products that also stay with the prover that opens them."""

    def __init__(self, products: Computing, kept: list[Int32s]) -> None:
        self._products, self._kept = products, kept

    @property
    def size(self) -> int:
        return self._products.size

    def start(self, permutation: Permutation) -> Iterator[Int32s]:
        for product in self._products.start(permutation):
            self._kept.append(product)
            yield product

    def rows(self, mixed: Int16s) -> Int32s:
        return self._products.rows(mixed)


CHEATS: tuple[Cheat, ...] = (
    _rows(0.90, 1.0),
    _rows(0.97, 0.98),
    _rows(0.99, 0.80),
    *(
        Cheat(
            name=f"{share:.0%} worker: columns",
            how="leaves out columns of B, makes up their numbers",
            prover=lambda world, share=share: KeepsWhatItCommitted(world, skipped_columns(share)),
            gain=f"{1 - share:.0%} of the time",
        )
        for share in (0.90, 0.97)
    ),
    *(
        Cheat(
            name=f"{share:.0%} worker: products",
            how="leaves out whole products, makes up their numbers",
            prover=lambda world, share=share: KeepsWhatItCommitted(world, skipped_works(share)),
            gain=f"{1 - share:.0%} of the time",
        )
        for share in (0.90, 0.97)
    ),
    *(
        _computing(
            f"{share:.0%} worker: inner dimension",
            "sums over fewer entries, scales up",
            f"{1 - share:.0%} of the time",
            truncated(share),
        )
        for share in (0.90, 0.97)
    ),
    Cheat(
        name="97% worker: low rank",
        how="the best answer of a lower rank, by singular values",
        prover=lambda world: KeepsWhatItCommitted(world, low_rank(0.97)),
        gain="3% of the time, if the singular values were free",
    ),
    _computing("wrong dtype: int8", "entries halved to fit int8", "half the time", as_int8),
    _computing("wrong dtype: float8", "entries in E4M3's 4 bits", "half the time", as_float8),
    _computing(
        "wrong dtype: float16 sums", "sums kept in 11 bits", "half the time", summed_in_float16
    ),
    Cheat(
        name="wrong dtype: bfloat16 out",
        how="right sums, of which 8 bits are kept",
        prover=lambda world: KeepsWhatItCommitted(world, rounded_output),
        gain="half the memory traffic of results",
    ),
    Cheat(
        name="cache",
        how="answers with the products of an earlier challenge",
        prover=lambda world: FromCache(world.honest, world.beacon),
        gain="all of the time",
    ),
    Cheat(
        name="copied from another provider",
        how="passes on another's commitment and openings for its own challenge",
        prover=lambda world: Copied(world.honest, world.beacon),
        gain="all of the time",
    ),
    Cheat(
        name="one device's answer for two",
        how="passes one device's commitment and openings on as the other's in the same round",
        prover=lambda world: OtherDevice(world.honest, world.beacon),
        gain="half the time",
    ),
    Cheat(
        name="one product many times",
        how="computes A B once, passes it off with its rows moved as every product",
        prover=lambda world: OneProductManyTimes(world.honest, world.beacon),
        gain="all of the time but one product's",
    ),
    Cheat(
        name="fingerprints after sampling",
        how="commits to noise at once, then computes exactly the rows that are asked for",
        prover=FirstCommitsThenWorks,
        gain="all of the time",
    ),
    Cheat(
        name="90% worker that withholds",
        how="leaves out random rows, and goes silent when one of them is asked for",
        prover=lambda world: Withholds(world, 0.90),
        gain="10% of the time",
    ),
)

CONTROLS: tuple[Cheat, ...] = (
    Cheat(
        name="a cheat's prover that skips nothing",
        how="as the workers, at a share of 1",
        prover=lambda world: KeepsWhatItCommitted(world, lambda product, _rng, _number: product),
        gain="",
        caught=0.0,
    ),
    _computing("a cheat's arithmetic that is exact", "as the wrong dtypes", "", np.matmul),
)
"""What shows that the cheats fail by what they leave out, not by how they are built."""

HONEST = Cheat(
    name="honest",
    how="computes everything",
    prover=lambda world: Prover(world.honest, world.beacon),
    gain="",
    caught=0.0,
)
