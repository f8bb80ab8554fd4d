"""What people do with a wallet: deposits, budgets, stake, keys. Each call waits to be mined."""

import logging
from collections.abc import Sequence
from typing import Final

from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from assay_node.chain.bindings import structs
from assay_node.chain.bound_contract import Call
from assay_node.chain.deployment import Deployment
from assay_node.chain.outbox import SendingSettings
from assay_node.chain.rpc import JsonRpc
from assay_node.chain.sender import Sender
from assay_node.chain.service_leases import ServiceLeases
from assay_node.chain.settlement import SettlementWallet
from assay_node.chain.steps import describe, step_call
from assay_node.ports.chain import TransactionOutcome
from assay_node.ports.court import CourtStep, MarketStep
from assay_node.ports.keys import OrderSigner
from assay_node.ports.transactions import TransactionState, TransactionStore
from assay_node.protocol.assignment import Assign, omitted
from assay_node.protocol.errors import ChainError, ChainUnavailable, LocalError
from assay_node.protocol.evidence import AssignEvidence, CommitSetEvidence, Evidence
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.receipt import Receipt
from assay_node.protocol.units import UINT64_MAX, microusd_to_text

logger = logging.getLogger(__name__)

PERMIT_S_MAX: Final = 3_600
"""How long a permit may wait to be mined; it allows the Vault only what is being deposited."""

MARKET_STEP: Final = "market_step"
"""The kind of a daemon's transactions on the road and at the court."""

CASE_STEP: Final = "case"
"""With the first half of the job, the kind of a scheduler's transactions at the court."""

_PERMIT_TYPE: Final = (
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
_DOMAIN_TYPE: Final = (
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_TOKEN_VERSIONS: Final = ("1", "2")  # OpenZeppelin's tokens say 1, USDC says 2


class WalletChain(SettlementWallet):
    """One wallet's dealings with the market. Amounts are in micro-USD.

    Every method returns the transaction's hash once it is final, and raises `ContractRefusal` with
    the contract's own reason, `TransactionDisplaced`, `ChainError` when it was not mined in time,
    `ChainUnavailable` when the endpoint went away meanwhile. After the last two the transaction is
    kept and may still be mined: `finish_earlier` says what became of it.
    """

    def __init__(
        self,
        rpc: JsonRpc,
        deployment: Deployment,
        signer: OrderSigner,
        *,
        store: TransactionStore,
        sending: SendingSettings,
    ) -> None:
        super().__init__(rpc, deployment, signer, store=store, sending=sending)
        self._signer = signer
        self._sender = Sender(rpc, self._outbox, store)

    @property
    def service_leases(self) -> ServiceLeases:
        """What this wallet does with leases of services; see docs/protocol/service-leases.md."""
        return ServiceLeases(self._contracts.leases, self.leases_domain, self._sender.do)

    async def finish_earlier(self) -> tuple[str, ...]:
        """Wait for what earlier commands of this wallet sent; see `Sender.finish_earlier`."""
        return await self._sender.finish_earlier()

    async def deposit(self, amount_microusd: int, *, to: Address | None = None) -> Digest:
        """Move tokens of this wallet into its account in the Vault, or into another's.

        One transaction with an EIP-2612 permit where the token has them, else one to approve and
        one to deposit.
        """
        await self._check_tokens(amount_microusd)
        units = amount_microusd * await self._token_scale()
        deadline = (await self.head()).timestamp + PERMIT_S_MAX
        permit = await self._permit(units, deadline)
        owner, action = to or self.address, "the deposit"
        vault = self._contracts.vault
        if permit is not None:
            r, s, v = permit[:32], permit[32:64], permit[64]
            call = vault.deposit_with_permit(owner, amount_microusd, deadline, v, r, s)
            return await self._do(call, action)
        await self._do(self._contracts.token.approve(vault.address, units), "approving the deposit")
        return await self._do(vault.deposit(owner, amount_microusd), action)

    async def withdraw(self, amount_microusd: int, *, to: Address | None = None) -> Digest:
        """Send free money from the Vault to this wallet, or to another address."""
        vault = self._contracts.vault
        call = vault.withdraw(to or self.address, _amount(amount_microusd))
        return await self._do(call, "the withdrawal")

    async def fund_budget(self, scheduler: Address, amount_microusd: int) -> Digest:
        """Set free money aside for the orders of one scheduler; reopens a closing budget."""
        call = self._contracts.vault.fund(scheduler, _amount(amount_microusd))
        return await self._do(call, "funding the budget")

    async def close_budget(self, scheduler: Address) -> Digest:
        """Give notice for a budget; it keeps paying until the notice is over."""
        return await self._do(self._contracts.vault.close(scheduler), "closing the budget")

    async def reclaim_budget(self, scheduler: Address) -> Digest:
        """Take back what is left of a budget whose notice is over."""
        return await self._do(self._contracts.vault.reclaim(scheduler), "reclaiming the budget")

    async def stake(self, hardware_class: Digest, seats: int) -> Digest:
        """Buy seats in a hardware class with free money, `seat_price_microusd` each."""
        return await self._do(self._contracts.providers.stake(hardware_class, seats), "staking")

    async def unstake(self, hardware_class: Digest, seats: int) -> Digest:
        """Give up seats; their stake stays slashable for the unbonding time."""
        return await self._do(self._contracts.providers.unstake(hardware_class, seats), "unstaking")

    async def exit(self) -> Digest:
        """Free the stake that backs no seat any more."""
        return await self._do(self._contracts.providers.exit(), "taking out stake")

    async def set_signer(self, signer: Address) -> Digest:
        """Name the key that signs for this operator: the first at once, a change with delay."""
        return await self._do(
            self._contracts.providers.set_signer(signer), "setting the signing key"
        )

    async def bond_scheduler(self, amount_microusd: int) -> Digest:
        """Put free money at stake as a scheduler; takes back a notice."""
        return await self._do(self._contracts.schedulers.bond(_amount(amount_microusd)), "bonding")

    async def give_scheduler_notice(self) -> Digest:
        """Give notice for the scheduler's bond; it stays slashable until the notice is over."""
        return await self._do(
            self._contracts.schedulers.give_notice(), "giving notice for the bond"
        )

    async def reclaim_scheduler_bond(self) -> Digest:
        """Free the scheduler's bond once its notice is over."""
        return await self._do(
            self._contracts.schedulers.reclaim(self.address), "taking back the bond"
        )

    async def report(self, evidence: Evidence) -> Digest:
        """Take the bond of a scheduler that contradicted itself; it goes to the treasury."""
        return await self._do(self._report(evidence), "reporting the scheduler")

    def _report(self, evidence: Evidence) -> Call:
        schedulers = self._contracts.schedulers
        match evidence:
            case AssignEvidence(first=one, second=other):
                first, second = sorted((one, other), key=lambda signed: signed.assign.sequence)
                pair = (_assign(first.assign), first.signature)
                other_pair = (_assign(second.assign), second.signature)
                hidden = omitted(first.assign, second.assign)
                if hidden is None:
                    return schedulers.slash_fork(*pair, *other_pair)
                return schedulers.slash_omission(*pair, *other_pair, hidden)
            case CommitSetEvidence(first=a, second=b):
                return schedulers.slash_commit_sets(
                    a.job, a.round_number, a.commits, a.signature, b.commits, b.signature
                )

    async def add_to_audit_fund(self, scheduler: Address, amount_microusd: int) -> Digest:
        """Give free money to what pays for the audits of a scheduler's jobs."""
        call = self._contracts.court.top_up(scheduler, _amount(amount_microusd))
        return await self._do(call, "adding to the audit fund")

    async def withdraw_audit_fund(self, scheduler: Address) -> Digest:
        """Pay a scheduler what its fund has held for longer than any audit can need it."""
        return await self._do(
            self._contracts.court.withdraw(scheduler), "taking money out of the audit fund"
        )

    async def transfer_tokens(self, to: Address, amount_microusd: int) -> Digest:
        """Send tokens of this wallet (not of the Vault) to an address."""
        await self._check_tokens(amount_microusd)
        units = amount_microusd * await self._token_scale()
        return await self._do(self._contracts.token.transfer(to, units), "the token transfer")

    async def mint_test_tokens(self, to: Address, amount_microusd: int) -> Digest:
        """Make test tokens, which have 6 decimals; only a development market's token can."""
        return await self._do(
            self._contracts.token.mint(to, amount_microusd), "minting test tokens"
        )

    async def settle_and_wait(self, receipts: Sequence[Receipt]) -> TransactionOutcome:
        """Settle receipts that somebody holds, and return what the chain did with them."""
        outgoing = await self._submit_settle(receipts, ())
        assert outgoing is not None, "without jobs nothing is bound"
        return self._outcome(await self._sender.wait_until_final(outgoing))

    async def take_step(self, step: MarketStep) -> Digest:
        """Move a job on the road or at the court, and wait until that is final."""
        return await self._do(step_call(self._contracts, step), describe(step))

    async def start_step(self, job: Digest, step: MarketStep) -> bool:
        """Keep and send a step; False where another one of this wallet is on its way for the job.

        Raises:
            ContractRefusal: it would be refused now; nothing is sent.
            GasTooDear: gas costs more than the ceiling; nothing was signed.
            ChainUnavailable: the endpoint does not answer; nothing was signed.
        """
        call = step_call(self._contracts, step)
        sent = await self._outbox.submit(call, action=describe(step), kind=MARKET_STEP, jobs=(job,))
        return sent is not None

    async def start_case_step(self, job: Digest, step: CourtStep) -> bool:
        """Keep and send a step for a job that has ended; False where one is on its way for it.

        A scheduler's store binds transactions to unfinished jobs only, so their kind tells.

        Raises:
            ContractRefusal, GasTooDear, ChainUnavailable: as `start_step`.
        """
        kind = f"{CASE_STEP} {job.hex()[:32]}"
        if any(one.kind == kind for one in await self._store.open_transactions()):
            return False
        call = step_call(self._contracts, step)
        return await self._outbox.submit(call, action=describe(step), kind=kind) is not None

    async def pursue_steps(self) -> None:
        """Do what the steps on their way need, to their end."""
        for ended in await self._outbox.pursue():
            if ended.state is not TransactionState.SUCCEEDED:
                logger.info(
                    "%s %s was %s; somebody else was first, or it is done anew",
                    ended.outgoing.kind, to_hex(ended.outgoing.id), ended.state.value,
                )  # fmt: skip
            await self._store.end_transaction(ended.outgoing, ended.state)

    async def _do(self, call: Call, action: str) -> Digest:
        return (await self._sender.do(call, action)).hash

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
            separator = await token.domain_separator()
            nonce = await token.nonces(self.address)
            name = await token.name()
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


def _assign(assign: Assign) -> structs.Assign:
    return structs.Assign(
        job=assign.job,
        round_=assign.round_number,
        sequence=assign.sequence,
        operators=assign.operators,
        tickets=assign.tickets,
        replaced=assign.replaced,
    )


def _amount(amount_microusd: int) -> int:
    if not 0 < amount_microusd <= UINT64_MAX:
        raise LocalError("an amount is more than nothing and fits 64 bits of micro-USD")
    return amount_microusd
