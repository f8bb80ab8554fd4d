"""A wallet's outgoing transactions in a small file, for commands that have no database.

The file is rewritten whole and synced before anything is sent, so a command that is cut short
leaves what it began where the next one finds it. A lock keeps two commands of one wallet apart:
they would give one nonce to two transactions.
"""

import asyncio
import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from assay_node.ports.transactions import (
    TRANSACTION_ENDS,
    OutgoingTransaction,
    Place,
    SignedTransaction,
    TransactionState,
)
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Address, Digest, address, digest_from_hex, to_hex

LOCK_S_MAX: Final = 120.0
"""How long a command waits for another one of the same wallet: as long as that may take."""

_POLL_S: Final = 0.1
_Open = dict[Digest, OutgoingTransaction]
_Nonces = dict[tuple[int, Address], int]
_FILE_BYTES_MAX: Final = 64 << 20  # hundreds of open transactions; a command leaves one or two


class Journal:
    """`ports.TransactionStore` for one wallet; without a path it is kept in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._open: _Open = {}
        self._nonces_used: _Nonces = {}
        self._changing = asyncio.Lock()
        if path is not None and path.exists():
            self._load(path)

    async def save_transaction(self, outgoing: OutgoingTransaction) -> bool:
        """Keep a new transaction; False if one of its jobs is bound to an open one."""
        async with self._changing:
            bound = {job for one in self._open.values() for job in one.jobs}
            if bound & set(outgoing.jobs):
                return False
            wallet = (outgoing.chain_id, outgoing.sender)
            used = max(self._nonces_used.get(wallet, 0), outgoing.nonce + 1)
            await self._keep(
                {**self._open, outgoing.id: outgoing}, {**self._nonces_used, wallet: used}
            )
            return True

    async def add_signed(self, outgoing: OutgoingTransaction, signed: SignedTransaction) -> None:
        """Keep another signed form, before it is sent."""
        async with self._changing:
            one = self._open.get(outgoing.id)
            if one is not None:  # another task of this process may have seen its end meanwhile
                changed = dataclasses.replace(one, signed=(*one.signed, signed))
                await self._keep({**self._open, one.id: changed}, self._nonces_used)

    async def note_place(self, outgoing: OutgoingTransaction, place: Place | None) -> None:
        """Note the block that holds it, or None where a reorg took it out of one."""
        state = TransactionState.PENDING if place is None else TransactionState.MINED
        async with self._changing:
            one = self._open.get(outgoing.id)
            if one is not None:
                changed = dataclasses.replace(one, state=state, place=place)
                await self._keep({**self._open, one.id: changed}, self._nonces_used)

    async def end_transaction(self, outgoing: OutgoingTransaction, state: TransactionState) -> None:
        """Drop it: it is final."""
        assert state in TRANSACTION_ENDS
        async with self._changing:
            await self._keep(self._without(outgoing), self._nonces_used)

    async def discard_transaction(self, outgoing: OutgoingTransaction) -> None:
        """Forget one that no node ever took; its nonce is free again if it was the newest."""
        wallet = (outgoing.chain_id, outgoing.sender)
        async with self._changing:
            nonces = dict(self._nonces_used)
            if nonces.get(wallet) == outgoing.nonce + 1:
                nonces[wallet] = outgoing.nonce
            await self._keep(self._without(outgoing), nonces)

    async def open_transactions(self) -> Sequence[OutgoingTransaction]:
        """Return those that have not ended, by nonce."""
        return sorted(self._open.values(), key=lambda one: (one.nonce, one.id))

    async def nonces_used(self, chain_id: int, sender: Address) -> int:
        """Return one more than the highest nonce ever kept for a wallet, 0 where there is none."""
        return self._nonces_used.get((chain_id, sender), 0)

    def _without(self, outgoing: OutgoingTransaction) -> _Open:
        return {id_: one for id_, one in self._open.items() if id_ != outgoing.id}

    async def _keep(self, open_: _Open, nonces_used: _Nonces) -> None:
        """Write first: what is not on the disk must not be in memory, from where it is sent."""
        if self._path is not None:
            await asyncio.to_thread(_replace_file, self._path, _document(open_, nonces_used))
        self._open, self._nonces_used = open_, nonces_used

    def _load(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                document = json.loads(file.read(_FILE_BYTES_MAX))
            for chain_id, sender, used in document["nonces_used"]:
                self._nonces_used[int(chain_id), address(sender)] = int(used)
            opened = [_from_json(one) for one in document["open"]]
        except OSError as error:
            raise LocalError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, TypeError, LookupError, AttributeError, MalformedMessage):
            raise LocalError(
                f"{path} is damaged: it keeps what this wallet sent and has not seen mined; check "
                "the wallet's last transactions on the chain, then remove the file"
            ) from None
        self._open = {one.id: one for one in opened}


@contextlib.asynccontextmanager
async def open_journal(
    folder: Path | None, chain_id: int, wallet: Address
) -> AsyncIterator[Journal]:
    """Open a wallet's journal in a folder and keep other processes out of it meanwhile.

    Raises:
        LocalError: another process has used the wallet for too long, or the file is unusable.
    """
    if folder is None:
        yield Journal()
        return
    path = folder / f"{chain_id}-{wallet}.json"
    lock = await asyncio.to_thread(_open_lock, path)
    with lock:
        try:
            async with asyncio.timeout(LOCK_S_MAX):
                # Another process holds it, and tells nobody when it lets go.
                while not _locked(lock):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise LocalError(
                f"another process has been using wallet {wallet} for {LOCK_S_MAX:g} s; "
                "wait for it to end, or stop it"
            ) from None
        yield await asyncio.to_thread(Journal, path)


def _open_lock(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path.with_suffix(".lock").open("w")
    except OSError as error:
        raise LocalError(f"cannot write in {path.parent}: {error.strerror}") from None


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace_file(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # the new name itself must survive a power cut
        finally:
            os.close(folder)
    except OSError as error:
        raise LocalError(f"cannot write {path}: {error.strerror}; nothing was sent") from None


def _document(open_: _Open, nonces_used: _Nonces) -> bytes:
    document = {
        "nonces_used": [[*wallet, used] for wallet, used in nonces_used.items()],
        "open": [_to_json(one) for one in open_.values()],
    }
    return json.dumps(document, indent=1).encode()


def _to_json(one: OutgoingTransaction) -> dict[str, Any]:
    place = one.place
    return {
        "id": to_hex(one.id),
        "chain_id": one.chain_id,
        "sender": one.sender,
        "nonce": one.nonce,
        "kind": one.kind,
        "jobs": [to_hex(job) for job in one.jobs],
        "signed": [{"hash": to_hex(s.hash), "raw": to_hex(s.raw)} for s in one.signed],
        "place": None
        if place is None
        else [to_hex(place.hash), place.block_number, to_hex(place.block_hash)],
        "created_at": one.created_at,
    }


def _from_json(fields: dict[str, Any]) -> OutgoingTransaction:
    place = fields["place"]
    return OutgoingTransaction(
        id=digest_from_hex(fields["id"]),
        chain_id=int(fields["chain_id"]),
        sender=address(fields["sender"]),
        nonce=int(fields["nonce"]),
        kind=str(fields["kind"]),
        jobs=tuple(map(digest_from_hex, fields["jobs"])),
        signed=tuple(
            SignedTransaction(
                hash=digest_from_hex(s["hash"]), raw=bytes.fromhex(s["raw"].removeprefix("0x"))
            )
            for s in fields["signed"]
        ),
        state=TransactionState.PENDING if place is None else TransactionState.MINED,
        place=None
        if place is None
        else Place(
            hash=digest_from_hex(place[0]),
            block_number=int(place[1]),
            block_hash=digest_from_hex(place[2]),
        ),
        created_at=float(fields["created_at"]),
    )
