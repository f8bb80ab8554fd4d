"""A requester believes the chain and signatures, and nothing else that it is told."""

from dataclasses import replace

import pytest

from assay_node.ports import Decided, EnteredJob, Matter, Settlement
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import RemoteError
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import Result
from assay_node.protocol.order import job_id
from assay_node.protocol.panels import Panel, PanelKind
from assay_node.protocol.receipt import Receipt, tag
from assay_node.protocol.typed_data import Domain
from assay_node.services.verification import verify_result
from tests.fakes.chain import FakeSettlementChain
from tests.fixtures.receipts import (
    ANSWER,
    LIE,
    Vote,
    a_receipt,
    an_order,
    key,
    operator,
    sign_order,
)

OPERATORS = [operator(n) for n in range(4)]
OUTPUT = cids.from_digest(cids.DAG_PB, ANSWER)


@pytest.fixture
def chain():
    signers = {one.address: one.signer.address for one in OPERATORS}
    return FakeSettlementChain([one.address for one in OPERATORS], signers)


@pytest.fixture
def domain(chain):
    return Domain(chain.chain_id, chain.market)


def good(domain, outputs=(ANSWER, ANSWER, ANSWER), tickets=(0, 1, 2), operators=OPERATORS):
    order = an_order(
        requester=key(1).address,
        scheduler=key(2).address,
        hardware_class=Digest(b"\x01" * 32),
        seed_block=5,
        expiry=10**10,
    )
    votes = [Vote(operator=operators[i], ticket=tickets[i], output=outputs[i]) for i in range(3)]
    receipt = a_receipt(domain, sign_order(domain, order, key(1)), votes)
    result = Result(
        receipt=receipt, panel_job=None, round_number=0, output=OUTPUT, verdict="ok", sources=()
    )
    return job_id(order, domain), result


def with_replica(result, number, **changes):
    replicas = list(result.receipt.replicas)
    replicas[number] = replace(replicas[number], **changes)
    receipt = Receipt(signed_order=result.receipt.signed_order, replicas=tuple(replicas))
    return replace(result, receipt=receipt)


async def rejected(result, job, chain, domain):
    with pytest.raises(RemoteError) as error:
        await verify_result(result, job, chain, domain)
    return str(error.value)


async def test_what_is_true_is_believed(chain, domain):
    job, result = good(domain)
    assert await verify_result(result, job, chain, domain) == OUTPUT


async def test_a_minority_that_lies_does_not_matter(chain, domain):
    job, result = good(domain, outputs=(LIE, ANSWER, ANSWER))
    assert await verify_result(result, job, chain, domain) == OUTPUT


async def test_a_receipt_for_another_job(chain, domain):
    _, result = good(domain)
    other, _ = good(domain)
    assert "another job" in await rejected(result, other, chain, domain)


async def test_a_receipt_with_a_replica_missing_or_doubled(chain, domain):
    job, result = good(domain)
    one, two, _ = result.receipt.replicas
    for replicas in ((one, two), (one, two, two), (two, one, one)):
        receipt = Receipt(signed_order=result.receipt.signed_order, replicas=replicas)
        text = await rejected(replace(result, receipt=receipt), job, chain, domain)
        assert "does not hold" in text


async def test_an_operator_that_was_not_drawn(chain, domain):
    job, result = good(domain, tickets=(1, 2, 3))
    assert "not drawn" in await rejected(result, job, chain, domain)


async def test_an_operator_the_chain_does_not_know(chain, domain):
    strangers = [operator(9), *OPERATORS[1:]]
    job, result = good(domain, operators=strangers)
    assert "not drawn" in await rejected(result, job, chain, domain)


async def test_a_reveal_signed_by_somebody_else(chain, domain):
    job, result = good(domain)
    chain.signers[OPERATORS[0].address] = key(77).address
    assert "not signed by its signing key" in await rejected(result, job, chain, domain)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 11},
        {"rate_microusd": 101},
        {"salt": Digest(b"\x09" * 32)},
        {"tag": Digest(b"\x09" * 32)},
        {"signature": b"\x00" * 65},
        {"signature": b""},
    ],
)
async def test_a_reveal_changed_afterwards(chain, domain, change):
    job, result = good(domain)
    changed = with_replica(result, 1, **change)
    text = await rejected(changed, job, chain, domain)
    assert "signed" in text or "signature" in text


async def test_replicas_that_do_not_agree(chain, domain):
    third = Digest(b"\x0c" * 32)
    job, result = good(domain, outputs=(ANSWER, LIE, third))
    assert "did not agree" in await rejected(result, job, chain, domain)


async def test_an_output_that_the_quorum_did_not_agree_on(chain, domain):
    job, result = good(domain, outputs=(LIE, LIE, ANSWER))
    assert "not the one" in await rejected(result, job, chain, domain)


async def test_a_wrong_round(chain, domain):
    job, result = good(domain)
    assert "not the one" in await rejected(replace(result, round_number=1), job, chain, domain)


PANEL_JOB = Digest(b"\x77" * 32)


def settled_on_chain(chain, job, output=ANSWER, *, agreed=True):
    """Have the chain say that a job, or a panel's, was settled with an output."""
    said = tag(job, 3, output)
    chain.settled[job] = Settlement(
        job_id=job,
        transaction=Digest(bytes(32)),
        block_number=chain.block,
        agreed=agreed,
        winning_tag=Digest(said[:28] + bytes(4)) if agreed else None,
        seconds=1,
        paid=(),
        slashed=(),
        fee_microusd=0,
        cost_microusd=0,
        gas_used=0,
        receipts_in_batch=1,
    )


def without_receipt(result, panel_job=None):
    return replace(result, receipt=None, panel_job=panel_job)


async def test_without_a_receipt_the_chain_itself_has_to_have_settled_the_output(chain, domain):
    job, result = good(domain)
    bare = without_receipt(result)
    assert "not settled" in await rejected(bare, job, chain, domain)
    settled_on_chain(chain, job, LIE)
    assert "not the one the quorum" in await rejected(bare, job, chain, domain)
    settled_on_chain(chain, job, agreed=False)
    assert "not the one the quorum" in await rejected(bare, job, chain, domain)
    settled_on_chain(chain, job)
    assert await verify_result(bare, job, chain, domain) == OUTPUT, "in whichever round it was"


async def test_a_panels_result_counts_if_the_court_called_that_panel_for_the_job(chain, domain):
    job, result = good(domain)
    order = result.receipt.signed_order.order
    shown = without_receipt(result, PANEL_JOB)
    settled_on_chain(chain, PANEL_JOB)
    assert "never came to the court" in await rejected(shown, job, chain, domain)
    entered = EnteredJob(
        job=job, commits=ANSWER, shares=(), entered_in=chain.block, transaction=ANSWER
    )
    matter = Matter(order=order, commitments=(), shares=(), entered_in=chain.block)
    chain.enter(entered, Decided(matter=matter, openings=()))
    assert "never called" in await rejected(shown, job, chain, domain)
    panel = Panel(kind=PanelKind.ESCALATION, payer=key(1).address, seed_block=9, expiry=10)
    called = chain.call(job, panel)
    settled_on_chain(chain, called.panel_job)
    shown = without_receipt(result, called.panel_job)
    assert await verify_result(shown, job, chain, domain) == OUTPUT
