"""Every digest and hash that is signed, for random members: Solidity, the protocol, the model."""

import random
from typing import Any

import httpx

from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.order import Order, job_id
from assay_node.protocol.receipt import commit_digest, commitment, reveal_digest
from assay_node.protocol.typed_data import Domain
from tests.fixtures.chain import ChainLab
from tests.integration.chain import payout_model as model
from tests.integration.chain.bare_chain import Anvil, encode_call
from tests.integration.chain.random_roads import ORDER

CASES = 40
COMMITMENT = "commitment(bytes32,address,bytes32,uint32,bytes32)"
REVEAL = "revealDigest(bytes32,bytes32,bytes32,uint64,uint32)"


async def test_digests_of_random_structs_are_equal_everywhere(chain: ChainLab) -> None:
    rolls, market = random.Random(20), chain.deployment.market
    domain = Domain(chain.deployment.chain_id, market)
    by_model = model.Domain(chain.deployment.chain_id, market)
    calls: list[tuple[str, tuple[Any, ...]]] = []
    python: list[bytes] = []
    second: list[bytes] = []
    for _ in range(CASES):
        order = _order(rolls)
        job, commits, tag, salt = (Digest(rolls.randbytes(32)) for _ in range(4))
        rate, secs, round_number = (
            rolls.getrandbits(64),
            rolls.getrandbits(32),
            rolls.getrandbits(32),
        )
        operator = _address(rolls)
        replica = model.Replica(operator, rate, 0, secs, tag, salt, b"")
        calls += [
            (f"jobId({ORDER})", (order.abi_values(),)),
            (REVEAL, (job, commits, tag, rate, secs)),
            ("commitDigest(bytes32,uint32,uint64,bytes32)", (job, round_number, rate, tag)),
            (COMMITMENT, (job, operator, tag, secs, salt)),
        ]
        python += [
            job_id(order, domain),
            reveal_digest(
                domain, job=job, commits=commits, tag=tag, rate_microusd=rate, seconds=secs
            ),
            commit_digest(
                domain, job=job, round_number=round_number, rate_microusd=rate, commitment=tag
            ),
            commitment(job, operator, tag, secs, salt),
        ]
        second += [
            by_model.job(model.Order(*order.abi_values())),
            by_model.reveal(job, commits, replica),
            by_model.digest("Commit", job, round_number, rate, tag),
            model.commitment(job, replica),
        ]
    solidity = await _answers(chain.url, market, calls)
    assert solidity == python == second
    assert len(set(solidity)) == len(solidity)


async def _answers(url: str, to: str, calls: list[tuple[str, tuple[Any, ...]]]) -> list[bytes]:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        words = await Anvil(http).batch(
            [
                ("eth_call", [{"to": to, "data": "0x" + encode_call(name, *args).hex()}, "latest"])
                for name, args in calls
            ]
        )
    return [bytes.fromhex(word[2:]) for word in words]


def _order(rolls: random.Random) -> Order:
    """All members anywhere in their range, as far as an `Order` may be made."""
    replicas = rolls.randint(1, 8)
    return Order(
        requester=_address(rolls),
        spec=Digest(rolls.randbytes(32)),
        hardware_class=Digest(rolls.randbytes(32)),
        scheduler=_address(rolls),
        fee_microusd=rolls.getrandbits(60),
        max_rate_microusd=rolls.getrandbits(28),
        max_seconds=rolls.getrandbits(31) + 1,
        bond_microusd=rolls.getrandbits(64),
        replicas=replicas,
        quorum=rolls.randint(replicas // 2 + 1, replicas),
        max_ticket=rolls.randint(replicas - 1, 255),
        commit_window_s=rolls.getrandbits(32),
        reveal_window_s=rolls.getrandbits(32),
        seed_block=rolls.getrandbits(64),
        expiry=rolls.getrandbits(64),
        audit_bps=rolls.randint(0, 10_000),
        escalate=rolls.random() < 0.5,
        nonce=rolls.randbytes(32),
    )


def _address(rolls: random.Random) -> Address:
    return Address("0x" + rolls.randbytes(20).hex())
