"""Calls that somebody waits for: sent through the outbox, and followed to their end."""

import asyncio
import time
from typing import Final

from assay_node.chain.bound_contract import Call
from assay_node.chain.contracts import ERRORS
from assay_node.chain.events import MinedTransaction
from assay_node.chain.outbox import GAP, Ended, Outbox
from assay_node.chain.refusals import explained
from assay_node.chain.rpc import JsonRpc, RpcRefusal
from assay_node.ports.transactions import (
    OutgoingTransaction,
    TransactionState,
    TransactionStore,
)
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Digest, to_hex

MINED_S_MAX: Final = 120.0
"""Ten blocks of Ethereum; a transaction with our fee margin is in one of them."""

_POLL_S: Final = 0.1


class TransactionDisplaced(ChainError):
    """Another program took the transaction's nonce with the same key; nothing was done."""

    code = "transaction_displaced"


class Sender:
    """One wallet's calls, each of which returns when it is final.

    After `ChainError` for want of time and `ChainUnavailable` a transaction is kept and may still
    be mined: `finish_earlier` says what became of it.
    """

    def __init__(self, rpc: JsonRpc, outbox: Outbox, store: TransactionStore) -> None:
        self._rpc = rpc
        self._outbox = outbox
        self._store = store
        self._ended: dict[Digest, Ended] = {}

    async def do(self, call: Call, action: str) -> MinedTransaction:
        """Make a call and wait until it is final; `action` says in words what it does.

        Raises:
            ContractRefusal: the contract turned it down, before it was sent or when it was mined.
            TransactionDisplaced: another program used the wallet; nothing was done.
            ChainError: it was not mined in time.
            ChainUnavailable: the endpoint does not answer.
        """
        outgoing = await self._outbox.submit(call, action=action, kind=action)
        assert outgoing is not None, "without jobs nothing is bound"
        refused = self._outbox.refusal(outgoing, action)
        if refused is not None:
            await self._store.discard_transaction(outgoing)
            raise refused
        ended = await self.wait_until_final(outgoing)
        if ended.mined is None:
            raise TransactionDisplaced(
                f"{action} was not done: another program sent a transaction with the key of wallet "
                f"{self._outbox.address} at the same time; repeat it"
            )
        if ended.state is TransactionState.REVERTED:
            raise await self._why_reverted(call, action, ended.mined)
        return ended.mined

    async def finish_earlier(self) -> tuple[str, ...]:
        """Wait for what earlier commands of this wallet sent and did not see mined.

        Returns what each was for and how it ended, in words: do not repeat it without looking.

        Raises:
            ChainError: it is not mined in time.
            ChainUnavailable: the endpoint does not answer.
        """
        earlier = [one for one in await self._store.open_transactions() if one.kind != GAP]
        ends = [await self.wait_until_final(one) for one in earlier]
        return tuple(f"{end.outgoing.kind} {end.state.value}" for end in ends)

    async def wait_until_final(self, outgoing: OutgoingTransaction) -> Ended:
        """Pursue a transaction until it has ended.

        Raises:
            ChainError: it is not mined in time; it stays kept.
            ChainUnavailable: the endpoint does not answer; it stays kept.
        """
        deadline = time.monotonic() + MINED_S_MAX
        while time.monotonic() < deadline:
            for ended in await self._outbox.pursue():
                # The one who looks ends them all; others of this process wait for theirs here.
                await self._store.end_transaction(ended.outgoing, ended.state)
                self._ended[ended.outgoing.id] = ended
            if outgoing.id in self._ended:
                return self._ended.pop(outgoing.id)
            await asyncio.sleep(_POLL_S)
        raise ChainError(
            f"{outgoing.kind} was sent but not mined within {MINED_S_MAX:g} s; it is kept and may "
            f"still be mined: look for transaction {to_hex(outgoing.id)} before you repeat it"
        )

    async def _why_reverted(self, call: Call, action: str, mined: MinedTransaction) -> ChainError:
        """Run a mined and reverted call again on its block to learn the contract's reason."""
        request = {"from": self._outbox.address, "to": call.to, "data": to_hex(call.data)}
        try:
            await self._rpc.read("eth_call", request, hex(mined.block_number))
        except RpcRefusal as error:
            return explained(error, action, ERRORS)
        return ChainError(f"{action} was mined but had no effect; try again")
