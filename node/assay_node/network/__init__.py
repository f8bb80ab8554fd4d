"""Peers over libp2p: requests, streams and gossip. `open_network` is the way in.

trio and libp2p are imported nowhere else, and the API has only plain types, so that the thread they
run in can become a process of its own.
"""

from assay_node.network.libp2p_network import Libp2pNetwork, open_network
from assay_node.network.peer_key import new_peer_key, peer_id_of
from assay_node.network.settings import NetworkSettings

__all__ = ["Libp2pNetwork", "NetworkSettings", "new_peer_key", "open_network", "peer_id_of"]
