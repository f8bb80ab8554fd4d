"""A scheduler's bond on a real chain: put down, given notice for, taken back, taken away."""

from collections.abc import Callable

import pytest

from assay_node.chain.client import ChainSettings, open_chain
from assay_node.chain.refusals import ContractRefusal
from assay_node.chain.rpc import open_rpc
from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import deploy, faucet
from assay_node.keys import LocalKey, create_key
from assay_node.protocol.evidence import AssignEvidence, Evidence, convicted
from assay_node.protocol.typed_data import Domain
from tests.fixtures.chain import ChainLab, anvil_settings
from tests.fixtures.evidence import a_fork, an_omission, signed_assign, two_sets

USD = 1_000_000
NOTICE_S = 7 * 86_400


async def test_a_bond_is_put_down_and_added_to(chain: ChainLab) -> None:
    wallet = await chain.wallet(usd=100)
    await wallet.deposit(100 * USD)
    assert (await wallet.scheduler_bond(wallet.address)).amount_microusd == 0
    await wallet.bond_scheduler(60 * USD)
    await wallet.bond_scheduler(15 * USD)
    bond = await wallet.scheduler_bond(wallet.address)
    assert (bond.amount_microusd, bond.leaves_at, bond.caught) == (75 * USD, None, False)
    assert bond.slashable_until >= (await wallet.head()).timestamp + NOTICE_S - 60
    assert (await wallet.account(wallet.address)).free_microusd == 25 * USD
    with pytest.raises(ContractRefusal, match=r"has \$25\.00 free and \$26\.00 is needed"):
        await wallet.bond_scheduler(26 * USD)


async def test_a_bond_is_taken_back_after_its_notice() -> None:
    async with AnvilProcess(anvil_settings()) as anvil:
        deployment, key = await deploy(anvil.url), create_key()
        await faucet(anvil.url, deployment, key.address, eth=1, microusd=100 * USD)
        settings = ChainSettings(rpc_url=anvil.url, deployment=deployment)
        async with open_chain(settings, key) as wallet, open_rpc(anvil.url, timeout_s=10) as rpc:
            await wallet.deposit(100 * USD)
            await wallet.bond_scheduler(100 * USD)
            with pytest.raises(ContractRefusal, match="gave no notice"):
                await wallet.reclaim_scheduler_bond()
            await wallet.give_scheduler_notice()
            bond = await wallet.scheduler_bond(key.address)
            assert bond.leaves_at == bond.slashable_until
            with pytest.raises(ContractRefusal, match=r"can be taken back from 20.* UTC on"):
                await wallet.reclaim_scheduler_bond()
            await rpc.call("evm_increaseTime", NOTICE_S)
            await wallet.reclaim_scheduler_bond()
            assert (await wallet.account(key.address)).free_microusd == 100 * USD
            assert (await wallet.scheduler_bond(key.address)).amount_microusd == 0


@pytest.mark.parametrize("make", [a_fork, an_omission, two_sets])
async def test_evidence_takes_the_whole_bond_for_the_treasury(
    chain: ChainLab, make: Callable[[Domain, LocalKey], Evidence]
) -> None:
    key = create_key()
    scheduler, reporter = await chain.wallet(key, usd=100), await chain.wallet(usd=0)
    await scheduler.deposit(100 * USD)
    await scheduler.bond_scheduler(90 * USD)
    treasury = chain.deployment.treasury
    before = (await scheduler.account(treasury)).free_microusd
    evidence = make(scheduler.domain, key)
    assert convicted(evidence, scheduler.domain) == key.address
    await reporter.report(evidence)
    bond = await reporter.scheduler_bond(key.address)
    assert (bond.amount_microusd, bond.caught) == (0, True)
    assert (await reporter.account(treasury)).free_microusd - before == 90 * USD
    assert (await reporter.account(reporter.address)).free_microusd == 0
    with pytest.raises(ContractRefusal, match="has no bond"):
        await reporter.report(evidence)
    with pytest.raises(ContractRefusal, match="contradicted itself once and can bond no more"):
        await scheduler.bond_scheduler(USD)


async def test_what_convicts_nobody_takes_nothing(chain: ChainLab) -> None:
    key = create_key()
    scheduler = await chain.wallet(key, usd=100)
    await scheduler.deposit(100 * USD)
    await scheduler.bond_scheduler(90 * USD)
    domain = scheduler.domain
    first = signed_assign(domain, key)
    openly = signed_assign(
        domain, key, sequence=1, operators=first.assign.operators[:1], tickets=(0,),
        replaced=first.assign.operators[1:],
    )  # fmt: skip
    honest = AssignEvidence(first=first, second=openly)
    assert convicted(honest, domain) is None
    with pytest.raises(ContractRefusal, match="do not contradict each other"):
        await scheduler.report(honest)
    elsewhere = a_fork(Domain(chain_id=1, market=domain.market), key)
    with pytest.raises(ContractRefusal, match="signed the one and"):
        await scheduler.report(elsewhere)
    assert (await scheduler.scheduler_bond(key.address)).amount_microusd == 90 * USD
