"""Every cheat of the corpus is found out, and honest work is not: a few rounds of each.

The rates over many rounds are in docs/hardware-proof-corpus.md.
"""

import pytest

from assay_node.protocol.hardware_proof import ProofVerdict
from tests.proof_corpus.cheats import CHEATS, CONTROLS, HONEST, Cheat
from tests.proof_corpus.rounds import Rounds, upper_bound

ROUNDS = 10


@pytest.fixture(scope="module")
def rounds() -> Rounds:
    return Rounds(size=256, works=34, seed=1)


def test_honest_work_is_proven(rounds):
    assert rounds.verdicts(HONEST, ROUNDS) == [ProofVerdict.PROVEN] * ROUNDS


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_a_cheat_that_leaves_nothing_out_is_proven(rounds: Rounds, control: Cheat):
    assert rounds.verdicts(control, 3) == [ProofVerdict.PROVEN] * 3


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.name)
def test_a_cheat_is_found_out(rounds: Rounds, cheat: Cheat):
    found = rounds.verdicts(cheat, ROUNDS if cheat.caught < 1 else 3)
    caught = [verdict for verdict in found if verdict is not ProofVerdict.PROVEN]
    assert len(caught) >= cheat.caught * len(found) - (1 if cheat.caught < 1 else 0)
    expected = ProofVerdict.SILENT if "withholds" in cheat.name else ProofVerdict.WRONG
    assert set(caught) == {expected}


def test_bounds_are_those_of_the_tables():
    assert upper_bound(0, 60) == pytest.approx(0.0487, abs=1e-4)
    assert upper_bound(0, 1000) == pytest.approx(0.002991, abs=1e-5)
    assert upper_bound(5, 100) == pytest.approx(0.1023, abs=1e-3)
    assert upper_bound(3, 3) == 1.0
