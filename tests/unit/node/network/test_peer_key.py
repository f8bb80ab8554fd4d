import pytest

from assay_node.network import new_peer_key, peer_id_of
from assay_node.protocol import ids
from assay_node.protocol.errors import LocalError


def test_peer_ids_are_those_of_libp2p() -> None:
    # Ed25519 key of 32 zero bytes; computed with py-libp2p 0.8.1, ID.from_pubkey(...).to_base58().
    assert peer_id_of(bytes(32)) == "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"


def test_new_keys_differ_and_have_plausible_ids() -> None:
    one, other = new_peer_key(), new_peer_key()
    assert one != other
    for key in (one, other):
        assert ids.peer_id(peer_id_of(key)).startswith("12D3KooW")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_of_another_size_are_refused(size: int) -> None:
    with pytest.raises(LocalError, match=f"not {size}"):
        peer_id_of(bytes(size))
