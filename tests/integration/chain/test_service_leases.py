"""Services paid by the second on a real chain: every way that a lease can go, to the unit."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio

from assay_node.chain.bindings.leases import Leases
from assay_node.chain.refusals import ContractRefusal
from assay_node.chain.rpc import open_rpc
from assay_node.chain.service_leases import LeaseState
from assay_node.chain.wallet import WalletChain
from assay_node.devnet.anvil import AnvilProcess
from assay_node.devnet.deploy import deploy
from assay_node.keys import LocalKey, create_key
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.service_terms import (
    NOBODY,
    RunningLease,
    ServiceTerms,
    SignedTerms,
    lease_id,
)
from tests.fixtures.chain import ChainLab, a_class, anvil_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

USD = 1_000_000
RATE, FEE_RATE, NOTICE_S = 1_700, 300, 600
PRICE = RATE + FEE_RATE
FUNDED_S = 7_200
ESCROW = FUNDED_S * PRICE + PRICE - 1  # what does not pay for a whole second goes back


@dataclass
class Service:
    """A requester, an operator with its signing key, a scheduler and a stranger, on one chain."""

    lab: ChainLab
    requester: WalletChain
    requester_key: LocalKey
    operator: WalletChain
    operator_key: LocalKey
    signer: WalletChain
    signer_key: LocalKey
    stranger: WalletChain
    hardware_class: Digest
    scheduler: Address

    @classmethod
    async def open(cls, lab: ChainLab) -> "Service":
        requester, operator, signer = create_key(), create_key(), create_key()
        hardware_class = a_class()
        wallets = [await lab.wallet(key) for key in (requester, operator, signer)]
        await wallets[0].deposit(300 * USD)
        await wallets[1].deposit(500 * USD)
        await wallets[1].stake(hardware_class, 1)
        await wallets[1].set_signer(signer.address)
        return cls(
            lab=lab, requester=wallets[0], requester_key=requester, operator=wallets[1],
            operator_key=operator, signer=wallets[2], signer_key=signer,
            stranger=await lab.wallet(usd=0), hardware_class=hardware_class,
            scheduler=create_key().address,
        )  # fmt: skip

    async def terms(self, **changes: object) -> ServiceTerms:
        members: dict[str, object] = {
            "requester": self.requester.address,
            "operator": self.operator.address,
            "spec": Digest(b"\x05" * 32),
            "hardware_class": self.hardware_class,
            "scheduler": self.scheduler,
            "rate_microusd": RATE,
            "fee_rate_microusd": FEE_RATE,
            "escrow_microusd": ESCROW,
            "notice_s": NOTICE_S,
            "start_by": (await self.requester.head()).timestamp + 3_600,
            "nonce": secrets.token_bytes(32),
        }
        return ServiceTerms(**members | changes)  # type: ignore[arg-type]

    def signed(self, terms: ServiceTerms, operator: LocalKey | None = None) -> SignedTerms:
        digest = lease_id(terms, self.requester.leases_domain)
        return SignedTerms(
            terms=terms,
            requester_signature=self.requester_key.sign_digest(digest),
            operator_signature=(operator or self.signer_key).sign_digest(digest),
        )

    async def started(self, **changes: object) -> tuple[Digest, int]:
        """Have a stranger start a lease; return it and the second from which it is paid."""
        signed = self.signed(await self.terms(**changes))
        await self.stranger.service_leases.start(signed)
        lease = lease_id(signed.terms, self.requester.leases_domain)
        return lease, (await self.books(lease)).paid_until

    async def books(self, lease: Digest) -> RunningLease:
        standing = await self.requester.service_lease(lease)
        assert standing.state is LeaseState.OPEN
        assert standing.books is not None
        return standing.books

    async def free(self) -> tuple[int, int, int]:
        """What requester, operator and scheduler have free."""
        who = (self.requester.address, self.operator.address, self.scheduler)
        accounts = [await self.requester.account(one) for one in who]
        return tuple(account.free_microusd for account in accounts)  # type: ignore[return-value]

    async def wait(self, seconds: int) -> None:
        async with open_rpc(self.lab.url, timeout_s=10) as rpc:
            await rpc.call("evm_increaseTime", seconds)
            await rpc.call("evm_mine")

    async def over(self, lease: Digest) -> None:
        """Nothing can be done with it any more."""
        assert (await self.requester.service_lease(lease)).state is LeaseState.ENDED
        steps = self.requester.service_leases
        for step in (steps.settle(lease), steps.stop(lease), steps.top_up(lease, 1)):
            with pytest.raises(ContractRefusal, match="never started, or has ended"):
                await step


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service() -> AsyncIterator[Service]:
    """On a chain of its own, whose clock is moved; one for all tests here."""
    async with AnvilProcess(anvil_settings()) as anvil, AsyncExitStack() as stack:
        deployment = await deploy(anvil.url)
        yield await Service.open(ChainLab(url=anvil.url, deployment=deployment, stack=stack))


async def test_it_is_paid_by_the_second_and_the_operator_ends_it_at_once(service: Service) -> None:
    before = await service.free()
    lease, since = await service.started()
    assert await service.free() == (before[0] - ESCROW, before[1], before[2])
    assert (await service.books(lease)).ends_at == since + FUNDED_S

    await service.wait(1_000)
    paid = await service.stranger.service_leases.settle(lease)
    assert paid.paid_until is not None
    assert paid.refund_microusd is None
    first_s = paid.paid_until - since
    assert first_s >= 1_000
    assert (paid.amount_microusd, paid.fee_microusd) == (first_s * RATE, first_s * FEE_RATE)
    assert (await service.free())[1:] == (
        before[1] + first_s * RATE,
        before[2] + first_s * FEE_RATE,
    )

    await service.wait(500)
    last = await service.signer.service_leases.stop(lease)  # the key on the machine may
    assert last.paid_until is not None
    served_s = last.paid_until - since
    assert last.refund_microusd == ESCROW - served_s * PRICE
    assert await service.free() == (
        before[0] - served_s * PRICE,
        before[1] + served_s * RATE,
        before[2] + served_s * FEE_RATE,
    )
    await service.over(lease)


async def test_the_requester_risks_one_notice(service: Service) -> None:
    before = await service.free()
    lease, since = await service.started()
    await service.wait(1_000)
    stopped = await service.requester.service_leases.stop(lease)
    assert stopped.paid_until is None
    books = await service.books(lease)
    assert books.stops_at == books.ends_at
    now = (await service.requester.head()).timestamp
    assert now <= books.ends_at <= now + NOTICE_S
    at_risk = sum(books.due_at(books.ends_at)) - sum(books.due_at(books.ends_at - NOTICE_S))
    assert at_risk == NOTICE_S * PRICE
    with pytest.raises(ContractRefusal, match="stopped already"):
        await service.requester.service_leases.stop(lease)

    await service.requester.service_leases.top_up(lease, 50 * USD)  # does not move a stop out
    assert (await service.books(lease)).ends_at == books.ends_at
    await service.wait(10 * NOTICE_S)
    last = await service.stranger.service_leases.settle(lease)
    served_s = books.ends_at - since
    assert (last.paid_until, last.refund_microusd) == (
        books.ends_at, ESCROW + 50 * USD - served_s * PRICE
    )  # fmt: skip
    assert await service.free() == (
        before[0] - served_s * PRICE,
        before[1] + served_s * RATE,
        before[2] + served_s * FEE_RATE,
    )
    await service.over(lease)


async def test_silence_ends_it_when_the_money_has_run_out(service: Service) -> None:
    before = await service.free()
    lease, since = await service.started()
    await service.wait(FUNDED_S - 100)
    await service.stranger.mint_test_tokens(service.stranger.address, 1_800 * PRICE)
    await service.stranger.deposit(1_800 * PRICE)
    await service.stranger.service_leases.top_up(lease, 900 * PRICE)
    end = since + FUNDED_S + 900
    assert (await service.books(lease)).ends_at == end
    await service.wait(1_000 + 86_400)
    with pytest.raises(ContractRefusal, match="the lease was over at"):
        await service.stranger.service_leases.top_up(lease, 900 * PRICE)
    with pytest.raises(ContractRefusal, match="the lease was over at"):
        await service.operator.service_leases.stop(lease)
    standing = await service.requester.service_lease(lease)
    assert standing.books is not None
    assert standing.books.due_at(standing.now) == (
        (end - since) * RATE, (end - since) * FEE_RATE
    )  # fmt: skip
    last = await service.operator.service_leases.settle(lease)
    left = ESCROW - FUNDED_S * PRICE
    assert (last.paid_until, last.refund_microusd) == (end, left)
    assert await service.free() == (
        before[0] - ESCROW + left,
        before[1] + (end - since) * RATE,
        before[2] + (end - since) * FEE_RATE,
    )
    await service.over(lease)


async def test_what_python_says_of_an_open_lease_is_what_the_contract_says(
    service: Service,
) -> None:
    lease, _ = await service.started()
    async with open_rpc(service.lab.url, timeout_s=10) as rpc:
        contract = Leases(rpc, service.lab.deployment.leases)
        for _ in range(3):
            await service.wait(777)
            standing = await service.requester.service_lease(lease)
            assert standing.books is not None
            assert standing.books.ends_at == await contract.ends_at(lease)
            earned = tuple(await contract.earned(lease))
            now = (await service.requester.head()).timestamp
            assert standing.books.due_at(standing.now) <= earned <= standing.books.due_at(now)
            left = standing.books.left_at(standing.now)
            assert left == ESCROW - sum(standing.books.due_at(standing.now))


async def test_terms_that_were_cancelled_or_started_never_start(service: Service) -> None:
    steps = service.stranger.service_leases
    used = service.signed(await service.terms())
    await steps.start(used)
    with pytest.raises(ContractRefusal, match="started or cancelled before"):
        await steps.start(used)
    cancelled = service.signed(await service.terms())
    with pytest.raises(ContractRefusal, match="neither the lease's requester nor its operator"):
        await steps.cancel(cancelled.terms)
    await service.signer.service_leases.cancel(cancelled.terms)
    with pytest.raises(ContractRefusal, match="started or cancelled before"):
        await steps.start(cancelled)


async def test_whoever_has_not_signed_must_send_it_itself(service: Service) -> None:
    signed = service.signed(
        await service.terms(scheduler=NOBODY, fee_rate_microusd=0), operator=service.operator_key
    )
    half = SignedTerms(terms=signed.terms, operator_signature=signed.operator_signature)
    with pytest.raises(ContractRefusal, match="requester did not sign these terms"):
        await service.stranger.service_leases.start(half)
    await service.requester.service_leases.start(half)
    half = SignedTerms(
        terms=(other := service.signed(await service.terms())).terms,
        requester_signature=other.requester_signature,
    )
    with pytest.raises(ContractRefusal, match="operator did not sign these terms"):
        await service.stranger.service_leases.start(half)
    await service.operator.service_leases.start(half)
