"""Transactions of type 2 as bytes: signed, and read back.

Sources: EIP-1559 (fee market and transaction type 2), EIP-2718 (typed transactions).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import rlp  # type: ignore[import-untyped]
from eth_utils.crypto import keccak

from assay_node.chain.bound_contract import Call
from assay_node.chain.fees import Fees
from assay_node.ports.keys import OrderSigner
from assay_node.ports.transactions import SignedTransaction
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address, Digest

_TYPE_2: Final = b"\x02"
_FIELDS: Final = 12  # nine that are signed, and the signature's three


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsigned:
    """What is signed; `call.to` None creates a contract."""

    chain_id: int
    nonce: int
    gas: int
    fees: Fees
    call: Call


def sign(transaction: Unsigned, signer: OrderSigner) -> SignedTransaction:
    """Return the signed transaction."""
    fields = _fields(transaction)
    signature = signer.sign_digest(Digest(keccak(_TYPE_2 + rlp.encode(fields))))
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    raw = _TYPE_2 + rlp.encode((*fields, signature[64] - 27, r, s))
    return SignedTransaction(hash=Digest(keccak(raw)), raw=raw)


def read(raw: bytes) -> Unsigned:
    """Return what `sign` signed.

    Raises:
        ChainError: it is not a transaction of type 2.
    """
    try:
        fields: Sequence[bytes] = rlp.decode(raw[1:]) if raw[:1] == _TYPE_2 else ()
    except rlp.exceptions.DecodingError:
        fields = ()
    if len(fields) != _FIELDS:
        raise ChainError("a stored transaction cannot be read; is the database damaged?")
    chain_id, nonce, tip, cap, gas = (int.from_bytes(field, "big") for field in fields[:5])
    to = Address("0x" + fields[5].hex()) if fields[5] else None
    return Unsigned(
        chain_id=chain_id,
        nonce=nonce,
        gas=gas,
        fees=Fees(tip=tip, cap=cap),
        call=Call(to=to, data=fields[7]),
    )


def replacement(old: SignedTransaction, fees: Fees, signer: OrderSigner) -> SignedTransaction:
    """Return the same transaction with other fees."""
    return sign(replace(read(old.raw), fees=fees), signer)


def _fields(transaction: Unsigned) -> tuple[Any, ...]:
    value, access_list = 0, ()
    call, fees = transaction.call, transaction.fees
    to = bytes.fromhex(call.to[2:]) if call.to is not None else b""
    return (
        transaction.chain_id, transaction.nonce, fees.tip, fees.cap, transaction.gas, to, value,
        call.data, access_list,
    )  # fmt: skip
