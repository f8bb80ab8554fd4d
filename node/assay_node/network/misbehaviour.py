"""Counting breaches of protocol per peer. Pure."""

from collections import OrderedDict

from assay_node.network import limits
from assay_node.protocol.ids import PeerId


class MisbehaviourLedger:
    """How often each peer broke the protocol, for as many peers as fit."""

    def __init__(self) -> None:
        self._counts: OrderedDict[PeerId, int] = OrderedDict()

    def count(self, peer_id: PeerId) -> int:
        """Return the breaches of a peer since it was last cut off."""
        return self._counts.get(peer_id, 0)

    def record(self, peer_id: PeerId) -> bool:
        """Count one breach; return True when the peer must be cut off, and start over."""
        count = self._counts.pop(peer_id, 0) + 1
        if count >= limits.MISBEHAVIOUR_MAX:
            return True
        self._counts[peer_id] = count
        if len(self._counts) > limits.MISBEHAVIOUR_PEERS_MAX:
            self._counts.popitem(last=False)
        return False
