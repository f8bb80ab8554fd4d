"""The provers, by the verifier: what they commit to and open is what honest work gives."""

import pytest

from assay_node.proof_arithmetic.questions import questions
from assay_node.proof_arithmetic.verification import Secret, WrongProof, check_opening
from assay_node.protocol.errors import Refused
from assay_node.protocol.hardware_proof import ProofPart, ProofQuestion
from assay_node.protocol.ids import Digest
from assay_provider.proving.pretending import PretendingProducts
from assay_provider.proving.products import ProcessorProducts
from assay_provider.proving.prover import Prover

BEACON, SEED, ROUND = (Digest(bytes((n,)) * 32) for n in (4, 5, 6))
PART = ProofPart(device=None, size=256, works=5)


def prove(prover: Prover, part: ProofPart = PART) -> None:
    secret = Secret.draw(BEACON, part.size)
    root = prover.commit(SEED, 0, part.works)
    for asked, question in questions(ROUND, (part,)):
        opening = prover.open(question)
        check_opening(opening, question, asked, seed=SEED, root=root, secret=secret)


@pytest.mark.parametrize(("size", "works"), [(256, 1), (256, 5), (1024, 2)])
def test_the_processor_proves_itself(size, works):
    part = ProofPart(device=None, size=size, works=works)
    prove(Prover(ProcessorProducts(BEACON, size), BEACON), part)


def test_a_prover_serves_one_round_after_the_other():
    prover = Prover(ProcessorProducts(BEACON, 256), BEACON)
    first = prover.commit(SEED, 0, 2)
    assert prover.commit(ROUND, 0, 2) != first
    assert prover.commit(SEED, 1, 2) != first
    prove(prover)


def test_whoever_passes_old_rows_off_as_new_is_found_out():
    with pytest.raises(WrongProof, match="is not the one that was committed to"):
        prove(Prover(PretendingProducts(ProcessorProducts(BEACON, 256)), BEACON))


@pytest.mark.parametrize(("part", "work", "row"), [(1, 0, 0), (0, 5, 0), (0, 0, 256)])
def test_a_question_for_something_else_is_refused(part, work, row):
    prover = Prover(ProcessorProducts(BEACON, 256), BEACON)
    question = ProofQuestion(round=ROUND, part=part, works=(work,), rows=(row,))
    with pytest.raises(Refused, match="not committed to"):
        prover.open(question)
    prover.commit(SEED, 0, 5)
    with pytest.raises(Refused, match="not committed to"):
        prover.open(question)


def test_torch_on_any_device_proves_too():
    torch_products = pytest.importorskip(
        "assay_provider.proving.torch_products", reason="torch is not installed"
    )
    products = torch_products.TorchProducts(BEACON, 512, "cpu")
    prove(Prover(products, BEACON), ProofPart(device=None, size=512, works=3))
    assert products.way in {way.name for way in torch_products.WAYS}


def test_a_way_that_rounds_is_not_taken(monkeypatch):
    torch_products = pytest.importorskip(
        "assay_provider.proving.torch_products", reason="torch is not installed"
    )
    torch = torch_products.torch

    def rounds(left, right):
        return torch.mm(left, right).to(torch.float32)

    rounding = torch_products.Way(name="rounds", dtype=torch.bfloat16, multiply=rounds)
    single = torch_products.WAYS[-1]
    device = torch.device("cpu")
    monkeypatch.setattr(torch_products, "WAYS", (rounding, single))
    assert torch_products.fastest_exact(device, 256) is single
    monkeypatch.setattr(torch_products, "WAYS", (rounding,))
    with pytest.raises(torch_products.LocalError, match="no way of multiplying is exact"):
        torch_products.fastest_exact(device, 256)
