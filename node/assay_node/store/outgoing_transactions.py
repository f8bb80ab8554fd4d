"""A scheduler's outgoing transactions in its database, beside the jobs that wait for them."""

from collections.abc import Sequence

from sqlalchemy import RowMapping, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from assay_node.ports import (
    TRANSACTION_ENDS,
    OutgoingTransaction,
    Place,
    SignedTransaction,
    TransactionState,
)
from assay_node.protocol.ids import Address, digest_from_hex, to_hex
from assay_node.store.database import Database
from assay_node.store.scheduler_changes import CHAIN_ENDS, Stale
from assay_node.store.scheduler_schema import jobs, signed_transactions, transactions
from assay_node.store.undisturbed import undisturbed

_ENDED = sorted(state.value for state in TRANSACTION_ENDS)


class OutgoingTransactions:
    """Implements `assay_node.ports.TransactionStore` on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @undisturbed
    async def save_transaction(self, outgoing: OutgoingTransaction) -> bool:
        """Keep a new transaction and bind its jobs to it; False if a job is bound already."""
        names = [to_hex(job) for job in outgoing.jobs]
        try:
            async with self._database.write() as connection:
                await connection.execute(
                    insert(transactions).values(
                        id=to_hex(outgoing.id),
                        chain_id=outgoing.chain_id,
                        sender=outgoing.sender,
                        nonce=outgoing.nonce,
                        kind=outgoing.kind,
                        jobs=names,
                        state=outgoing.state,
                        created_at=outgoing.created_at,
                        **_place_values(outgoing.place),
                    )
                )
                for number, signed in enumerate(outgoing.signed):
                    await _add(connection, outgoing, signed, number)
                bound = await connection.execute(
                    update(jobs)
                    .where(
                        jobs.c.job.in_(names),
                        jobs.c.tx.is_(None),
                        jobs.c.state.in_(CHAIN_ENDS),
                    )
                    .values(tx=to_hex(outgoing.id), generation=jobs.c.generation + 1)
                )
                if bound.rowcount != len(names):
                    raise Stale
        except Stale:
            return False
        return True

    @undisturbed
    async def add_signed(self, outgoing: OutgoingTransaction, signed: SignedTransaction) -> None:
        """Keep another signed form, before it is sent."""
        async with self._database.write() as connection:
            await _add(connection, outgoing, signed, len(outgoing.signed))

    @undisturbed
    async def note_place(self, outgoing: OutgoingTransaction, place: Place | None) -> None:
        """Note the block that holds it, or None where a reorg took it out of one."""
        state = TransactionState.PENDING if place is None else TransactionState.MINED
        async with self._database.write() as connection:
            await connection.execute(
                update(transactions)
                .where(
                    transactions.c.id == to_hex(outgoing.id), transactions.c.state.not_in(_ENDED)
                )
                .values(state=state, **_place_values(place))
            )

    @undisturbed
    async def end_transaction(self, outgoing: OutgoingTransaction, state: TransactionState) -> None:
        """Note how it ended; jobs that wait for it are free for another one."""
        async with self._database.write() as connection:
            if await end(connection, outgoing, state):
                await unbind(connection, outgoing)

    @undisturbed
    async def discard_transaction(self, outgoing: OutgoingTransaction) -> None:
        """Forget one that no node ever took; its nonce is free again."""
        name = to_hex(outgoing.id)
        async with self._database.write() as connection:
            await unbind(connection, outgoing)
            await connection.execute(
                delete(signed_transactions).where(signed_transactions.c.id == name)
            )
            await connection.execute(delete(transactions).where(transactions.c.id == name))

    @undisturbed
    async def open_transactions(self) -> Sequence[OutgoingTransaction]:
        """Return those that have not ended, by nonce."""
        query = (
            select(transactions)
            .where(transactions.c.state.not_in(_ENDED))
            .order_by(transactions.c.nonce, transactions.c.id)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
            if not rows:
                return []
            found = await connection.execute(
                select(signed_transactions)
                .where(signed_transactions.c.id.in_([row["id"] for row in rows]))
                .order_by(signed_transactions.c.number)
            )
            forms: dict[str, list[SignedTransaction]] = {row["id"]: [] for row in rows}
            for form in found.mappings():
                signed = SignedTransaction(hash=digest_from_hex(form["hash"]), raw=form["raw"])
                forms[form["id"]].append(signed)
        return [_record(row, forms[row["id"]]) for row in rows]

    @undisturbed
    async def nonces_used(self, chain_id: int, sender: Address) -> int:
        """Return one more than the highest nonce ever kept for a wallet, 0 where there is none."""
        query = select(func.max(transactions.c.nonce)).where(
            transactions.c.chain_id == chain_id, transactions.c.sender == sender
        )
        async with self._database.read() as connection:
            highest: int | None = (await connection.execute(query)).scalar()
        return 0 if highest is None else highest + 1


async def end(
    connection: AsyncConnection, outgoing: OutgoingTransaction, state: TransactionState
) -> bool:
    """Note how a transaction ended; False when that was noted before."""
    assert state in TRANSACTION_ENDS
    done = await connection.execute(
        update(transactions)
        .where(transactions.c.id == to_hex(outgoing.id), transactions.c.state.not_in(_ENDED))
        .values(state=state)
    )
    return bool(done.rowcount)


async def unbind(connection: AsyncConnection, outgoing: OutgoingTransaction) -> None:
    """Free the jobs that still wait for a transaction: they may go into another one."""
    await connection.execute(
        update(jobs)
        .where(jobs.c.tx == to_hex(outgoing.id), jobs.c.state.in_(CHAIN_ENDS))
        .values(tx=None, generation=jobs.c.generation + 1)
    )


async def _add(
    connection: AsyncConnection,
    outgoing: OutgoingTransaction,
    signed: SignedTransaction,
    number: int,
) -> None:
    await connection.execute(
        insert(signed_transactions).values(
            hash=to_hex(signed.hash), id=to_hex(outgoing.id), number=number, raw=signed.raw
        )
    )


def _place_values(place: Place | None) -> dict[str, object]:
    return {
        "mined_hash": None if place is None else to_hex(place.hash),
        "block_number": None if place is None else place.block_number,
        "block_hash": None if place is None else to_hex(place.block_hash),
    }


def _record(row: RowMapping, signed: Sequence[SignedTransaction]) -> OutgoingTransaction:
    return OutgoingTransaction(
        id=digest_from_hex(row["id"]),
        chain_id=row["chain_id"],
        sender=Address(row["sender"]),
        nonce=row["nonce"],
        kind=row["kind"],
        jobs=tuple(digest_from_hex(name) for name in row["jobs"]),
        signed=tuple(signed),
        state=TransactionState(row["state"]),
        place=None
        if row["mined_hash"] is None
        else Place(
            hash=digest_from_hex(row["mined_hash"]),
            block_number=row["block_number"],
            block_hash=digest_from_hex(row["block_hash"]),
        ),
        created_at=row["created_at"],
    )
