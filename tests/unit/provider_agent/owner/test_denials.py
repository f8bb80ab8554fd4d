"""Deny lists: edited by hand or by command, read again without a restart."""

import os
from pathlib import Path

import pytest

from assay_node.protocol import cid as cids
from assay_node.protocol import job_spec
from assay_node.protocol.errors import LocalError, Refused
from assay_node.protocol.ids import Address
from assay_node.protocol.job_spec import JobSpec, Resources
from assay_provider.owner.denials import Denials, Denied, allow, deny, read_denied
from tests.unit.provider_agent.world import REQUESTER, SCHEDULER, World

A = Address("0x" + "aa" * 20)
B = Address("0x" + "bb" * 20)
CID = cids.of_block(cids.RAW, b"bad")
OTHER = cids.of_block(cids.RAW, b"good")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "denied.txt"


def test_what_is_denied_is_on_the_list_until_it_is_allowed(path: Path) -> None:
    assert read_denied(path) == Denied()
    assert deny(path, [A.upper().replace("X", "x"), CID, A], remark="never paid", now=0) == 2
    assert deny(path, [A]) == 0
    assert read_denied(path) == Denied(addresses=frozenset({A}), contents=frozenset({CID}))
    assert f"{A}  # 1970-01-01 never paid\n" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert allow(path, [A, B]) == 1
    assert read_denied(path) == Denied(contents=frozenset({CID}))


def test_a_persons_comments_survive_the_commands(path: Path) -> None:
    path.write_text(f"# friends of Eve\n\n{A} # Eve\n{B}")
    deny(path, [CID], now=0)
    allow(path, [A])
    assert path.read_text() == f"# friends of Eve\n\n{B}\n{CID}  # 1970-01-01\n"


@pytest.mark.parametrize("entry", ["", "Eve", "0x12", "bafynothing", "0x" + "aa" * 21])
def test_what_is_neither_wallet_nor_cid_changes_nothing(path: Path, entry: str) -> None:
    for change in (deny, allow):
        with pytest.raises(LocalError, match="neither a wallet's address"):
            change(path, [A, entry])
    assert not path.exists()


def test_a_malformed_line_is_named(path: Path) -> None:
    path.write_text(f"{A}\nEve\n")
    with pytest.raises(LocalError, match="line 2: 'Eve' is neither"):
        read_denied(path)
    with pytest.raises(LocalError, match="line 2"):
        deny(path, [B])
    assert path.read_text() == f"{A}\nEve\n"


def test_remarks_are_one_line_of_text(path: Path) -> None:
    deny(path, [A], remark="two\nlines " + "x" * 500, now=0)
    assert len(path.read_text().splitlines()) == 2
    with pytest.raises(LocalError, match="plain text"):
        deny(path, [B], remark="\x1b[31m")


def test_lists_are_read_again_when_they_change(path: Path) -> None:
    shared = path.with_name("shared.txt")
    denials = Denials(paths=(path, shared), always=frozenset({SCHEDULER}))
    assert denials.current().addresses == {SCHEDULER}
    deny(path, [A])
    assert denials.current().addresses == {SCHEDULER, A}
    shared.write_text(f"{B}\n{CID}\n")
    assert denials.current() == Denied(
        addresses=frozenset({SCHEDULER, A, B}), contents=frozenset({CID})
    )
    allow(path, [A])
    assert denials.current().addresses == {SCHEDULER, B}


def test_a_list_that_is_spoilt_or_gone_stays_in_force(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f"{A}\n")
    denials = Denials(paths=(path,))
    assert denials.current().addresses == {A}
    path.write_text("Eve, and whoever she sends\n")
    assert denials.current().addresses == {A}
    assert "stays in force" in caplog.text
    caplog.clear()
    denials.current()
    assert caplog.text == ""  # said once, not at every lease
    path.unlink()
    assert denials.current().addresses == {A}
    assert "there is no list" in caplog.text


def test_a_list_too_long_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay_provider.owner.denials.DENIED_BYTES_MAX", 100)
    with pytest.raises(LocalError, match="would have more than 100 bytes"):
        deny(path, [A, B, CID])
    assert not path.exists()
    path.write_bytes(os.urandom(101))
    with pytest.raises(LocalError, match="more than 100 bytes"):
        read_denied(path)


async def test_each_denial_has_its_reason(world: World) -> None:
    signed = world.signed_order()
    order, spec = signed.order, job_spec.spec_cid(signed.order.spec)
    Denied(addresses=frozenset({A}), contents=frozenset({OTHER})).check_order(order)
    for denied, why in (
        (Denied(addresses=frozenset({REQUESTER.address})), "not work for the requester"),
        (Denied(addresses=frozenset({SCHEDULER})), "not work for the scheduler"),
        (Denied(contents=frozenset({spec})), "not run the job's spec"),
    ):
        with pytest.raises(Refused, match=why):
            denied.check_order(order)


@pytest.mark.parametrize(
    ("runtime", "inputs", "why"),
    [(CID, OTHER, "environment"), ("host-python", CID, "job's inputs"), (OTHER, OTHER, "")],
)
def test_contents_are_denied_as_environment_or_inputs(runtime: str, inputs: str, why: str) -> None:
    spec = JobSpec(
        name="x",
        command=("python",),
        environment={},
        inputs=cids.parse(inputs),
        resources=Resources(),
        runtime=runtime,
    )
    denied = Denied(contents=frozenset({CID}))
    if not why:
        denied.check_spec(spec)
        return
    with pytest.raises(Refused, match=why):
        denied.check_spec(spec)
