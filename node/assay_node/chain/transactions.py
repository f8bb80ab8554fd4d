"""One wallet's transactions: nonces, fees, gas limits and signing, in one place.

Sources: EIP-1559 (fee market and transaction type 2), EIP-2718 (typed transactions).
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from assay_node.chain.abi_codec import AbiEntry
from assay_node.chain.contracts import Call, explained, to_int
from assay_node.chain.rpc import JsonRpc, RpcRefusal
from assay_node.ports.chain import PreparedTransaction
from assay_node.ports.keys import OrderSigner
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address, Digest

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

BASE_FEE_MARGIN: Final = 2
"""The base fee can double in 6 full blocks; what it did not rise is not paid for."""

RESERVATION_S_MAX: Final = 120.0
"""A nonce that was given out but does not show up on the chain is given out again after this long,
lest every later transaction wait for it for ever."""

OVERTAKEN_BLOCKS: Final = 3
"""A nonce counts as lost only this many blocks after it was seen used: nodes show a block's nonces
a moment before its receipts (seen on Anvil), and nodes behind one endpoint differ by a block."""

REMEMBERED_MAX: Final = 10_000
"""Transactions whose nonce is remembered: a day's worth of one every ten seconds."""

_TYPE_2: Final = b"\x02"
_TRANSFER_GAS: Final = 21_000
_SENT_BEFORE: Final = (
    "already known",
    "already imported",
    "nonce too low",
    "underpriced",  # another transaction holds the nonce in the pool; `outcome` will tell which won
)


class TransactionSigner:
    """Prepares and sends the transactions of one key. At most one instance per key may be in use.

    A nonce is reserved when a transaction is prepared, and again when it is sent. The next one is
    the lowest that is neither in the chain's pool nor reserved, so gaps close by themselves.
    """

    def __init__(
        self,
        rpc: JsonRpc,
        *,
        chain_id: int,
        signer: OrderSigner,
        errors: Mapping[bytes, AbiEntry],
    ) -> None:
        self._rpc = rpc
        self._chain_id = chain_id
        self._signer = signer
        self._errors = errors
        self._lock = asyncio.Lock()
        self._reserved_until: dict[int, float] = {}
        self._nonces: dict[Digest, int] = {}
        self._overtaken_at: dict[Digest, int] = {}

    @property
    def address(self) -> Address:
        """Whose transactions these are."""
        return self._signer.address

    async def prepare(self, call: Call, *, gas_bound: int | None = None) -> PreparedTransaction:
        """Sign a call without sending it.

        The gas limit is `gas_bound`, where the caller knows what the call can burn at most and a
        trial run agrees, else an estimate with a margin. A node needs one run for the former and a
        search of a dozen for the latter: 1 s for a full batch of receipts.

        Raises:
            ContractRefusal: it would be turned down now; nothing was signed.
            ChainError: it needs more gas or bytes than a transaction may have.
            ChainUnavailable: the endpoint does not answer.
        """
        gas = await self._gas_limit(call, gas_bound)
        if gas > GAS_MAX or len(call.data) > TRANSACTION_BYTES_MAX - TRANSACTION_BYTES_OTHER:
            raise ChainError(
                f"{call.action} needs {gas} gas and {len(call.data)} bytes, more than one "
                f"transaction may have ({GAS_MAX} gas, {TRANSACTION_BYTES_MAX} bytes); do less "
                "at a time"
            )
        tip, fee = await self._fees()
        async with self._lock:
            nonce = await self._next_nonce()
            transaction = self._sign(nonce, gas, tip, fee, to=call.to, data=call.data)
            self._reserve(transaction)
        return transaction

    async def send(self, transaction: PreparedTransaction) -> None:
        """Broadcast a prepared transaction; sending it again is harmless, mined or not.

        Raises:
            ChainError: the node refuses it for good, such as for lack of coin to pay gas; its nonce
                is free again.
            ChainUnavailable: the endpoint does not answer; send it again later.
        """
        self._reserve(transaction)
        try:
            await self._rpc.call("eth_sendRawTransaction", "0x" + transaction.raw.hex())
        except RpcRefusal as error:
            message = error.message.lower()
            if any(known in message for known in _SENT_BEFORE):
                return
            self._reserved_until.pop(transaction.nonce, None)
            if "insufficient funds" in message:
                raise ChainError(
                    f"wallet {self.address} cannot pay for gas; send it some of the chain's own "
                    "coin (on a local chain: `assay dev faucet`)"
                ) from None
            raise explained(error, "the transaction", self._errors) from None
        await self._fill_gap(transaction.nonce)

    async def lost_its_nonce(self, transaction_hash: Digest, *, confirmations: int) -> bool:
        """Tell whether another transaction of this wallet took the nonce of one of ours.

        Known for transactions that this instance prepared or sent. The caller has just seen that
        there is no receipt, and must look once more: it may have been mined in between.
        """
        nonce = self._nonces.get(transaction_hash)
        if nonce is None:
            return False
        # The newest count, for a node may have forgotten older states (Anvil does at a restart).
        count = await self._rpc.read("eth_getTransactionCount", self.address, "latest")
        head = to_int(await self._rpc.read("eth_blockNumber"))
        if to_int(count) <= nonce:
            self._overtaken_at.pop(transaction_hash, None)
            return False
        seen_at = self._overtaken_at.setdefault(transaction_hash, head)
        return head - seen_at >= OVERTAKEN_BLOCKS + confirmations - 1

    def _reserve(self, transaction: PreparedTransaction) -> None:
        self._reserved_until[transaction.nonce] = time.monotonic() + RESERVATION_S_MAX
        self._nonces[transaction.hash] = transaction.nonce
        if len(self._nonces) > REMEMBERED_MAX:
            oldest = next(iter(self._nonces))
            del self._nonces[oldest]
            self._overtaken_at.pop(oldest, None)

    async def _next_nonce(self) -> int:
        nonce = await self._pool_count()
        self._forget_before(nonce)
        while nonce in self._reserved_until:
            nonce += 1
        return nonce

    async def _pool_count(self) -> int:
        count = await self._rpc.read("eth_getTransactionCount", self.address, "pending")
        return to_int(count)

    def _forget_before(self, nonce: int) -> None:
        now = time.monotonic()
        self._reserved_until = {
            n: until for n, until in self._reserved_until.items() if n >= nonce and until > now
        }

    async def _fill_gap(self, nonce: int) -> None:
        """Take the nonces below `nonce` that nobody is going to use, with transfers of nothing.

        Such a gap is left by a crash between two prepared transactions of which only the later one
        was kept; without this the later one would never be mined.
        """
        async with self._lock:
            first = await self._pool_count()
            self._forget_before(first)
            for missing in range(first, nonce):
                if missing in self._reserved_until:
                    return  # its owner is about to send it
                tip, fee = await self._fees()
                filler = self._sign(missing, _TRANSFER_GAS, tip, fee, to=self.address, data=b"")
                try:
                    await self._rpc.call("eth_sendRawTransaction", "0x" + filler.raw.hex())
                except RpcRefusal as error:  # the transaction itself is sent; a later send heals it
                    logger.warning("nonce %d stays open: %s", missing, error.message)
                    return

    async def _gas_limit(self, call: Call, bound: int | None) -> int:
        request = {"from": self.address, "to": call.to, "data": "0x" + call.data.hex()}
        if bound is not None:
            try:
                await self._rpc.read("eth_call", {**request, "gas": hex(bound)}, "latest")
            except RpcRefusal as error:
                logger.warning("%s does not pass within %d gas: %s", call.action, bound, error)
            else:
                return bound
        try:
            gas = to_int(await self._rpc.read("eth_estimateGas", request))
        except RpcRefusal as error:
            raise explained(error, call.action, self._errors) from None
        return max(int(gas * GAS_MARGIN) + GAS_EXTRA, bound or 0)

    async def _fees(self) -> tuple[int, int]:
        """Return the tip and the highest fee, in wei per gas."""
        block = await self._rpc.read("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict) or "baseFeePerGas" not in block:
            raise ChainError("the chain has no base fee; Assay needs EIP-1559 transactions")
        tip = to_int(await self._rpc.read("eth_maxPriorityFeePerGas"))
        return tip, to_int(block["baseFeePerGas"]) * BASE_FEE_MARGIN + tip

    def _sign(
        self, nonce: int, gas: int, tip: int, fee: int, *, to: Address, data: bytes
    ) -> PreparedTransaction:
        value, access_list = 0, ()
        fields = (
            self._chain_id, nonce, tip, fee, gas, bytes.fromhex(to[2:]), value, data, access_list,
        )  # fmt: skip
        signature = self._signer.sign_digest(Digest(keccak(_TYPE_2 + rlp.encode(fields))))
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        raw = _TYPE_2 + rlp.encode((*fields, signature[64] - 27, r, s))
        return PreparedTransaction(hash=Digest(keccak(raw)), raw=raw, nonce=nonce)
