import pytest
from eth_abi.abi import encode

from assay_node.chain import abi_codec
from assay_node.chain.abi_codec import Log
from assay_node.protocol.errors import ChainError, LocalError
from assay_node.protocol.ids import Address

ALICE = Address("0x" + "a1" * 20)


def test_selectors_and_topics_are_those_of_the_erc20_standard() -> None:
    token = abi_codec.packaged("TestUsd")
    assert token.functions["transfer"].selector.hex() == "a9059cbb"
    assert token.functions["balanceOf"].selector.hex() == "70a08231"
    assert token.event("Transfer").hash.hex() == (
        "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    )


def test_nested_structs_are_written_out_in_the_signature() -> None:
    settle = abi_codec.packaged("Market").functions["settle"]
    assert settle.signature.startswith("settle(((address,bytes32,bytes32,address,uint64,")
    assert settle.signature.endswith(
        "),bytes,(address,uint64,uint8,uint32,bytes32,bytes32,bytes)[])[])"
    )


def test_a_call_is_its_selector_and_its_arguments() -> None:
    transfer = abi_codec.packaged("TestUsd").functions["transfer"]
    assert transfer.encode_call(ALICE, 7) == transfer.selector + encode(
        ["address", "uint256"], [ALICE, 7]
    )


def test_an_events_members_come_from_topics_and_data_in_order() -> None:
    paid = abi_codec.packaged("Vault").event("StakeBonded")
    log = _log((paid.hash, encode(["address"], [ALICE])), encode(["uint64"], [42]))
    assert paid.decode_log(log) == {"operator": ALICE, "amount": 42}


@pytest.mark.parametrize("data", [b"", b"\x00" * 31, b"\xff" * 32])
def test_bytes_that_are_not_as_declared_are_a_chain_error(data: bytes) -> None:
    paid = abi_codec.packaged("Vault").event("StakeBonded")
    with pytest.raises(ChainError, match="not as declared"):
        paid.decode_log(_log((paid.hash, encode(["address"], [ALICE])), data))
    with pytest.raises(ChainError, match="not as declared"):
        abi_codec.packaged("TestUsd").functions["decimals"].decode_result(data)


def test_a_log_with_too_few_topics_is_a_chain_error() -> None:
    paid = abi_codec.packaged("Vault").event("StakeBonded")
    with pytest.raises(ChainError, match="number of topics"):
        paid.decode_log(_log((paid.hash,), encode(["uint64"], [42])))


def test_a_missing_abi_is_the_installations_fault() -> None:
    with pytest.raises(LocalError, match="ABI of Nothing is missing"):
        abi_codec.packaged("Nothing")


def _log(topics: tuple[bytes, ...], data: bytes) -> Log:
    return Log(address=ALICE, topics=topics, data=data, transaction=b"\x02" * 32, block_number=1)
