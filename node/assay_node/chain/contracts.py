"""The contracts of one deployment, ready to be read and called."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from assay_node.chain import abi_codec
from assay_node.chain.abi_codec import AbiEntry, Interface
from assay_node.chain.deployment import Deployment
from assay_node.chain.refusals import ContractRefusal, refusal
from assay_node.chain.rpc import JsonRpc, RpcRefusal
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest

ADDRESS_BYTES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a contract's function; `action` says in words what it is meant to do."""

    to: Address
    data: bytes
    action: str


class BoundContract:
    """A contract's interface at its address."""

    def __init__(self, rpc: JsonRpc, address: Address, interface: Interface) -> None:
        self._rpc = rpc
        self.address = address
        self.interface = interface

    def call(self, function: str, *arguments: Any, action: str) -> Call:
        """Return a call to be sent in a transaction."""
        data = self.interface.functions[function].encode_call(*arguments)
        return Call(to=self.address, data=data, action=action)

    async def read(self, function: str, *arguments: Any, block: str = "latest") -> tuple[Any, ...]:
        """Run a view function on the newest block and return its values.

        `block` "pending" runs it as the next block will: only then is the newest block's own hash
        known to it. Nodes without a pending block take "latest" for it.

        Raises:
            ContractRefusal: the contract reverted, with the decoded reason.
            ChainUnavailable: the endpoint does not answer.
        """
        entry = self.interface.functions[function]
        request = {"to": self.address, "data": "0x" + entry.encode_call(*arguments).hex()}
        try:
            answer = await self._rpc.read("eth_call", request, block)
        except RpcRefusal as error:
            raise explained(error, f"reading {function}", self.interface.errors) from None
        return entry.decode_result(to_bytes(answer))


class Contracts:
    """The contracts of a deployment, over one endpoint."""

    def __init__(self, rpc: JsonRpc, deployment: Deployment) -> None:
        packaged = abi_codec.packaged
        self.deployment = deployment
        self.token = BoundContract(rpc, deployment.token, packaged("TestUsd"))
        self.vault = BoundContract(rpc, deployment.vault, packaged("Vault"))
        self.providers = BoundContract(rpc, deployment.providers, packaged("Providers"))
        self.market = BoundContract(rpc, deployment.market, packaged("Market"))
        self.road = BoundContract(rpc, deployment.road, packaged("Road"))
        # A call of one contract may fail with another's error.
        self.errors: dict[bytes, AbiEntry] = {
            selector: error
            for contract in (self.token, self.vault, self.providers, self.market, self.road)
            for selector, error in contract.interface.errors.items()
        }


def explained(error: RpcRefusal, action: str, errors: Mapping[bytes, AbiEntry]) -> ChainError:
    """Return what a node's refusal means: a contract's own reason where there is one."""
    if error.data:
        return refusal(action, error.data, errors)
    if "revert" in error.message.lower():
        return ContractRefusal("unknown", f"{action} was refused without a reason")
    return ChainError(f"{action} failed: {error.message}")


def to_bytes(value: Any) -> bytes:
    """Return bytes that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise ChainError("the chain node answered something that is not hexadecimal bytes")


def to_int(value: Any) -> int:
    """Return a number that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    if isinstance(value, str) and value.startswith("0x"):
        try:
            return int(value, 16)
        except ValueError:
            pass
    raise ChainError("the chain node answered something that is not a hexadecimal number")


def to_digest(value: Any) -> Digest:
    """Return 32 bytes that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    data = to_bytes(value)
    if len(data) != DIGEST_BYTES:
        raise ChainError("the chain node answered a hash that has not 32 bytes")
    return Digest(data)


def to_address(value: Any) -> Address:
    """Return an address that the node wrote as "0x" and hexadecimal digits.

    Raises:
        ChainError: it is anything else.
    """
    data = to_bytes(value)
    if len(data) != ADDRESS_BYTES:
        raise ChainError("the chain node answered an address that has not 20 bytes")
    return Address("0x" + data.hex())
