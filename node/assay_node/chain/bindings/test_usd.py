"""TestUsd as Python.

Written by contracts/generate_bindings.py from its ABI; do not edit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay_node.chain.abi_codec import DecodedEvent, ErrorType, EventType, Function
from assay_node.chain.bound_contract import BoundContract, Call
from assay_node.protocol.ids import Address, Digest


class Eip712DomainResult(NamedTuple):
    """What `eip712Domain` returns."""

    fields: bytes
    name: str
    version: str
    chain_id: int
    verifying_contract: Address
    salt: Digest
    extensions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Approval(DecodedEvent):
    """The event Approval."""

    ABI = EventType(
        "Approval",
        ("owner", "spender", "value"),
        ("address", "address", "uint256"),
        (True, True, False),
    )
    owner: Address
    spender: Address
    value: int


@dataclass(frozen=True, slots=True)
class EIP712DomainChanged(DecodedEvent):
    """The event EIP712DomainChanged."""

    ABI = EventType("EIP712DomainChanged", (), (), ())


@dataclass(frozen=True, slots=True)
class Transfer(DecodedEvent):
    """The event Transfer."""

    ABI = EventType(
        "Transfer", ("from_", "to", "value"), ("address", "address", "uint256"), (True, True, False)
    )
    from_: Address
    to: Address
    value: int


_DOMAIN_SEPARATOR: Final = Function("DOMAIN_SEPARATOR", (), (), ("bytes32",))
_ALLOWANCE: Final = Function(
    "allowance", ("owner", "spender"), ("address", "address"), ("uint256",)
)
_APPROVE: Final = Function("approve", ("spender", "value"), ("address", "uint256"), ("bool",))
_BALANCE_OF: Final = Function("balanceOf", ("account",), ("address",), ("uint256",))
_DECIMALS: Final = Function("decimals", (), (), ("uint8",))
_EIP712_DOMAIN: Final = Function(
    "eip712Domain",
    (),
    (),
    ("bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"),
)
_MINT: Final = Function("mint", ("to", "amount"), ("address", "uint256"), ())
_NAME: Final = Function("name", (), (), ("string",))
_NONCES: Final = Function("nonces", ("owner",), ("address",), ("uint256",))
_PERMIT: Final = Function(
    "permit",
    ("owner", "spender", "value", "deadline", "v", "r", "s"),
    ("address", "address", "uint256", "uint256", "uint8", "bytes32", "bytes32"),
    (),
)
_SYMBOL: Final = Function("symbol", (), (), ("string",))
_TOTAL_SUPPLY: Final = Function("totalSupply", (), (), ("uint256",))
_TRANSFER: Final = Function("transfer", ("to", "value"), ("address", "uint256"), ("bool",))
_TRANSFER_FROM: Final = Function(
    "transferFrom", ("from_", "to", "value"), ("address", "address", "uint256"), ("bool",)
)
ECDSAINVALID_SIGNATURE: Final = ErrorType("ECDSAInvalidSignature", (), ())
ECDSAINVALID_SIGNATURE_LENGTH: Final = ErrorType(
    "ECDSAInvalidSignatureLength", ("length",), ("uint256",)
)
ECDSAINVALID_SIGNATURE_S: Final = ErrorType("ECDSAInvalidSignatureS", ("s",), ("bytes32",))
ERC20_INSUFFICIENT_ALLOWANCE: Final = ErrorType(
    "ERC20InsufficientAllowance",
    ("spender", "allowance", "needed"),
    ("address", "uint256", "uint256"),
)
ERC20_INSUFFICIENT_BALANCE: Final = ErrorType(
    "ERC20InsufficientBalance", ("sender", "balance", "needed"), ("address", "uint256", "uint256")
)
ERC20_INVALID_APPROVER: Final = ErrorType("ERC20InvalidApprover", ("approver",), ("address",))
ERC20_INVALID_RECEIVER: Final = ErrorType("ERC20InvalidReceiver", ("receiver",), ("address",))
ERC20_INVALID_SENDER: Final = ErrorType("ERC20InvalidSender", ("sender",), ("address",))
ERC20_INVALID_SPENDER: Final = ErrorType("ERC20InvalidSpender", ("spender",), ("address",))
ERC2612_EXPIRED_SIGNATURE: Final = ErrorType("ERC2612ExpiredSignature", ("deadline",), ("uint256",))
ERC2612_INVALID_SIGNER: Final = ErrorType(
    "ERC2612InvalidSigner", ("signer", "owner"), ("address", "address")
)
INVALID_ACCOUNT_NONCE: Final = ErrorType(
    "InvalidAccountNonce", ("account", "currentNonce"), ("address", "uint256")
)
INVALID_SHORT_STRING: Final = ErrorType("InvalidShortString", (), ())
STRING_TOO_LONG: Final = ErrorType("StringTooLong", ("str",), ("string",))

FUNCTIONS: Final[Mapping[bytes, Function]] = {
    _DOMAIN_SEPARATOR.selector: _DOMAIN_SEPARATOR,
    _ALLOWANCE.selector: _ALLOWANCE,
    _APPROVE.selector: _APPROVE,
    _BALANCE_OF.selector: _BALANCE_OF,
    _DECIMALS.selector: _DECIMALS,
    _EIP712_DOMAIN.selector: _EIP712_DOMAIN,
    _MINT.selector: _MINT,
    _NAME.selector: _NAME,
    _NONCES.selector: _NONCES,
    _PERMIT.selector: _PERMIT,
    _SYMBOL.selector: _SYMBOL,
    _TOTAL_SUPPLY.selector: _TOTAL_SUPPLY,
    _TRANSFER.selector: _TRANSFER,
    _TRANSFER_FROM.selector: _TRANSFER_FROM,
}


Event = Approval | EIP712DomainChanged | Transfer
"""Whatever this contract says."""


EVENTS: Final[Mapping[bytes, type[Event]]] = {
    Approval.ABI.hash: Approval,
    EIP712DomainChanged.ABI.hash: EIP712DomainChanged,
    Transfer.ABI.hash: Transfer,
}


ERRORS: Final[Mapping[bytes, ErrorType]] = {
    ECDSAINVALID_SIGNATURE.selector: ECDSAINVALID_SIGNATURE,
    ECDSAINVALID_SIGNATURE_LENGTH.selector: ECDSAINVALID_SIGNATURE_LENGTH,
    ECDSAINVALID_SIGNATURE_S.selector: ECDSAINVALID_SIGNATURE_S,
    ERC20_INSUFFICIENT_ALLOWANCE.selector: ERC20_INSUFFICIENT_ALLOWANCE,
    ERC20_INSUFFICIENT_BALANCE.selector: ERC20_INSUFFICIENT_BALANCE,
    ERC20_INVALID_APPROVER.selector: ERC20_INVALID_APPROVER,
    ERC20_INVALID_RECEIVER.selector: ERC20_INVALID_RECEIVER,
    ERC20_INVALID_SENDER.selector: ERC20_INVALID_SENDER,
    ERC20_INVALID_SPENDER.selector: ERC20_INVALID_SPENDER,
    ERC2612_EXPIRED_SIGNATURE.selector: ERC2612_EXPIRED_SIGNATURE,
    ERC2612_INVALID_SIGNER.selector: ERC2612_INVALID_SIGNER,
    INVALID_ACCOUNT_NONCE.selector: INVALID_ACCOUNT_NONCE,
    INVALID_SHORT_STRING.selector: INVALID_SHORT_STRING,
    STRING_TOO_LONG.selector: STRING_TOO_LONG,
}


class TestUsd(BoundContract):
    """The contract TestUsd at its address."""

    errors = ERRORS

    async def domain_separator(self, *, block: str = "latest") -> Digest:
        """`DOMAIN_SEPARATOR()`."""
        values = await self._read(_DOMAIN_SEPARATOR, (), block)
        return Digest(values[0])

    async def allowance(self, owner: Address, spender: Address, *, block: str = "latest") -> int:
        """`allowance(address, address)`."""
        values = await self._read(_ALLOWANCE, (owner, spender), block)
        return int(values[0])

    def approve(self, spender: Address, value: int) -> Call:
        """`approve(address, uint256)`."""
        return self._call(_APPROVE, (spender, value))

    async def balance_of(self, account: Address, *, block: str = "latest") -> int:
        """`balanceOf(address)`."""
        values = await self._read(_BALANCE_OF, (account,), block)
        return int(values[0])

    async def decimals(self, *, block: str = "latest") -> int:
        """`decimals()`."""
        values = await self._read(_DECIMALS, (), block)
        return int(values[0])

    async def eip712_domain(self, *, block: str = "latest") -> Eip712DomainResult:
        """`eip712Domain()`."""
        values = await self._read(_EIP712_DOMAIN, (), block)
        return Eip712DomainResult(
            bytes(values[0]),
            str(values[1]),
            str(values[2]),
            int(values[3]),
            Address(values[4]),
            Digest(values[5]),
            tuple(int(v0) for v0 in values[6]),
        )

    def mint(self, to: Address, amount: int) -> Call:
        """`mint(address, uint256)`."""
        return self._call(_MINT, (to, amount))

    async def name(self, *, block: str = "latest") -> str:
        """`name()`."""
        values = await self._read(_NAME, (), block)
        return str(values[0])

    async def nonces(self, owner: Address, *, block: str = "latest") -> int:
        """`nonces(address)`."""
        values = await self._read(_NONCES, (owner,), block)
        return int(values[0])

    def permit(
        self,
        owner: Address,
        spender: Address,
        value: int,
        deadline: int,
        v: int,
        r: bytes,
        s: bytes,
    ) -> Call:
        """`permit(address, address, uint256, uint256, uint8, bytes32, bytes32)`."""
        return self._call(_PERMIT, (owner, spender, value, deadline, v, r, s))

    async def symbol(self, *, block: str = "latest") -> str:
        """`symbol()`."""
        values = await self._read(_SYMBOL, (), block)
        return str(values[0])

    async def total_supply(self, *, block: str = "latest") -> int:
        """`totalSupply()`."""
        values = await self._read(_TOTAL_SUPPLY, (), block)
        return int(values[0])

    def transfer(self, to: Address, value: int) -> Call:
        """`transfer(address, uint256)`."""
        return self._call(_TRANSFER, (to, value))

    def transfer_from(self, from_: Address, to: Address, value: int) -> Call:
        """`transferFrom(address, address, uint256)`."""
        return self._call(_TRANSFER_FROM, (from_, to, value))
