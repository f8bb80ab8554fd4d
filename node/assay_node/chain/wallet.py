"""What people do with a wallet: deposits, budgets, stake, keys. Each call waits to be mined."""

import asyncio
import time
from typing import Any, Final

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from assay_node.chain.contracts import BoundContract, Call, explained
from assay_node.chain.deployment import Deployment
from assay_node.chain.events import MinedTransaction
from assay_node.chain.rpc import JsonRpc, RpcRefusal
from assay_node.chain.settlement import SettlementWallet
from assay_node.ports.keys import OrderSigner
from assay_node.protocol.assignment import omitted
from assay_node.protocol.errors import ChainError, ChainUnavailable, LocalError
from assay_node.protocol.evidence import AssignEvidence, CommitSetEvidence, Evidence
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.units import UINT64_MAX, microusd_to_text

PERMIT_S_MAX: Final = 3_600
"""How long a permit may wait to be mined; it allows the Vault only what is being deposited."""

MINED_S_MAX: Final = 120.0
"""Ten blocks of Ethereum; a transaction with our fee margin is in one of them."""

_POLL_S: Final = 0.1
_PERMIT_TYPE: Final = (
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
_DOMAIN_TYPE: Final = (
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_TOKEN_VERSIONS: Final = ("1", "2")  # OpenZeppelin's tokens say 1, USDC says 2


class WalletChain(SettlementWallet):
    """One wallet's dealings with the market. Amounts are in micro-USD.

    Every method returns the transaction's hash once it has been mined, and raises `ContractRefusal`
    with the contract's own reason, `ChainError` when it was not mined in time, `ChainUnavailable`
    when the endpoint went away meanwhile: the transaction may have been mined all the same.
    """

    def __init__(
        self, rpc: JsonRpc, deployment: Deployment, signer: OrderSigner, *, confirmations: int
    ) -> None:
        super().__init__(rpc, deployment, signer, confirmations=confirmations)
        self._signer = signer

    async def deposit(self, amount_microusd: int) -> Digest:
        """Move tokens of this wallet into its account in the Vault.

        One transaction with an EIP-2612 permit where the token has them, else one to approve and
        one to deposit.
        """
        await self._check_tokens(amount_microusd)
        units = amount_microusd * await self._token_scale()
        deadline = (await self.head()).timestamp + PERMIT_S_MAX
        permit = await self._permit(units, deadline)
        action = "the deposit"
        vault, token = self._contracts.vault, self._contracts.token
        if permit is not None:
            r, s, v = permit[:32], permit[32:64], permit[64]
            return await self._do(
                vault, "depositWithPermit", self.address, amount_microusd, deadline, v, r, s,
                action=action,
            )  # fmt: skip
        await self._do(token, "approve", vault.address, units, action="approving the deposit")
        return await self._do(vault, "deposit", self.address, amount_microusd, action=action)

    async def withdraw(self, amount_microusd: int, *, to: Address | None = None) -> Digest:
        """Send free money from the Vault to this wallet, or to another address."""
        return await self._do(
            self._contracts.vault, "withdraw", to or self.address, _amount(amount_microusd),
            action="the withdrawal",
        )  # fmt: skip

    async def fund_budget(self, scheduler: Address, amount_microusd: int) -> Digest:
        """Set free money aside for the orders of one scheduler; reopens a closing budget."""
        return await self._do(
            self._contracts.vault, "fund", scheduler, _amount(amount_microusd),
            action="funding the budget",
        )  # fmt: skip

    async def close_budget(self, scheduler: Address) -> Digest:
        """Give notice for a budget; it keeps paying until the notice is over."""
        return await self._do(
            self._contracts.vault, "close", scheduler, action="closing the budget"
        )

    async def reclaim_budget(self, scheduler: Address) -> Digest:
        """Take back what is left of a budget whose notice is over."""
        return await self._do(
            self._contracts.vault, "reclaim", scheduler, action="reclaiming the budget"
        )

    async def stake(self, hardware_class: Digest, seats: int) -> Digest:
        """Buy seats in a hardware class with free money, `seat_price_microusd` each."""
        return await self._do(
            self._contracts.providers, "stake", hardware_class, seats, action="staking"
        )

    async def unstake(self, hardware_class: Digest, seats: int) -> Digest:
        """Give up seats; their stake stays slashable for the unbonding time."""
        return await self._do(
            self._contracts.providers, "unstake", hardware_class, seats, action="unstaking"
        )

    async def exit(self) -> Digest:
        """Free the stake that backs no seat any more."""
        return await self._do(self._contracts.providers, "exit", action="taking out stake")

    async def set_signer(self, signer: Address) -> Digest:
        """Name the key that signs for this operator: the first at once, a change with delay."""
        return await self._do(
            self._contracts.providers, "setSigner", signer, action="setting the signing key"
        )

    async def bond_scheduler(self, amount_microusd: int) -> Digest:
        """Put free money at stake as a scheduler; takes back a notice."""
        return await self._do(
            self._contracts.schedulers, "bond", _amount(amount_microusd), action="bonding"
        )

    async def give_scheduler_notice(self) -> Digest:
        """Give notice for the scheduler's bond; it stays slashable until the notice is over."""
        return await self._do(
            self._contracts.schedulers, "giveNotice", action="giving notice for the bond"
        )

    async def reclaim_scheduler_bond(self) -> Digest:
        """Free the scheduler's bond once its notice is over."""
        return await self._do(
            self._contracts.schedulers, "reclaim", self.address, action="taking back the bond"
        )

    async def report(self, evidence: Evidence) -> Digest:
        """Take the bond of a scheduler that contradicted itself; it goes to the treasury."""
        schedulers, action = self._contracts.schedulers, "reporting the scheduler"
        match evidence:
            case AssignEvidence(first=one, second=other):
                first, second = sorted((one, other), key=lambda signed: signed.assign.sequence)
                pair = (
                    first.assign.abi_values(), first.signature,
                    second.assign.abi_values(), second.signature,
                )  # fmt: skip
                hidden = omitted(first.assign, second.assign)
                if hidden is None:
                    return await self._do(schedulers, "slashFork", *pair, action=action)
                return await self._do(schedulers, "slashOmission", *pair, hidden, action=action)
            case CommitSetEvidence(first=a, second=b):
                return await self._do(
                    schedulers, "slashCommitSets", a.job, a.round_number, a.commits, a.signature,
                    b.commits, b.signature, action=action,
                )  # fmt: skip

    async def transfer_tokens(self, to: Address, amount_microusd: int) -> Digest:
        """Send tokens of this wallet (not of the Vault) to an address."""
        await self._check_tokens(amount_microusd)
        units = amount_microusd * await self._token_scale()
        return await self._do(
            self._contracts.token, "transfer", to, units, action="the token transfer"
        )

    async def _do(
        self, contract: BoundContract, function: str, *arguments: Any, action: str
    ) -> Digest:
        call = contract.call(function, *arguments, action=action)
        transaction = await self._transactions.prepare(call)
        await self._transactions.send(transaction)
        mined = await self._wait_until_mined(transaction.hash, action)
        if not mined.succeeded:
            raise await self._why_reverted(call, mined)
        return transaction.hash

    async def _wait_until_mined(self, transaction_hash: Digest, action: str) -> MinedTransaction:
        deadline = time.monotonic() + MINED_S_MAX
        while time.monotonic() < deadline:
            mined = await self._mined(transaction_hash)
            if mined is not None:
                head = await self.head()
                if head.number - mined.block_number + 1 >= self._confirmations:
                    return mined
            await asyncio.sleep(_POLL_S)
        raise ChainError(
            f"{action} was sent but not mined within {MINED_S_MAX:g} s; "
            f"look for transaction 0x{transaction_hash.hex()} before you repeat it"
        )

    async def _why_reverted(self, call: Call, mined: MinedTransaction) -> ChainError:
        """Run a mined and reverted call again on its block to learn the contract's reason."""
        request = {"from": self.address, "to": call.to, "data": "0x" + call.data.hex()}
        try:
            await self._rpc.read("eth_call", request, hex(mined.block_number))
        except RpcRefusal as error:
            return explained(error, call.action, self._contracts.errors)
        return ChainError(f"{call.action} was mined but had no effect; try again")

    async def _check_tokens(self, amount_microusd: int) -> None:
        held = await self.token_balance(self.address)
        if _amount(amount_microusd) > held:
            raise LocalError(
                f"wallet {self.address} holds {microusd_to_text(held)} in tokens, "
                f"less than {microusd_to_text(amount_microusd)}"
            )

    async def _permit(self, units: int, deadline: int) -> bytes | None:
        """Return this wallet's permit for the Vault, None if the token has no standard ones.

        The domain is put together here and only compared with the token's: a dishonest token could
        else have us sign for another one.
        """
        token, vault = self._contracts.token, self._contracts.vault
        try:
            (separator,) = await token.read("DOMAIN_SEPARATOR")
            (nonce,) = await token.read("nonces", self.address)
            (name,) = await token.read("name")
        except ChainError as error:
            if isinstance(error, ChainUnavailable):
                raise
            return None
        if separator not in (
            _separator(name, version, self.chain_id, token.address) for version in _TOKEN_VERSIONS
        ):
            return None
        permit = abi_encode(
            ["bytes32", "address", "address", "uint256", "uint256", "uint256"],
            [keccak(text=_PERMIT_TYPE), self.address, vault.address, units, nonce, deadline],
        )
        return self._signer.sign_digest(Digest(keccak(b"\x19\x01" + separator + keccak(permit))))


def _separator(name: str, version: str, chain_id: int, token: Address) -> bytes:
    values = [keccak(text=_DOMAIN_TYPE), keccak(text=name), keccak(text=version), chain_id, token]
    return keccak(abi_encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], values))


def _amount(amount_microusd: int) -> int:
    if not 0 < amount_microusd <= UINT64_MAX:
        raise LocalError("an amount is more than nothing and fits 64 bits of micro-USD")
    return amount_microusd
