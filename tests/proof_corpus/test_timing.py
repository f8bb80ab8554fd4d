"""Cheats with time, on a virtual clock: the rates are in docs/hardware-proof-corpus.md."""

import pytest

from assay_node.protocol.hardware_proof import ProofVerdict
from tests.proof_corpus import timing
from tests.proof_corpus.timing import CHEATS, HONEST, PROXIES, Behaviour

ROUNDS = 400
BY_NAME = {behaviour.name: behaviour for behaviour in (*HONEST, *CHEATS, *PROXIES)}


def failures(behaviour: Behaviour) -> float:
    found = timing.verdicts(behaviour, ROUNDS, seed=1)
    return sum(verdict is ProofVerdict.SLOW for verdict in found) / ROUNDS


def test_a_quiet_honest_machine_does_not_fail():
    assert failures(HONEST[0]) == 0


@pytest.mark.parametrize(
    "behaviour",
    [cheat for cheat in CHEATS if "5 % more" not in cheat.name],
    ids=lambda behaviour: behaviour.name,
)
def test_a_cheat_with_time_fails(behaviour):
    assert failures(behaviour) > 0.99
    assert timing.disproved_share(behaviour, 50, rounds=3, seed=1) > 0.95


def test_failures_in_a_row_are_far_rarer_than_one():
    twitching = BY_NAME["honest, slowed by something else in 1 round of 20"]
    once = failures(twitching)
    assert 0.03 < once < 0.09
    assert timing.disproved_share(twitching, 400, rounds=3, seed=1) < once / 10


def test_a_proxy_to_a_machine_as_fast_is_not_found_out_and_the_page_says_so():
    assert failures(BY_NAME["proxy, 50 ms away, to a machine as fast"]) < 0.01
    shared = BY_NAME["proxy to a machine as fast, for two adverts asked together"]
    assert failures(shared) == 1


def test_two_operators_with_one_device_meet_in_a_round():
    few = timing.days_until_together(providers=4, together=8, seed=1, trials=10)
    many = timing.days_until_together(providers=100, together=8, seed=1, trials=10)
    assert max(few) < 3
    assert sorted(many)[5] > sorted(few)[5]
