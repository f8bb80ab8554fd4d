"""A contract at its address: what the generated bindings are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from assay_node.chain.abi_codec import ErrorType, Function
from assay_node.chain.hex_values import to_bytes
from assay_node.chain.refusals import explained
from assay_node.chain.rpc import JsonRpc, RpcRefusal
from assay_node.protocol.ids import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a contract's function, or with `to` None a contract's creation code."""

    to: Address | None
    data: bytes


class BoundContract:
    """A contract that can be read and called. Its methods are in its own subclass."""

    errors: ClassVar[Mapping[bytes, ErrorType]]

    def __init__(self, rpc: JsonRpc, address: Address) -> None:
        self._rpc = rpc
        self.address = address

    def _call(self, function: Function, arguments: Sequence[Any]) -> Call:
        return Call(to=self.address, data=function.encode_call(arguments))

    async def _read(
        self, function: Function, arguments: Sequence[Any], block: str
    ) -> tuple[Any, ...]:
        """Run a view function and return its values.

        `block` "pending" runs it as the next block will: only then is the newest block's own hash
        known to it. Nodes without a pending block take "latest" for it.

        Raises:
            ContractRefusal: the contract reverted, with the decoded reason.
            ChainUnavailable: the endpoint does not answer.
        """
        request = {"to": self.address, "data": "0x" + function.encode_call(arguments).hex()}
        try:
            answer = await self._rpc.read("eth_call", request, block)
        except RpcRefusal as error:
            raise explained(error, f"reading {function.name}", self.errors) from None
        return function.decode_result(to_bytes(answer))
