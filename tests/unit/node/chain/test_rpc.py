import pytest
from yarl import URL

from assay_node.chain.hex_values import to_bytes, to_int
from assay_node.chain.refusals import ContractRefusal, explained
from assay_node.chain.rpc import JsonRpc, RpcRefusal, open_rpc
from assay_node.protocol.errors import ChainError, ChainUnavailable, LocalError

RPC = JsonRpc(None, URL("https://user:pw@chain.example:8545/v3/SECRET-KEY?k=SECRET"))  # type: ignore[arg-type]


def test_an_endpoint_is_shown_without_what_may_be_secret() -> None:
    assert RPC.endpoint == "https://chain.example:8545"


def test_results_and_errors_are_told_apart() -> None:
    assert RPC._result(b'{"jsonrpc":"2.0","id":1,"result":"0x1"}', 200) == "0x1"
    assert RPC._result(b'{"jsonrpc":"2.0","id":1,"result":null}', 200) is None
    with pytest.raises(RpcRefusal, match="refused: no") as refused:
        RPC._result(b'{"id":1,"error":{"code":3,"message":"no","data":"0x0102"}}', 200)
    assert refused.value.data == b"\x01\x02"
    with pytest.raises(RpcRefusal) as wrapped:  # some nodes answer so, with HTTP 400
        RPC._result(b'{"id":1,"error":{"message":"no","data":{"data":"0x03"}}}', 400)
    assert wrapped.value.data == b"\x03"


@pytest.mark.parametrize(
    ("raw", "status"),
    [(b"<html>", 200), (b"", 503), (b"[]", 200), (b'{"result":1}', 500), (b'{"error":5}', 200)],
)
def test_anything_else_is_an_endpoint_that_is_no_node(raw: bytes, status: int) -> None:
    with pytest.raises(ChainUnavailable, match="is it the URL of an Ethereum node"):
        RPC._result(raw, status)


@pytest.mark.parametrize("url", ["", "127.0.0.1:8545", "ftp://x", "http://", "http://[x", "a b"])
async def test_a_url_that_is_none_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(LocalError, match="not the URL of a chain endpoint"):
        async with open_rpc(url, timeout_s=1):
            pass


@pytest.mark.parametrize("value", [None, 5, "", "12", "0xzz", {}])
def test_malformed_values_from_a_node_are_chain_errors(value: object) -> None:
    with pytest.raises(ChainError):
        to_bytes(value)
    with pytest.raises(ChainError):
        to_int(value)


def test_a_refusal_without_bytes_is_explained_by_the_nodes_words() -> None:
    assert isinstance(explained(RpcRefusal("execution reverted"), "it", {}), ContractRefusal)
    assert str(explained(RpcRefusal("limit reached"), "it", {})) == "it failed: limit reached"
