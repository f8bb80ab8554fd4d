"""What a command keeps in its wallet's journal, and what becomes of a damaged one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.chain.journal import Journal
from assay_node.ports.transactions import (
    OutgoingTransaction,
    Place,
    SignedTransaction,
    TransactionState,
)
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Address, Digest

WALLET = Address("0x" + "ab" * 20)
FIRST = SignedTransaction(hash=Digest(b"\x01" * 32), raw=b"\x02first")
DEARER = SignedTransaction(hash=Digest(b"\x02" * 32), raw=b"\x02dearer")
PLACE = Place(hash=DEARER.hash, block_number=7, block_hash=Digest(b"\x03" * 32))
OUTGOING = OutgoingTransaction(
    id=FIRST.hash,
    chain_id=1,
    sender=WALLET,
    nonce=4,
    kind="the deposit",
    jobs=(Digest(b"\x09" * 32),),
    signed=(FIRST,),
    state=TransactionState.PENDING,
    place=None,
    created_at=1.5,
)


async def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    journal = Journal(path)
    assert await journal.save_transaction(OUTGOING)
    await journal.add_signed(OUTGOING, DEARER)
    await journal.note_place(OUTGOING, PLACE)
    mined = replace(OUTGOING, signed=(FIRST, DEARER), place=PLACE, state=TransactionState.MINED)
    assert list(await Journal(path).open_transactions()) == [mined]
    await journal.note_place(OUTGOING, None)
    (back,) = await Journal(path).open_transactions()
    assert (back.state, back.place) == (TransactionState.PENDING, None)
    await journal.end_transaction(OUTGOING, TransactionState.SUCCEEDED)
    assert await Journal(path).open_transactions() == []
    assert await Journal(path).nonces_used(1, WALLET) == 5
    assert await Journal(path).nonces_used(2, WALLET) == 0


async def test_a_job_waits_for_one_transaction_at_a_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "wallet.json")
    assert await journal.save_transaction(OUTGOING)
    other = replace(OUTGOING, id=DEARER.hash, nonce=5)
    assert not await journal.save_transaction(other)
    await journal.end_transaction(OUTGOING, TransactionState.DISPLACED)
    assert await journal.save_transaction(other)


async def test_a_discarded_nonce_is_free_again_unless_a_later_one_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "wallet.json")
    later = replace(OUTGOING, id=DEARER.hash, nonce=5, jobs=())
    await journal.save_transaction(OUTGOING)
    await journal.save_transaction(later)
    await journal.discard_transaction(OUTGOING)
    assert await journal.nonces_used(1, WALLET) == 6
    await journal.discard_transaction(later)
    assert await journal.nonces_used(1, WALLET) == 5


async def test_what_the_disk_does_not_take_is_not_kept_in_memory_either(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    journal = Journal(folder / "wallet.json")
    folder.rmdir()
    with pytest.raises(LocalError, match="nothing was sent"):
        await journal.save_transaction(OUTGOING)
    assert await journal.open_transactions() == []
    assert await journal.nonces_used(1, WALLET) == 0


async def test_a_change_to_what_has_ended_meanwhile_is_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "wallet.json")
    await journal.add_signed(OUTGOING, DEARER)
    await journal.note_place(OUTGOING, PLACE)
    assert await journal.open_transactions() == []


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"open": []}', '{"nonces_used": [], "open": [{}]}', '{"nonces_used": 1}'],
)
async def test_a_damaged_journal_says_what_to_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wallet.json"
    path.write_text(text)
    with pytest.raises(LocalError, match="check the wallet's last transactions"):
        Journal(path)


async def test_a_journal_never_holds_the_half_of_a_write(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    journal = Journal(path)
    await journal.save_transaction(OUTGOING)
    (tmp_path / "wallet.partial").write_text('{"cut')  # a kill while the next one was written
    assert [one.id for one in await Journal(path).open_transactions()] == [OUTGOING.id]
    json.loads(path.read_text())
