"""What passes the verifier, and what does not. The prover here is the definition, in int64."""

import random

import numpy as np
import pytest

from assay_node.proof_arithmetic.matrices import Matrix, blocks_of, permutation_of
from assay_node.proof_arithmetic.questions import questions
from assay_node.proof_arithmetic.verification import Secret, WrongProof, check_opening
from assay_node.protocol import merkle
from assay_node.protocol.hardware_proof import ProofOpening, ProofPart, ProofQuestion
from assay_node.protocol.ids import Digest

BEACON, SEED, ROUND = (Digest(bytes((n,)) * 32) for n in (1, 2, 3))
SIZE, WORKS = 256, 3
PART = ProofPart(device=None, size=SIZE, works=WORKS)
QUESTION = ProofQuestion(round=ROUND, part=0, works=(0, 1, 2, 1), rows=(0, 255, 17, 128))


def whole(matrix: Matrix) -> np.ndarray:
    return np.concatenate([rows for _, rows in blocks_of(BEACON, SIZE, matrix)]).astype(np.int64)


@pytest.fixture(scope="module")
def products() -> list[np.ndarray]:
    left, right, found = whole(Matrix.A), whole(Matrix.B), []
    for work in range(WORKS):
        permutation = permutation_of(SEED, 0, work, SIZE)
        mixed = permutation.sign[:, None].astype(np.int64) * right[permutation.order]
        found.append((left @ mixed).astype("<i4"))
    return found


@pytest.fixture(scope="module")
def secret() -> Secret:
    return Secret.draw(BEACON, SIZE)


class Committed:
    """Products under a root, whatever they are."""

    def __init__(self, products: list[np.ndarray]) -> None:
        self.products = products
        self.trees = [merkle.tree([merkle.leaf(row.tobytes()) for row in p]) for p in products]
        self.over = merkle.tree([merkle.root(tree) for tree in self.trees])
        self.root = merkle.root(self.over)

    def open(self, question: ProofQuestion = QUESTION) -> ProofOpening:
        places = list(zip(question.works, question.rows, strict=True))
        return ProofOpening(
            round=ROUND,
            values=b"".join(self.products[work][row].tobytes() for work, row in places),
            paths=tuple(
                b"".join(merkle.path(self.trees[work], row) + merkle.path(self.over, work))
                for work, row in places
            ),
        )


def check(opening: ProofOpening, root: Digest, secret: Secret, seed: Digest = SEED) -> None:
    check_opening(opening, QUESTION, PART, seed=seed, root=root, secret=secret)


def test_the_definition_passes(products, secret):
    committed = Committed(products)
    check(committed.open(), committed.root, secret)


@pytest.mark.parametrize("off", [1, -1, 1 << 20])
@pytest.mark.parametrize("column", [0, 100, 255])
def test_one_wrong_entry_of_an_opened_row_fails(products, secret, column, off):
    wrong = [product.copy() for product in products]
    wrong[1][255, column] += off
    committed = Committed(wrong)
    with pytest.raises(WrongProof, match="row 255 of product 1 is not that row of the product"):
        check(committed.open(), committed.root, secret)


def test_a_right_row_that_was_not_committed_to_fails(products, secret):
    late = [product.copy() for product in products]
    late[2][17] = 0
    committed = Committed(late)
    opening = Committed(products).open()
    with pytest.raises(WrongProof, match="row 17 of product 2 is not the one that was committed"):
        check(
            ProofOpening(round=ROUND, values=opening.values, paths=committed.open().paths),
            committed.root,
            secret,
        )


def test_rows_of_another_challenge_fail(products, secret):
    committed = Committed(products)
    with pytest.raises(WrongProof, match="not that row of the product"):
        check(committed.open(), committed.root, secret, seed=Digest(b"\x09" * 32))


def test_products_in_another_order_fail(products, secret):
    committed = Committed([products[1], products[0], products[2]])
    with pytest.raises(WrongProof, match="row 0 of product 0"):
        check(committed.open(), committed.root, secret)


@pytest.mark.parametrize(
    "change",
    [
        lambda o: ProofOpening(round=Digest(bytes(32)), values=o.values, paths=o.paths),
        lambda o: ProofOpening(round=ROUND, values=o.values[:-4], paths=o.paths),
        lambda o: ProofOpening(round=ROUND, values=o.values, paths=o.paths[:-1]),
        lambda o: ProofOpening(round=ROUND, values=o.values, paths=(*o.paths[:-1], b"")),
        lambda o: ProofOpening(round=ROUND, values=b"", paths=()),
    ],
)
def test_an_opening_out_of_form_fails(products, secret, change):
    committed = Committed(products)
    with pytest.raises(WrongProof, match="form"):
        check(change(committed.open()), committed.root, secret)


def test_entries_that_no_product_has_fail_before_a_sum_overflows(products, secret):
    wrong = [product.copy() for product in products]
    wrong[0][0, 0] = -(1 << 31)
    committed = Committed(wrong)
    with pytest.raises(WrongProof, match="no product can have"):
        check(committed.open(), committed.root, secret)


def test_the_image_of_the_secret_is_exact(secret):
    assert np.array_equal(secret.image, whole(Matrix.B) @ secret.vector)
    assert abs(secret.vector).max() <= 1 << 19
    assert not np.array_equal(Secret.draw(BEACON, SIZE).vector, secret.vector)


def test_every_product_is_looked_into_and_rows_are_spread():
    part = ProofPart(device=None, size=4096, works=100)
    asked = list(questions(ROUND, (part,), draw=random.Random(1)))
    assert {p for p, _ in asked} == {part}
    works = [work for _, question in asked for work in question.works]
    rows = [row for _, question in asked for row in question.rows]
    assert len(works) == len(rows) == 256
    assert sorted(set(works)) == list(range(100))
    assert len(set(rows)) > 200


def test_each_device_is_asked_about_its_own_part():
    parts = (PART, ProofPart(device=Digest(bytes(32)), size=8192, works=2000))
    asked = list(questions(ROUND, parts, rows=64, draw=random.Random(2)))
    assert [question.part for _, question in asked] == [0, 1, 1, 1]
    assert len({work for p, q in asked if p is parts[1] for work in q.works}) == 64
