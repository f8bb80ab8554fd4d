"""What people do with a wallet, on a real chain."""

import asyncio
from dataclasses import replace

import pytest

from assay_node.chain.client import ChainSettings, open_chain, open_reader
from assay_node.chain.deployment import Deployment
from assay_node.chain.refusals import ContractRefusal
from assay_node.chain.wallet import WalletChain
from assay_node.devnet.anvil import AnvilProcess
from assay_node.keys import create_key
from assay_node.protocol.errors import ChainError, ChainUnavailable, LocalError
from assay_node.protocol.ids import Address
from tests.fixtures.chain import ChainLab, a_class

USD = 1_000_000
STRANGER = Address("0x" + "77" * 20)


async def test_a_deposit_needs_one_transaction_with_a_permit_and_lands_to_the_unit(
    chain: ChainLab,
) -> None:
    wallet = await chain.wallet(usd=100)
    before = await _transactions_of(wallet)
    await wallet.deposit(60 * USD + 1)
    assert await _transactions_of(wallet) == before + 1
    assert (await wallet.account(wallet.address)).free_microusd == 60 * USD + 1
    assert await wallet.token_balance(wallet.address) == 40 * USD - 1


async def test_a_deposit_without_permit_approves_first(
    chain: ChainLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A token whose domain is not the one we would sign for: no permit, two transactions.
    monkeypatch.setattr("assay_node.chain.wallet._TOKEN_VERSIONS", ("9",))
    wallet = await chain.wallet(usd=100)
    before = await _transactions_of(wallet)
    await wallet.deposit(60 * USD)
    assert await _transactions_of(wallet) == before + 2
    assert (await wallet.account(wallet.address)).free_microusd == 60 * USD


async def test_withdrawals_send_tokens_and_refuse_what_is_not_there(chain: ChainLab) -> None:
    wallet = await chain.wallet(usd=100)
    await wallet.deposit(100 * USD)
    await wallet.withdraw(30 * USD)
    await wallet.withdraw(20 * USD, to=STRANGER)
    assert (await wallet.account(wallet.address)).free_microusd == 50 * USD
    assert await wallet.token_balance(wallet.address) == 30 * USD
    with pytest.raises(ContractRefusal, match=r"has \$50\.00 free and \$51\.00 is needed") as error:
        await wallet.withdraw(51 * USD)
    assert error.value.name == "Vault_InsufficientFree"


async def test_a_budget_is_funded_closed_and_kept_until_its_notice_is_over(
    chain: ChainLab,
) -> None:
    wallet = await chain.wallet(usd=100)
    await wallet.deposit(100 * USD)
    await wallet.fund_budget(STRANGER, 70 * USD)
    assert await wallet.budget(wallet.address, STRANGER) == 70 * USD
    assert (await wallet.account(wallet.address)).free_microusd == 30 * USD
    await wallet.close_budget(STRANGER)
    assert await wallet.budget(wallet.address, STRANGER) == 0
    with pytest.raises(ContractRefusal) as still_open:
        await wallet.reclaim_budget(STRANGER)
    assert still_open.value.name == "Vault_BudgetStillOpen"
    with pytest.raises(ContractRefusal) as twice:
        await wallet.close_budget(STRANGER)
    assert twice.value.name == "Vault_BudgetNotOpen"


async def test_stake_buys_seats_and_signers_are_registered(chain: ChainLab) -> None:
    wallet, hardware_class, signer = await chain.wallet(), a_class(), create_key()
    price = await wallet.seat_price_microusd()
    assert await wallet.signer_of(wallet.address) is None
    await wallet.deposit(3 * price)
    await wallet.stake(hardware_class, 2)
    await wallet.set_signer(signer.address)
    account = await wallet.account(wallet.address)
    assert (account.stake_microusd, account.free_microusd) == (2 * price, price)
    assert await wallet.seats(wallet.address, hardware_class) == 2
    assert await wallet.signer_of(wallet.address) == signer.address
    await wallet.unstake(hardware_class, 1)
    assert await wallet.seats(wallet.address, hardware_class) == 1
    with pytest.raises(ContractRefusal) as unbonding:
        await wallet.exit()
    assert unbonding.value.name == "Providers_StillUnbonding"
    with pytest.raises(ContractRefusal) as taken:
        await (await chain.wallet()).set_signer(signer.address)
    assert taken.value.name == "Providers_SignerTaken"


async def test_tokens_are_handed_on(chain: ChainLab) -> None:
    wallet, friend = await chain.wallet(usd=5), create_key().address
    await wallet.transfer_tokens(friend, 2 * USD)
    assert await wallet.token_balance(friend) == 2 * USD
    with pytest.raises(LocalError, match=r"holds \$3\.00 in tokens"):
        await wallet.transfer_tokens(friend, 4 * USD)


async def test_a_wallet_without_coin_for_gas_is_told_so(chain: ChainLab) -> None:
    wallet = await chain.wallet(eth=0, usd=100)
    with pytest.raises(ChainError, match="cannot pay for gas"):
        await wallet.deposit(1 * USD)
    assert (await wallet.account(wallet.address)).free_microusd == 0


async def test_concurrent_calls_of_one_wallet_get_nonces_of_their_own(chain: ChainLab) -> None:
    wallet = await chain.wallet(usd=100)
    await wallet.deposit(100 * USD)
    schedulers = [create_key().address for _ in range(8)]
    await asyncio.gather(*(wallet.fund_budget(one, USD) for one in schedulers))
    budgets = [await wallet.budget(wallet.address, one) for one in schedulers]
    assert budgets == [USD] * 8


async def test_opening_the_wrong_chain_or_an_empty_one_is_refused(
    anvil: AnvilProcess, deployment: Deployment
) -> None:
    elsewhere = replace(deployment, chain_id=1)
    with pytest.raises(LocalError, match="serves chain 31337, but the deployment is on chain 1"):
        async with open_reader(ChainSettings(rpc_url=anvil.url, deployment=elsewhere)):
            pass
    empty = replace(deployment, vault=STRANGER)
    with pytest.raises(LocalError, match=r"no contract at 0x7777.*, the vault"):
        async with open_chain(ChainSettings(rpc_url=anvil.url, deployment=empty), create_key()):
            pass


async def test_an_endpoint_that_is_away_is_chain_unavailable(deployment: Deployment) -> None:
    settings = ChainSettings(rpc_url="http://127.0.0.1:9", deployment=deployment)
    with pytest.raises(ChainUnavailable, match=r"no answer from the chain endpoint http://127"):
        async with open_reader(settings):
            pass


async def _transactions_of(wallet: WalletChain) -> int:
    count = await wallet._rpc.read("eth_getTransactionCount", wallet.address, "latest")
    return int(count, 16)
