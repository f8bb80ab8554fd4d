import pytest
from eth_abi.abi import encode

from assay_node.chain.abi_codec import Log
from assay_node.chain.bindings import market, test_usd, vault
from assay_node.chain.bindings.vault import StakeBonded
from assay_node.chain.bound_contract import Call
from assay_node.protocol.errors import ChainError
from assay_node.protocol.ids import Address

ALICE = Address("0x" + "a1" * 20)
BOB = Address("0x" + "b0" * 20)
BONDED = StakeBonded.ABI


def test_selectors_and_topics_are_those_of_the_erc20_standard() -> None:
    assert test_usd._TRANSFER.selector.hex() == "a9059cbb"
    assert test_usd._BALANCE_OF.selector.hex() == "70a08231"
    assert test_usd.Transfer.ABI.hash.hex() == (
        "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    )


def test_nested_structs_are_written_out_in_the_signature() -> None:
    settle = market._SETTLE
    assert settle.signature.startswith("settle(((address,bytes32,bytes32,address,uint64,")
    assert settle.signature.endswith(
        "),bytes,(address,uint64,uint8,uint32,bytes32,bytes32,bytes)[])[])"
    )


def test_a_call_is_its_selector_and_its_arguments() -> None:
    call = test_usd.TestUsd(None, BOB).transfer(ALICE, 7)  # type: ignore[arg-type]
    arguments = encode(["address", "uint256"], [ALICE, 7])
    assert call == Call(to=BOB, data=bytes.fromhex("a9059cbb") + arguments)


def test_an_events_members_come_from_topics_and_data_in_order() -> None:
    log = _log((BONDED.hash, encode(["address"], [ALICE])), encode(["uint64"], [42]))
    assert StakeBonded.decode(log) == StakeBonded(operator=ALICE, amount=42)
    assert vault.EVENTS[log.topics[0]] is StakeBonded


@pytest.mark.parametrize("data", [b"", b"\x00" * 31, b"\xff" * 32])
def test_bytes_that_are_not_as_declared_are_a_chain_error(data: bytes) -> None:
    with pytest.raises(ChainError, match="not as declared"):
        StakeBonded.decode(_log((BONDED.hash, encode(["address"], [ALICE])), data))
    with pytest.raises(ChainError, match="not as declared"):
        test_usd._DECIMALS.decode_result(data)


class OneAnswer:
    """A node that answers every call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    async def read(self, method: str, *_: object) -> str:
        assert method == "eth_call"
        return "0x" + self.answer.hex()


async def test_a_struct_is_read_with_its_members_by_name() -> None:
    node = OneAnswer(encode(["(uint64,uint64,uint64,uint32,uint32)"], [(1, 2, 3, 4, 5)]))
    account = await vault.Vault(node, BOB).account(ALICE)  # type: ignore[arg-type]
    assert account == vault.Account(free=1, bond=2, locked=3, wins=4, faults=5)


async def test_text_that_is_not_utf8_is_a_chain_error() -> None:
    node = OneAnswer(encode(["bytes"], [b"\xff\xfe"]))
    with pytest.raises(ChainError, match="not as declared"):
        await test_usd.TestUsd(node, BOB).name()  # type: ignore[arg-type]


def test_a_log_with_too_few_topics_is_a_chain_error() -> None:
    with pytest.raises(ChainError, match="number of topics"):
        StakeBonded.decode(_log((BONDED.hash,), encode(["uint64"], [42])))


def _log(topics: tuple[bytes, ...], data: bytes) -> Log:
    return Log(address=ALICE, topics=topics, data=data, transaction=b"\x02" * 32, block_number=1)
