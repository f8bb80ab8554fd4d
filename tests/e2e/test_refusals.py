"""Orders that are refused, each with its reason and with nothing left behind."""

import time
from dataclasses import replace

import pytest
import pytest_asyncio

from assay_node.app import SystemClock
from assay_node.artifacts import ArtifactSettings, open_artifacts
from assay_node.chain.client import ChainSettings, open_reader
from assay_node.job_file import read_job
from assay_node.keys import create_key, load_keystore
from assay_node.network import NetworkSettings, new_peer_key, open_network
from assay_node.protocol import cid as cids
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import SUBMIT, Submit
from assay_node.protocol.order import SignedOrder, job_id
from assay_node.protocol.typed_data import Domain
from assay_node.services.requesting import Requester
from tests.e2e.test_jobs import HELLO

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def direct(market, requester, tmp_path_factory):
    """Return what signs and sends orders without the CLI's own checks."""
    root = tmp_path_factory.mktemp("direct")
    key = load_keystore(
        requester / "wallets" / "default.json",
        (market.settings.directory / "password").read_text().strip(),
    )
    settings = ChainSettings(rpc_url=market.rpc_url, deployment=market.deployment)
    async with (
        open_reader(settings) as chain,
        open_network(NetworkSettings(), new_peer_key()) as network,
        open_artifacts(ArtifactSettings(root=root, quota_bytes=1 << 30), network) as artifacts,
    ):
        scheduler = await network.connect(market.scheduler_address)
        one = Requester(
            network=network,
            artifacts=artifacts,
            chain=chain,
            clock=SystemClock(),
            scheduler=scheduler,
        )
        yield Direct(one, network, scheduler, key, Domain(chain.chain_id, chain.market))


class Direct:
    def __init__(self, requester, network, scheduler, key, domain):
        self.requester = requester
        self.network = network
        self.scheduler = scheduler
        self.key = key
        self.domain = domain

    async def order(self, folder):
        """Return a good order for a job, whose files are in the store."""
        terms = await self.requester.terms()
        request = read_job(folder, {}, default_class="cpu-x86_64")
        prepared = await self.requester.prepare(request, terms)
        signed = await self.requester._sign(prepared, terms, self.key, 20)
        return signed.order

    async def send(self, order, key=None):
        """Sign and send an order as it is."""
        digest = job_id(order, self.domain)
        signed = SignedOrder(order=order, signature=(key or self.key).sign_digest(digest))
        await self.send_signed(signed)

    async def send_signed(self, signed):
        message = codec.encode(Submit(signed_order=signed))
        await self.network.request(self.scheduler, SUBMIT, message, timeout_s=30)


async def refused(sending):
    with pytest.raises(AssayError) as error:
        await sending
    assert "\n" not in str(error.value)
    return str(error.value)


async def test_a_good_order_is_taken_and_twice_is_once(market, direct, job):
    order = await direct.order(job(HELLO))
    await direct.send(order)
    await direct.send(order)
    listed = await market.get(f"/v1/jobs?requester={direct.key.address}")
    ids = [line["job"] for line in listed["jobs"]]
    assert ids.count("0x" + job_id(order, direct.domain).hex()) == 1


async def test_an_expired_order(direct, job):
    order = await direct.order(job(HELLO))
    assert "expired" in await refused(direct.send(replace(order, expiry=int(time.time()) - 5)))


async def test_an_order_that_expires_too_soon(direct, job):
    order = await direct.order(job(HELLO))
    assert "too soon" in await refused(direct.send(replace(order, expiry=int(time.time()) + 30)))


async def test_a_bad_signature(direct, job):
    order = await direct.order(job(HELLO))
    assert "bad signature" in await refused(direct.send(order, key=create_key()))
    signed = SignedOrder(order=order, signature=b"\x00" * 65)
    assert "signature" in await refused(direct.send_signed(signed))


async def test_a_signature_for_another_chain(direct, job):
    order = await direct.order(job(HELLO))
    elsewhere = Domain(1, direct.domain.market)
    signature = direct.key.sign_digest(job_id(order, elsewhere))
    signed = SignedOrder(order=order, signature=signature)
    assert "bad signature" in await refused(direct.send_signed(signed))


async def test_a_spec_that_cannot_be_fetched(direct, job):
    order = await direct.order(job(HELLO))
    missing = replace(order, spec=Digest(b"\x05" * 32))
    text = await refused(direct.send(missing))
    assert "could not be fetched" in text
    assert cids.from_digest(cids.DAG_CBOR, missing.spec) in text


async def test_a_seed_block_that_is_known_already(direct, job):
    order = await direct.order(job(HELLO))
    assert "not ahead" in await refused(direct.send(replace(order, seed_block=1)))


async def test_an_order_for_another_scheduler_and_one_below_the_fee(direct, job):
    order = await direct.order(job(HELLO))
    other = replace(order, scheduler=create_key().address)
    assert "another scheduler" in await refused(direct.send(other))
    assert "fee" in await refused(direct.send(replace(order, fee_microusd=0)))


async def test_a_nonce_that_is_spent(market, direct, job):
    from tests.e2e.following import ended

    order = await direct.order(job(HELLO))
    await direct.send(order)
    await ended(market, "0x" + job_id(order, direct.domain).hex())
    again = replace((await direct.order(job(HELLO, name="again"))), nonce=order.nonce)
    assert "nonce" in await refused(direct.send(again))


async def test_more_than_the_budget(direct, job):
    order = await direct.order(job(HELLO))
    text = await refused(direct.send(replace(order, max_rate_microusd=10_000_000_000)))
    assert "budget" in text


async def test_a_requester_without_a_budget_is_told_what_to_do(market, job, tmp_path_factory):
    home = tmp_path_factory.mktemp("poor")
    await market.new_requester(home, budget_usd=None)
    with pytest.raises(AssayError, match="assay wallet deposit"):
        await market.run("submit", str(job(HELLO)), "--yes", home=home)


async def test_bytes_that_are_no_order(direct):
    for data in (b"", b"\xa0", b"\xff" * 100):
        with pytest.raises(AssayError):
            await direct.network.request(direct.scheduler, SUBMIT, data, timeout_s=10)
