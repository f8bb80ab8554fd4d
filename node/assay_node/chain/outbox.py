"""The one place from which a wallet's transactions go out.

A transaction is signed and kept before it is sent, and pursued until it is final: sent again when
nodes forget it, replaced by a dearer form of itself when blocks pass it over, sent anew when a
reorg takes it out of its block. All its forms share one nonce, so at most one of them is mined,
and whichever is mined counts. `assay_node.chain.pursuit` decides; this looks and acts.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from assay_node.chain import signing
from assay_node.chain.bound_contract import Call
from assay_node.chain.contracts import ERRORS
from assay_node.chain.events import MinedTransaction, parse_transaction_receipt
from assay_node.chain.fees import Fees, GasMarket, bumped, fees_for
from assay_node.chain.hex_values import to_digest, to_int
from assay_node.chain.pursuit import (
    End,
    Inclusion,
    NoteThePlace,
    Patience,
    Replace,
    Send,
    Sent,
    Sight,
    Wait,
    next_step,
)
from assay_node.chain.refusals import explained
from assay_node.chain.rpc import JsonRpc, RpcRefusal
from assay_node.chain.signing import Unsigned
from assay_node.ports.keys import OrderSigner
from assay_node.ports.transactions import (
    OutgoingTransaction,
    Place,
    SignedTransaction,
    TransactionState,
    TransactionStore,
)
from assay_node.protocol.errors import ChainError, ChainUnavailable
from assay_node.protocol.ids import Address, Digest, to_hex

logger = logging.getLogger(__name__)

GAS_MAX: Final = 1 << 24
"""EIP-7825: no transaction may ask for more."""

TRANSACTION_BYTES_MAX: Final = 128 << 10
"""Ethereum nodes keep no larger transaction in their pools (go-ethereum: txMaxSize)."""

TRANSACTION_BYTES_OTHER: Final = 256
"""More than what a transaction has beside its call data."""

GAS_MARGIN: Final = 1.25
"""On top of an estimate: what a transaction meets when it is mined may differ from now. Gas that is
not used is not paid for."""

GAS_EXTRA: Final = 60_000
"""And for what is written anew when a block lies between the estimate and the transaction: a count
of seats that changes twice in one block keeps no history of it (two slots of 22,100 gas more)."""

WEI_PER_GWEI: Final = 10**9
GAP: Final = "gap"
"""The kind of a transfer of nothing that takes a nonce for which nothing else is there."""

GAPS_MAX: Final = 16
"""Nonces filled in one look; more are missing only where a chain lost its newest blocks."""

_TRANSFER_GAS: Final = 21_000
_SENT_BEFORE: Final = (
    "already known",
    "already imported",
    "nonce too low",  # mined, or lost to another: the next look tells which
    "underpriced",  # another transaction holds the nonce in the pool, perhaps a form of this one
)
_TOO_CHEAP: Final = "max fee per gas less than block base fee"
_NEVER_TAKEN: Final = (
    _TOO_CHEAP,
    "insufficient funds",
    "intrinsic gas",
    "exceeds block gas limit",
    "exceeds transaction gas limit",
    "oversized data",
)
"""Refusals after which a transaction is in no pool for certain. Others may hide a node that took it
and failed to say so."""


class GasTooDear(ChainError):
    """Gas costs more than the ceiling that was set; nothing was signed."""

    code = "gas_too_dear"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingSettings:
    """How transactions are paid for and pursued; the highest price is in wei per gas."""

    patience: Patience
    price_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A transaction that is final. `mined` is None if it was displaced."""

    outgoing: OutgoingTransaction
    state: TransactionState
    mined: MinedTransaction | None
    block_number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    number: int
    base_fee: int


class Outbox:
    """The transactions of one key on one chain. At most one instance per key may be in use."""

    def __init__(
        self,
        rpc: JsonRpc,
        *,
        chain_id: int,
        signer: OrderSigner,
        store: TransactionStore,
        settings: SendingSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rpc = rpc
        self._chain_id = chain_id
        self._signer = signer
        self._store = store
        self._settings = settings
        self._clock = clock
        self._submitting = asyncio.Lock()  # from choosing a nonce until it is kept
        self._pursuing = asyncio.Lock()  # two looks at once would both replace
        self._sent: dict[Digest, Sent] = {}
        self._refused: dict[Digest, RpcRefusal] = {}
        self._overtaken_at: dict[Digest, int] = {}
        self._gap_seen_at: dict[int, float] = {}

    @property
    def address(self) -> Address:
        """Whose transactions these are."""
        return self._signer.address

    async def gas_market(self) -> GasMarket:
        """Return what gas costs now."""
        head = await self._head()
        return await self._gas_market(head)

    async def submit(
        self,
        call: Call,
        *,
        action: str,
        kind: str,
        jobs: Sequence[Digest] = (),
        gas_bound: int | None = None,
    ) -> OutgoingTransaction | None:
        """Sign a call, keep it, and send it. None, and nothing sent, if a job is bound already.

        The gas limit is `gas_bound`, where the caller knows what the call can burn at most and a
        trial run agrees, else an estimate with a margin. A node needs one run for the former and a
        search of a dozen for the latter: 1 s for a full batch of receipts.

        What the node answers to the sending is not an error: once kept, a transaction is pursued.

        Args:
            call: what to do.
            action: the same in words, for errors.
            kind: a word by which its sender knows it again.
            jobs: which jobs wait for it; a job waits for one transaction at a time.
            gas_bound: an upper bound of the gas it can burn.

        Raises:
            ContractRefusal: it would be turned down now; nothing was signed.
            GasTooDear: gas costs more than the ceiling; nothing was signed.
            ChainError: it needs more gas or bytes than a transaction may have.
            ChainUnavailable: the endpoint does not answer; nothing was signed.
        """
        gas = await self._gas_limit(call, action, gas_bound)
        if gas > GAS_MAX or len(call.data) > TRANSACTION_BYTES_MAX - TRANSACTION_BYTES_OTHER:
            raise ChainError(
                f"{action} needs {gas} gas and {len(call.data)} bytes, more than one "
                f"transaction may have ({GAS_MAX} gas, {TRANSACTION_BYTES_MAX} bytes); do less "
                "at a time"
            )
        fees = await self._fees_now(action)
        async with self._submitting:
            nonce = await self._next_nonce()
            outgoing = self._signed(call, nonce=nonce, gas=gas, fees=fees, kind=kind, jobs=jobs)
            if not await self._store.save_transaction(outgoing):
                return None
        try:
            await self._send(outgoing, (await self._head()).number)
        except ChainError as error:  # it is kept: the next look sends it
            logger.warning("%s waits to be sent: %s", action, error)
        return outgoing

    def refusal(self, outgoing: OutgoingTransaction, action: str) -> ChainError | None:
        """Return why the node refused a transaction for certain, None if it may have taken it.

        For people who wait: a transaction that no node ever took can be discarded.
        """
        error = self._refused.get(outgoing.newest.hash)
        if error is None or len(outgoing.signed) > 1:
            return None
        message = error.message.lower()
        if not any(text in message for text in _NEVER_TAKEN):
            return None
        if "insufficient funds" in message:
            return ChainError(
                f"wallet {self.address} cannot pay for gas; send it some of the chain's own "
                "coin (on a local chain: `assay dev faucet`)"
            )
        return explained(error, action, ERRORS)

    async def pursue(self) -> list[Ended]:
        """Look at every open transaction once and do what is due; return those that are final.

        Whoever called keeps their end in the store, with what follows from it: until then they are
        returned again.

        Raises:
            ChainUnavailable: the endpoint does not answer; nothing is lost.
        """
        async with self._pursuing:
            outgoing = await self._mine()
            if not outgoing:
                return []
            head, count = await asyncio.gather(self._head(), self._count("latest"))
            looked = [await self._pursue(one, head, count) for one in outgoing]
            try:
                await self._fill_gaps(outgoing, count)
            except ChainError as error:  # the next look sees the gap again
                logger.warning("a gap between nonces waits: %s", error)
        return [ended for ended in looked if ended is not None]

    async def _pursue(self, outgoing: OutgoingTransaction, head: _Head, count: int) -> Ended | None:
        try:
            mined = await self._find(outgoing, head) if count > outgoing.nonce else None
            step = next_step(
                outgoing, self._sight(outgoing, head, count, mined), self._settings.patience
            )
            match step:
                case Wait():
                    pass
                case Send():
                    await self._send(outgoing, head.number)
                case Replace():
                    await self._replace(outgoing, head)
                case NoteThePlace(place):
                    await self._note_place(outgoing, place)
                case End(state):
                    return await self._end(outgoing, state, mined, head)
        except ChainUnavailable:
            raise
        except ChainError as error:  # one answer that makes no sense must not stop the others
            logger.warning("transaction %s waits: %s", to_hex(outgoing.id), error)
        return None

    def _sight(
        self, outgoing: OutgoingTransaction, head: _Head, count: int, mined: MinedTransaction | None
    ) -> Sight:
        if mined is None and count > outgoing.nonce:
            self._overtaken_at.setdefault(outgoing.id, head.number)
        else:
            self._overtaken_at.pop(outgoing.id, None)
        return Sight(
            now=self._clock(),
            head=head.number,
            mined_count=count,
            inclusion=None if mined is None else _inclusion(mined),
            overtaken_at=self._overtaken_at.get(outgoing.id),
            sent=self._sent.get(outgoing.newest.hash),
        )

    async def _find(self, outgoing: OutgoingTransaction, head: _Head) -> MinedTransaction | None:
        """Return the form of a transaction that was mined, if one was."""
        for signed in reversed(outgoing.signed):
            raw = await self._rpc.read("eth_getTransactionReceipt", to_hex(signed.hash))
            if raw is None:
                continue
            mined = parse_transaction_receipt(raw)
            # A node that is behind a reorg, or one of several, may hold the receipt of a block that
            # is no longer in the chain.
            if mined.block_number <= head.number and await self._is_in_chain(mined):
                return mined
        return None

    async def _is_in_chain(self, mined: MinedTransaction) -> bool:
        block = await self._rpc.read("eth_getBlockByNumber", hex(mined.block_number), False)
        return isinstance(block, dict) and to_digest(block.get("hash")) == mined.block_hash

    async def _end(
        self,
        outgoing: OutgoingTransaction,
        state: TransactionState,
        mined: MinedTransaction | None,
        head: _Head,
    ) -> Ended | None:
        if state is TransactionState.DISPLACED:
            logger.warning(
                "nonce %d of wallet %s went to a transaction that is not ours; is another program "
                "using its key? Transaction %s (%s) will never be mined",
                outgoing.nonce, self.address, to_hex(outgoing.id), outgoing.kind,
            )  # fmt: skip
        for signed in outgoing.signed:
            self._sent.pop(signed.hash, None)
            self._refused.pop(signed.hash, None)
        self._overtaken_at.pop(outgoing.id, None)
        if outgoing.kind == GAP:
            await self._store.end_transaction(outgoing, state)
            return None
        number = head.number if mined is None else mined.block_number
        return Ended(outgoing=outgoing, state=state, mined=mined, block_number=number)

    async def _note_place(self, outgoing: OutgoingTransaction, place: Place | None) -> None:
        if place is None:
            logger.warning(
                "a reorg took transaction %s out of its block; it is sent again",
                to_hex(outgoing.id),
            )
            for signed in outgoing.signed:  # the pool may have none of them any more
                self._sent.pop(signed.hash, None)
        await self._store.note_place(outgoing, place)

    async def _send(self, outgoing: OutgoingTransaction, head: int) -> None:
        """Send the newest form. A refusal is logged: the transaction stays and is sent again."""
        now, signed = self._clock(), outgoing.newest
        before = self._sent.get(signed.hash)
        taken = True
        try:
            await self._broadcast(signed)
        except RpcRefusal as error:
            logger.warning("transaction %s was not taken: %s", to_hex(signed.hash), error.message)
            self._refused[signed.hash] = error
            taken = _TOO_CHEAP in error.message.lower()
        else:
            self._refused.pop(signed.hash, None)
        if before is None or not before.taken:
            self._sent[signed.hash] = Sent(first_at=now, first_block=head, last_at=now, taken=taken)
        else:
            self._sent[signed.hash] = replace(before, last_at=now, taken=taken)

    async def _broadcast(self, signed: SignedTransaction) -> None:
        try:
            await self._rpc.call("eth_sendRawTransaction", to_hex(signed.raw))
        except RpcRefusal as error:
            if not any(known in error.message.lower() for known in _SENT_BEFORE):
                raise

    async def _replace(self, outgoing: OutgoingTransaction, head: _Head) -> None:
        market = await self._gas_market(head)
        old = signing.read(outgoing.newest.raw).fees
        fees = bumped(old, market, cap_max=self._settings.price_max)
        if fees is None:
            logger.warning(
                "transaction %s is stuck: gas costs %s gwei and the ceiling leaves no dearer offer",
                to_hex(outgoing.id), _gwei(market.price),
            )  # fmt: skip
            await self._send(outgoing, head.number)
            return
        signed = signing.replacement(outgoing.newest, fees, self._signer)
        await self._store.add_signed(outgoing, signed)
        logger.info(
            "transaction %s is replaced by %s: up to %s gwei instead of %s",
            to_hex(outgoing.newest.hash), to_hex(signed.hash), _gwei(fees.cap), _gwei(old.cap),
        )  # fmt: skip
        await self._send(_with(outgoing, signed), head.number)

    async def _fill_gaps(self, outgoing: Sequence[OutgoingTransaction], count: int) -> None:
        """Take nonces below ours that nobody is going to use, with transfers of nothing.

        Such a gap is left by another program's transaction that was dropped, or by a chain that
        lost its newest blocks; what we sent with later nonces would never be mined.
        """
        ours = {one.nonce for one in outgoing}
        missing = [n for n in range(count, max(ours)) if n not in ours][:GAPS_MAX]
        if not missing:
            self._gap_seen_at.clear()
            return
        in_pool = await self._count("pending")
        missing = [nonce for nonce in missing if nonce >= in_pool]
        now = self._clock()
        # Not at once: the count may come from a node that is a block behind.
        seen = {nonce: self._gap_seen_at.get(nonce, now) for nonce in missing}
        self._gap_seen_at = seen
        due = [n for n, since in seen.items() if now - since >= self._settings.patience.resend_s]
        for nonce in due:
            logger.warning("nonce %d of wallet %s is missing; it is filled", nonce, self.address)
            fees = await self._fees_now("filling a gap between nonces")
            call = Call(to=self.address, data=b"")
            filler = self._signed(call, nonce=nonce, gas=_TRANSFER_GAS, fees=fees, kind=GAP)
            await self._store.save_transaction(filler)

    async def _mine(self) -> list[OutgoingTransaction]:
        """Return this wallet's open transactions; a database may hold another one's too."""
        return [
            one
            for one in await self._store.open_transactions()
            if (one.chain_id, one.sender) == (self._chain_id, self.address)
        ]

    async def _next_nonce(self) -> int:
        """Return the lowest nonce that nothing of ours and nothing in the pool has.

        What the store says counts even where the chain says less: the answer may be a block old.
        """
        in_pool = await self._count("pending")
        return max(in_pool, await self._store.nonces_used(self._chain_id, self.address))

    def _signed(
        self,
        call: Call,
        *,
        nonce: int,
        gas: int,
        fees: Fees,
        kind: str,
        jobs: Iterable[Digest] = (),
    ) -> OutgoingTransaction:
        unsigned = Unsigned(chain_id=self._chain_id, nonce=nonce, gas=gas, fees=fees, call=call)
        signed = signing.sign(unsigned, self._signer)
        return OutgoingTransaction(
            id=signed.hash,
            chain_id=self._chain_id,
            sender=self.address,
            nonce=nonce,
            kind=kind,
            jobs=tuple(jobs),
            signed=(signed,),
            state=TransactionState.PENDING,
            place=None,
            created_at=time.time(),
        )

    async def _gas_limit(self, call: Call, action: str, bound: int | None) -> int:
        request = {"from": self.address, "data": to_hex(call.data)}
        if call.to is not None:
            request["to"] = call.to
        if bound is not None:
            try:
                await self._rpc.read("eth_call", {**request, "gas": hex(bound)}, "latest")
            except RpcRefusal as error:
                logger.warning("%s does not pass within %d gas: %s", action, bound, error)
            else:
                return bound
        try:
            gas = to_int(await self._rpc.read("eth_estimateGas", request))
        except RpcRefusal as error:
            raise explained(error, action, ERRORS) from None
        wanted = max(int(gas * GAS_MARGIN) + GAS_EXTRA, bound or 0)
        # A margin that does not fit is cut; an estimate that does not fit is refused by the caller.
        return GAS_MAX if gas <= GAS_MAX < wanted else wanted

    async def _fees_now(self, action: str) -> Fees:
        market = await self.gas_market()
        fees = fees_for(market, cap_max=self._settings.price_max)
        if fees is None:
            raise GasTooDear(
                f"{action} waits: gas costs {_gwei(market.price)} gwei, more than the ceiling of "
                f"{_gwei(self._settings.price_max)} gwei (chain.gas_price_max_gwei)"
            )
        return fees

    async def _gas_market(self, head: _Head) -> GasMarket:
        tip = to_int(await self._rpc.read("eth_maxPriorityFeePerGas"))
        return GasMarket(base_fee=head.base_fee, tip=tip)

    async def _head(self) -> _Head:
        block = await self._rpc.read("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict) or "baseFeePerGas" not in block:
            raise ChainError("the chain has no base fee; Assay needs EIP-1559 transactions")
        return _Head(number=to_int(block.get("number")), base_fee=to_int(block["baseFeePerGas"]))

    async def _count(self, block: str) -> int:
        return to_int(await self._rpc.read("eth_getTransactionCount", self.address, block))


def _with(outgoing: OutgoingTransaction, signed: SignedTransaction) -> OutgoingTransaction:
    return replace(outgoing, signed=(*outgoing.signed, signed))


def _inclusion(mined: MinedTransaction) -> Inclusion:
    place = Place(hash=mined.hash, block_number=mined.block_number, block_hash=mined.block_hash)
    return Inclusion(place=place, succeeded=mined.succeeded)


def _gwei(wei: int) -> str:
    return f"{wei / WEI_PER_GWEI:.3g}"
