from assay_node.network import limits
from assay_node.network.misbehaviour import MisbehaviourLedger
from assay_node.protocol.ids import PeerId

PEER = PeerId("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp")


def test_a_peer_is_cut_off_at_the_limit_and_starts_over() -> None:
    ledger = MisbehaviourLedger()
    verdicts = [ledger.record(PEER) for _ in range(2 * limits.MISBEHAVIOUR_MAX)]
    once = [False] * (limits.MISBEHAVIOUR_MAX - 1) + [True]
    assert verdicts == once * 2
    assert ledger.count(PEER) == 0


def test_the_longest_unseen_peer_is_forgotten_first() -> None:
    ledger = MisbehaviourLedger()
    ledger.record(PEER)
    others = [PeerId(f"peer{number}") for number in range(limits.MISBEHAVIOUR_PEERS_MAX - 1)]
    for other in others:
        ledger.record(other)
    ledger.record(PEER)  # seen again, so the first of the others is the oldest now
    ledger.record(PeerId("newcomer"))
    assert ledger.count(PEER) == 2
    assert ledger.count(others[0]) == 0
    assert ledger.count(others[1]) == 1
