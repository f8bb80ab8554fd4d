"""A requester that is a contract, and takes its word back once the work is done."""

from dataclasses import dataclass, replace

from eth_abi.abi import encode

from assay_node.chain.bound_contract import Call
from assay_node.chain.contracts import Contracts
from assay_node.chain.rpc import JsonRpc, RpcRefusal, open_rpc
from assay_node.devnet.deploy import faucet
from assay_node.keys import LocalKey, create_key
from assay_node.protocol.ids import Address, Digest, to_hex
from tests.fixtures.chain import ChainLab, until
from tests.fixtures.receipts import ANSWER
from tests.integration.chain.test_settlement import BUDGET_USD, USD, market_of_strangers

MAGIC = "1626ba7e"
"""What `isValidSignature(bytes32,bytes)` answers for a signature that it takes (EIP-1271)."""

VOUCHES = f"0x63{MAGIC}60e01b60005260206000f3"
"""push4 MAGIC, shift it to the left end of a word, return the word."""

TAKES_IT_BACK = "0x60006000fd"
"""Reverts whatever it is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractWallet:
    """A contract whose calls Anvil makes for us, and the key that it registered."""

    rpc: JsonRpc
    address: Address
    key: LocalKey

    def sign_digest(self, digest: Digest) -> bytes:
        return self.key.sign_digest(digest)

    async def call(self, call: Call) -> None:
        sent = await self.rpc.call(
            "eth_sendTransaction",
            {"from": self.address, "to": call.to, "data": to_hex(call.data), "gas": hex(500_000)},
        )
        mined = await until(lambda: self.rpc.read("eth_getTransactionReceipt", sent))
        assert mined["status"] == "0x1"

    async def vouches(self, digest: Digest) -> bool:
        """Ask it as EIP-1271 says; what is signed does not matter to it."""
        data = bytes.fromhex(MAGIC) + encode(["bytes32", "bytes"], [digest, bytes(65)])
        request = {"to": self.address, "data": to_hex(data)}
        try:
            answer = await self.rpc.call("eth_call", request, "latest")
        except RpcRefusal:  # it reverted
            return False
        return bool(answer[2:10] == MAGIC)


async def test_a_wallet_that_takes_its_word_back_pays_for_the_work(chain: ChainLab) -> None:
    market = await market_of_strangers(chain, 3)
    async with open_rpc(chain.url, timeout_s=30) as rpc:
        wallet = await _contract_wallet(chain, rpc, market.wallet.address)
        receipt = await replace(market, requester=wallet).receipt([ANSWER] * 3)  # type: ignore[arg-type]
        job = receipt.signed_order.order.spec
        assert await wallet.vouches(job)

        # The work is done, and now the wallet would rather not pay.
        await rpc.call("anvil_setCode", wallet.address, TAKES_IT_BACK)
        assert not await wallet.vouches(job)
        providers = Contracts(rpc, chain.deployment).providers
        await wallet.call(providers.set_signer(create_key().address))
        outcome = await market.settle(receipt)

    (settlement,) = outcome.settlements
    assert settlement.agreed
    left = await market.wallet.budget(wallet.address, market.wallet.address)
    assert left == BUDGET_USD * USD - settlement.cost_microusd


async def _contract_wallet(chain: ChainLab, rpc: JsonRpc, scheduler: Address) -> ContractWallet:
    """A funded contract that has registered a key, with a budget for a scheduler."""
    wallet = ContractWallet(rpc=rpc, address=create_key().address, key=create_key())
    await faucet(chain.url, chain.deployment, wallet.address, eth=1, microusd=BUDGET_USD * USD)
    await rpc.call("anvil_setCode", wallet.address, VOUCHES)
    await rpc.call("anvil_impersonateAccount", wallet.address)
    contracts = Contracts(rpc, chain.deployment)
    amount = BUDGET_USD * USD
    for call in (
        contracts.token.approve(chain.deployment.vault, amount),
        contracts.vault.deposit(wallet.address, amount),
        contracts.vault.fund(scheduler, amount),
        contracts.providers.set_signer(wallet.key.address),
    ):
        await wallet.call(call)
    return wallet
