"""GossipSub 1.1, hardened. Runs on trio."""

import logging
import time
from collections.abc import Callable

from libp2p.abc import IHost
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.rpc_queue import OutBoundQueueSize

from assay_node.network import limits
from assay_node.network.settings import NetworkSettings
from assay_node.ports import GossipMessage
from assay_node.protocol.ids import PeerId

logger = logging.getLogger(__name__)


class ContainedPubsub(Pubsub):
    """Pubsub that no message can end, and that hands messages over at once."""

    def __init__(
        self,
        host: IHost,
        router: GossipSub,
        *,
        heard: Callable[[GossipMessage], None],
        misbehaved: Callable[[str, str], None],
    ) -> None:
        super().__init__(
            host,
            router,
            strict_signing=True,
            max_subscriptions_per_peer=limits.GOSSIP_SUBSCRIPTIONS_PER_PEER_MAX,
            max_subscriptions_per_rpc=limits.GOSSIP_SUBSCRIPTIONS_PER_PEER_MAX,
        )
        self._heard = heard
        self._misbehaved = misbehaved
        # Sequence numbers must grow over restarts. The original starts at unix seconds, so a peer
        # that sent 50 messages and restarted within 50 s repeats numbers its peers have seen.
        self.counter = time.time_ns()

    def has_room(self) -> bool:
        """Tell whether no peer's queue is half full: libp2p drops what does not fit, silently."""
        return all(len(queue) < OutBoundQueueSize // 2 for queue in self.peer_queues.values())

    async def push_msg(self, msg_forwarder: ID, msg: rpc_pb2.Message) -> None:
        """Validate, deliver and forward one message.

        The original lets exceptions through (an undecodable key suffices) and they end the host.
        """
        try:
            if msg_forwarder != self.my_id and not _acceptable(msg):
                self._misbehaved(msg_forwarder.to_base58(), "sent a malformed gossip message")
                return
            await super().push_msg(msg_forwarder, msg)
        except Exception:
            if msg_forwarder == self.my_id:
                raise
            logger.debug("a gossip message could not be processed", exc_info=True)

    def notify_subscriptions(self, publish_message: rpc_pb2.Message) -> None:
        """Deliver a message that passed.

        In place of the original's trio queue of 32 messages, which drops the newest.
        """
        source = ID(publish_message.from_id)
        if source == self.my_id:
            return
        topic = publish_message.topicIDs[0]
        if topic in self.topic_ids:
            self._heard(
                GossipMessage(
                    topic=topic, source=PeerId(source.to_base58()), data=publish_message.data
                )
            )

    async def _handle_new_peer(self, peer_id: ID) -> None:
        """Register a peer that has connected.

        A peer that comes back within 0.2 s is still registered with its dead stream, and the
        original would keep that until a write to it fails.
        """
        stream = self.peers.get(peer_id)
        if stream is not None and not stream.muxed_conn.alive:  # type: ignore[attr-defined]
            self._handle_dead_peer(peer_id)
        told = set(self.topic_ids)
        await super()._handle_new_peer(peer_id)
        self._tell_what_changed(peer_id, told)

    def _tell_what_changed(self, peer_id: ID, told: set[str]) -> None:
        """Announce what was subscribed or left while the peer was greeted.

        The original writes the list of topics, waits, and only then counts the peer among those
        that hear of changes: it would never learn of one that falls into the wait.
        """
        queue = self.peer_queues.get(peer_id)
        if queue is None:
            return
        for topic in told ^ set(self.topic_ids):
            packet, announcement = self._build_announce_rpc(topic, topic in self.topic_ids)
            self._enqueue_or_retry_announce(peer_id, queue, packet, announcement)


def _acceptable(message: rpc_pb2.Message) -> bool:
    return (
        len(message.topicIDs) == 1
        and len(message.topicIDs[0]) <= limits.PROTOCOL_NAME_BYTES_MAX
        and len(message.data) <= limits.GOSSIP_BYTES_MAX
        and len(message.seqno) <= 8
    )


def gossip_router(settings: NetworkSettings) -> GossipSub:
    """Return the router. Degrees are those of the GossipSub specification."""
    return GossipSub(
        # 1.2 doubled the CPU use and reached 9 s at p99 (100 hosts, 1 message/s).
        protocols=[TProtocol(PROTOCOL_ID_V11)],
        degree=6,
        degree_low=4,
        degree_high=12,
        heartbeat_interval=settings.gossip_heartbeat_s,
        heartbeat_initial_delay=0.2,
        max_messages_per_topic_per_second=limits.GOSSIP_MESSAGES_PER_SECOND,
    )
