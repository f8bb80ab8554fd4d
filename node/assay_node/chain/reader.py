"""`ports.ChainReader` over JSON-RPC: what anybody may read."""

import asyncio

from assay_node.chain.contracts import Contracts
from assay_node.chain.deployment import Deployment
from assay_node.chain.hex_values import to_digest, to_int
from assay_node.chain.rpc import JsonRpc
from assay_node.chain.service_leases import LeaseStanding, standing_of
from assay_node.ports.chain import Account, Head, SchedulerBond
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import ZERO_ADDRESS, Address, Digest
from assay_node.protocol.typed_data import Domain


class MarketReader:
    """Reads one deployment. Every method raises `ChainUnavailable` when the node is away."""

    def __init__(self, rpc: JsonRpc, deployment: Deployment) -> None:
        self._rpc = rpc
        self._contracts = Contracts(rpc, deployment)

    @property
    def deployment(self) -> Deployment:
        """The contracts that this reads."""
        return self._contracts.deployment

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id; it was compared with the node's when the connection was opened."""
        return self.deployment.chain_id

    @property
    def market(self) -> Address:
        """The Market contract, which is also the EIP-712 verifying contract."""
        return self.deployment.market

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of this market."""
        return Domain(chain_id=self.chain_id, market=self.market)

    async def head(self) -> Head:
        """Return the newest block."""
        block = await self._rpc.read("eth_getBlockByNumber", "latest", False)
        if not isinstance(block, dict):
            raise ChainError("the chain node knows no block")
        return Head(number=to_int(block.get("number")), timestamp=to_int(block.get("timestamp")))

    async def block_hash(self, number: int) -> Digest | None:
        """Return a block's hash, None when it is not mined yet."""
        block = await self._rpc.read("eth_getBlockByNumber", hex(number), False)
        return to_digest(block.get("hash")) if isinstance(block, dict) else None

    async def block_time(self, number: int) -> int | None:
        """Return when a block was mined, in Unix seconds; None when it is not mined yet."""
        block = await self._rpc.read("eth_getBlockByNumber", hex(number), False)
        return to_int(block.get("timestamp")) if isinstance(block, dict) else None

    async def account(self, address: Address) -> Account:
        """Return an account's balances and record."""
        account = await self._contracts.vault.account(address)
        return Account(
            free_microusd=account.free,
            stake_microusd=account.bond,
            locked_microusd=account.locked,
            wins=account.wins,
            faults=account.faults,
        )

    async def budget(self, requester: Address, scheduler: Address) -> int:
        """Return what `requester` has set aside for `scheduler`, 0 once closed, in micro-USD.

        A closed budget still pays for the orders in flight; it counts as 0 for new ones.
        """
        budget = await self._contracts.vault.budget(requester, scheduler)
        return 0 if budget.closes_at else budget.amount

    async def signer_of(self, operator: Address) -> Address | None:
        """Return the signing key that is in effect for an operator now."""
        return _present(await self._contracts.providers.signer_of(operator))

    async def scheduler_bond(self, scheduler: Address) -> SchedulerBond:
        """Return what a scheduler has at stake."""
        schedulers = self._contracts.schedulers
        bond, until = await asyncio.gather(
            schedulers.bond_of(scheduler), schedulers.slashable_until(scheduler)
        )
        return SchedulerBond(
            amount_microusd=bond.amount,
            slashable_until=until,
            leaves_at=bond.leaves_at or None,
            caught=bond.caught,
        )

    async def nonce_used(self, requester: Address, nonce: int) -> bool:
        """Tell whether an order's nonce is spent."""
        return await self._contracts.vault.nonce_used(requester, nonce)

    async def draw(
        self, hardware_class: Digest, seed_block: int, job_id: Digest, *, max_ticket: int
    ) -> tuple[Address | None, ...]:
        """Return the operator behind each ticket 0..max_ticket; None where a seat is vacant.

        It is asked as of the next block, so a seed block counts as soon as it is mined.

        Raises:
            ContractRefusal: `Providers_SeedUnknown`, the block is not mined or too old.
        """
        operators = await self._contracts.providers.draw(
            hardware_class, seed_block, job_id, max_ticket, block="pending"
        )
        return tuple(map(_present, operators))

    @property
    def leases_domain(self) -> Domain:
        """The EIP-712 domain that terms of services are signed for: that of `Leases`."""
        return Domain(chain_id=self.chain_id, market=self.deployment.leases)

    async def service_lease(self, lease: Digest) -> LeaseStanding:
        """Return where the lease of a service stands as of the newest block."""
        now = (await self.head()).timestamp
        return await standing_of(self._contracts.leases, lease, now=now)

    async def seats(self, operator: Address, hardware_class: Digest) -> int:
        """Return how many seats an operator holds in a hardware class."""
        return await self._contracts.providers.seats_of(operator, hardware_class)

    async def seat_price_microusd(self) -> int:
        """Return what one seat costs in stake."""
        return await self._contracts.providers.seat()

    async def token_balance(self, owner: Address) -> int:
        """Return an address's tokens outside the Vault, in whole micro-USD."""
        units = await self._contracts.token.balance_of(owner)
        return units // await self._token_scale()

    async def eth_balance(self, owner: Address) -> int:
        """Return an address's balance of the chain's own coin, in wei."""
        return to_int(await self._rpc.read("eth_getBalance", owner, "latest"))

    async def _token_scale(self) -> int:
        """Return token units in one micro-USD; the Vault refuses tokens with fewer decimals."""
        decimals = await self._contracts.token.decimals()
        scale: int = 10 ** (decimals - 6)
        return scale


def _present(address: Address) -> Address | None:
    return None if address == ZERO_ADDRESS else address
