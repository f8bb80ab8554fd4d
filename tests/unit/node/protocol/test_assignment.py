"""Assignments: the digest that the contract computes, and when two of them contradict."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.keys import LocalKey
from assay_node.protocol.assignment import (
    NAMED_MAX,
    Assign,
    SignedAssign,
    assign_digest,
    contradict,
    omitted,
    signer_of_assign,
)
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.typed_data import Domain


def operator(number: int) -> Address:
    return Address("0x" + number.to_bytes(20).hex())


ASSIGN = Assign(
    job=Digest(b"\x01" * 32),
    round_number=2,
    sequence=3,
    operators=(Address("0x" + "44" * 20), Address("0x" + "55" * 20)),
    tickets=(6, 7),
    replaced=(Address("0x" + "88" * 20),),
)
DOMAIN = Domain(chain_id=31_337, market=Address("0x" + "1e" * 20))
CHANGES: tuple[dict[str, object], ...] = (
    {"round_number": 1},
    {"operators": ASSIGN.operators[::-1]},
    {"tickets": (6, 8)},
    {"replaced": ()},
)


def test_the_digest_is_that_of_the_contract() -> None:
    # The same values stand in contracts/test/unit/Schedulers.t.sol, test_assignDigest_vector.
    assert (
        assign_digest(ASSIGN, DOMAIN).hex()
        == "ad41ba326c613da6cc139a1b6b75e40146d2f0077c19e183fe2e710228e95752"
    )


@pytest.mark.parametrize(
    "change",
    [*CHANGES, {"job": Digest(b"\x02" * 32)}, {"sequence": 4}],
    ids=lambda c: next(iter(c)),
)
def test_every_member_is_signed(change: dict[str, object]) -> None:
    changed = replace(ASSIGN, **change)  # type: ignore[arg-type]
    assert assign_digest(changed, DOMAIN) != assign_digest(ASSIGN, DOMAIN)


def test_who_signed_is_known_for_its_chain_and_market_only() -> None:
    key = LocalKey(b"\x22" * 32)
    signature = key.sign_digest(assign_digest(ASSIGN, DOMAIN))
    signed = SignedAssign(assign=ASSIGN, signature=signature)
    assert signer_of_assign(signed, DOMAIN) == key.address
    assert signer_of_assign(signed, replace(DOMAIN, chain_id=1)) != key.address
    assert signer_of_assign(signed, replace(DOMAIN, market=operator(1))) != key.address
    assert signer_of_assign(replace(signed, signature=signature[:64]), DOMAIN) is None


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_two_of_one_number_contradict_unless_they_are_one(change: dict[str, object]) -> None:
    changed = replace(ASSIGN, **change)  # type: ignore[arg-type]
    assert contradict(ASSIGN, changed)
    assert contradict(changed, ASSIGN)
    assert not contradict(ASSIGN, replace(ASSIGN))
    assert not contradict(ASSIGN, replace(changed, job=Digest(b"\x02" * 32)))


def test_a_later_one_that_hides_somebody_contradicts_whichever_comes_first() -> None:
    for hidden in ASSIGN.named:
        later = replace(
            ASSIGN,
            sequence=9,
            operators=(operator(1),),
            tickets=(8,),
            replaced=tuple(one for one in ASSIGN.named if one != hidden),
        )
        assert omitted(ASSIGN, later) == hidden
        assert omitted(later, ASSIGN) is None
        assert contradict(ASSIGN, later)
        assert contradict(later, ASSIGN)


@given(st.lists(st.integers(0, 2), max_size=8), st.data())
def test_an_honest_row_never_contradicts_itself(losses: list[int], data: st.DataObject) -> None:
    """Each step loses one of three replicas and names the next operator in its place."""
    held, gone = [operator(1), operator(2), operator(3)], []
    row = []
    for sequence, loss in enumerate([None, *losses]):
        if loss is not None:
            gone.append(held[loss])
            held[loss] = operator(10 + sequence)
        row.append(
            replace(
                ASSIGN,
                sequence=sequence,
                operators=tuple(held),
                tickets=(0, 1, 2),
                replaced=tuple(gone),
            )
        )
    first, second = (data.draw(st.sampled_from(row)) for _ in range(2))
    assert not contradict(first, second)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"job": Digest(b"\x01")}, "32 bytes"),
        ({"round_number": 1 << 32}, "32 unsigned bits"),
        ({"sequence": -1}, "32 unsigned bits"),
        ({"tickets": (6,)}, "one ticket for each"),
        ({"tickets": (7, 6)}, "rise strictly"),
        ({"tickets": (6, 6)}, "rise strictly"),
        ({"tickets": (6, 256)}, "8 unsigned bits"),
        ({"replaced": ASSIGN.operators[:1]}, "stands twice"),
        ({"replaced": (Address("0x" + "AB" * 20),)}, "lower case"),
        ({"replaced": tuple(operator(n + 1) for n in range(NAMED_MAX))}, "at most 2048"),
    ],
)
def test_what_no_assignment_can_say_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(MalformedMessage, match=said):
        replace(ASSIGN, **change)  # type: ignore[arg-type]
