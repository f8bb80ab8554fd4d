"""Results of hardware proofs: this scheduler's own, and what others gossiped."""

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from assay_node.protocol.hardware_proof import ProofResult, SignedProofResult
from assay_node.protocol.ids import to_hex
from assay_node.store.database import Database
from assay_node.store.scheduler_schema import hardware_proofs
from assay_node.store.undisturbed import undisturbed


class HardwareProofs:
    """The part of `assay_node.ports.SchedulerStore` that keeps results of proofs."""

    _database: Database

    @undisturbed
    async def add_proof(self, result: ProofResult, signed: SignedProofResult, *, kept: int) -> bool:
        """Keep a result, and of this verifier's about this operator the newest `kept`.

        False when the verifier's result of that round is there already: the first one stands.
        """
        table = hardware_proofs
        its = (table.c.operator == result.operator) & (table.c.verifier == result.verifier)
        async with self._database.write() as connection:
            of_round = select(table.c.id).where(its, table.c.round == to_hex(result.round))
            if (await connection.execute(of_round)).first():
                return False
            await connection.execute(
                insert(table).values(
                    operator=result.operator,
                    verifier=result.verifier,
                    round=to_hex(result.round),
                    asked_at=result.asked_at,
                    body=signed.body,
                    signature=signed.signature,
                )
            )
            newest = select(table.c.id).where(its).order_by(*_NEWEST_FIRST).limit(kept)
            keep = [row.id for row in await connection.execute(newest)]
            await connection.execute(delete(table).where(its, table.c.id.not_in(keep)))
        return True

    @undisturbed
    async def proofs(self) -> Sequence[SignedProofResult]:
        """Return all results that are kept, the newest first."""
        query = select(hardware_proofs).order_by(*_NEWEST_FIRST)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings()
            return [SignedProofResult(body=row["body"], signature=row["signature"]) for row in rows]


_NEWEST_FIRST = (hardware_proofs.c.asked_at.desc(), hardware_proofs.c.id.desc())
