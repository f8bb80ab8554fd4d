"""web3.py as a second opinion: it reads from the same market what our own client reads."""

import asyncio
import json
from importlib import resources
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from web3 import AsyncHTTPProvider, AsyncWeb3

from assay_node.protocol.order import job_id
from assay_node.protocol.typed_data import ORDER_TYPE
from tests.fixtures.receipts import ANSWER, LIE
from tests.integration.chain.test_settlement import Market, market_of_strangers


def abi(name: str) -> Any:
    return json.loads(resources.files("assay_node.chain").joinpath(f"abi/{name}.json").read_text())


async def test_web3_sees_the_same_settlement(chain) -> None:
    market: Market = await market_of_strangers(chain, 3)
    receipt = await market.receipt([ANSWER, ANSWER, LIE])
    outcome = await market.settle(receipt)
    (settlement,) = outcome.settlements

    deployment = market.wallet.deployment
    w3 = AsyncWeb3(AsyncHTTPProvider(chain.url))
    try:
        contract = w3.eth.contract(w3.to_checksum_address(deployment.market), abi=abi("Market"))
        vault = w3.eth.contract(w3.to_checksum_address(deployment.vault), abi=abi("Vault"))
        mined, on_chain_id = await asyncio.gather(
            w3.eth.get_transaction_receipt(settlement.transaction),
            contract.functions.jobId(_checksummed(w3, receipt)).call(),
        )
        (settled,) = contract.events.JobSettled().process_receipt(mined, errors=_discard())
        operators = vault.events.OperatorSettled().process_receipt(mined, errors=_discard())
        account = await vault.functions.account(
            w3.to_checksum_address(market.operators[0].address)
        ).call()
    finally:
        await w3.provider.disconnect()
    order = receipt.signed_order.order
    assert on_chain_id == job_id(order, market.wallet.domain) == settlement.job_id
    assert mined["gasUsed"] == outcome.gas_used
    assert settled["args"]["vote"][28:] == settlement.seconds.to_bytes(4)
    shares = [word >> 160 & 0xFFFF_FFFF_FFFF_FFFF for word in settled["args"]["shares"]]
    slashed = sum(share.amount_microusd for share in settlement.slashed)
    assert sum(shares) == settlement.cost_microusd + slashed
    assert {
        e["args"]["operator"].lower(): e["args"]["sums"] & (1 << 128) - 1 for e in operators
    } == {
        **{share.operator: share.amount_microusd for share in settlement.paid},
        **{share.operator: share.amount_microusd << 64 for share in settlement.slashed},
    }
    ours = await market.wallet.account(market.operators[0].address)
    assert (account[0], account[1]) == (ours.free_microusd, ours.stake_microusd)


async def test_eth_account_signs_an_order_as_we_do(chain) -> None:
    market = await market_of_strangers(chain, 3)
    receipt = await market.receipt([ANSWER, ANSWER, ANSWER])
    order = receipt.signed_order.order
    members = [member.split(" ") for member in ORDER_TYPE[6:-1].split(",")]
    message = encode_typed_data(
        {
            "name": "Assay",
            "version": "1",
            "chainId": market.wallet.chain_id,
            "verifyingContract": market.wallet.market,
        },
        {"Order": [{"name": name, "type": kind} for kind, name in members]},
        {name: value for (_, name), value in zip(members, order.abi_values(), strict=True)},
    )
    signer = Account.recover_message(message, signature=receipt.signed_order.signature)
    assert signer.lower() == order.requester


def _checksummed(w3: AsyncWeb3, receipt: Any) -> tuple[object, ...]:
    return tuple(
        w3.to_checksum_address(value) if isinstance(value, str) else value
        for value in receipt.signed_order.order.abi_values()
    )


def _discard() -> Any:
    from web3.logs import DISCARD

    return DISCARD
