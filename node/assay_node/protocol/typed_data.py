"""EIP-712 digests of everything that is signed, and recovery of who signed it.

The type strings here and in `contracts/src/libraries/TypedData.sol` are the same text; a test
compares the digests on a real chain. Source: https://eips.ethereum.org/EIPS/eip-712
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from eth_abi.abi import encode as abi_encode
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Address, Digest

DOMAIN_NAME: Final = "Assay"
DOMAIN_VERSION: Final = "1"
SIGNATURE_BYTES: Final = 65
_SECP256K1_HALF_N: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

ORDER_TYPE: Final = (
    "Order(address requester,bytes32 spec,bytes32 hardwareClass,address scheduler,uint64 fee,"
    "uint64 maxRate,uint32 maxSeconds,uint64 bond,uint8 replicas,uint8 quorum,uint8 maxTicket,"
    "uint32 commitWindow,uint32 revealWindow,uint64 seedBlock,uint64 expiry,uint16 auditBps,"
    "bool escalate,uint256 nonce)"
)
REVEAL_TYPE: Final = "Reveal(bytes32 job,bytes32 commits,bytes32 tag,uint64 rate,uint32 secs)"
COMMIT_TYPE: Final = "Commit(bytes32 job,uint32 round,uint64 rate,bytes32 commitment)"
COMMIT_SET_TYPE: Final = "CommitSet(bytes32 job,uint32 round,bytes32 commits)"
ASSIGN_TYPE: Final = (
    "Assign(bytes32 job,uint32 round,uint32 sequence,address[] operators,uint8[] tickets,"
    "address[] replaced)"
)
ORDERS_TYPE: Final = "Orders(Order[] orders)" + ORDER_TYPE
REVEALS_TYPE: Final = "Reveals(Reveal[] reveals)" + REVEAL_TYPE
OFFER_TYPE: Final = "Offer(bytes32 body)"
HARDWARE_PROOF_TYPE: Final = "HardwareProof(bytes32 body)"

_DOMAIN_TYPE: Final = (
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)


@dataclass(frozen=True)
class Domain:
    """The EIP-712 domain: signatures bind the chain and the Market contract."""

    chain_id: int
    market: Address

    @cached_property
    def separator(self) -> bytes:
        """The domain separator, 32 bytes."""
        return keccak(
            abi_encode(
                ["bytes32", "bytes32", "bytes32", "uint256", "address"],
                [
                    keccak(text=_DOMAIN_TYPE),
                    keccak(text=DOMAIN_NAME),
                    keccak(text=DOMAIN_VERSION),
                    self.chain_id,
                    self.market,
                ],
            )
        )

    def digest(self, type_string: str, types: list[str], values: list[object]) -> Digest:
        """Return the digest to sign for a struct of static members."""
        return self._signed(struct_hash(type_string, types, values))

    def list_digest(self, type_string: str, hashes: Iterable[bytes]) -> Digest:
        """Return the digest to sign for a struct whose one member is a list of structs.

        `hashes` are theirs, from `struct_hash`.
        """
        return self._signed(keccak(keccak(text=type_string) + keccak(b"".join(hashes))))

    def _signed(self, struct: bytes) -> Digest:
        return Digest(keccak(b"\x19\x01" + self.separator + struct))

    def body_digest(self, type_string: str, body: bytes) -> Digest:
        """Return the digest to sign for an off-chain message, given its canonical bytes."""
        return self.digest(type_string, ["bytes32"], [keccak(body)])


def struct_hash(type_string: str, types: list[str], values: list[object]) -> bytes:
    """Return the EIP-712 hash of a struct of static members, 32 bytes."""
    return keccak(abi_encode(["bytes32", *types], [keccak(text=type_string), *values]))


def recover(digest: Digest, signature: bytes) -> Address:
    """Return the address whose key made `signature` over `digest`.

    Only the form the contracts accept: 65 bytes r || s || v, v in {27, 28}, low s (EIP-2).

    Raises:
        MalformedMessage: the signature is not of that form.
    """
    if len(signature) != SIGNATURE_BYTES or signature[64] not in (27, 28):
        raise MalformedMessage("a signature has 65 bytes and ends in 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _SECP256K1_HALF_N:
        raise MalformedMessage("the signature's s is in the upper half (EIP-2)")
    try:
        parsed = Signature(signature[:64] + bytes((signature[64] - 27,)))
        public_key = parsed.recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        raise MalformedMessage("the signature recovers no public key") from None
    return Address(public_key.to_address())
