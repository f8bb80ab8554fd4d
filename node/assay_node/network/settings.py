"""What an operator can set about the network."""

from dataclasses import dataclass

from assay_node.network import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """How one libp2p host listens and what it allows.

    Attributes:
        listen: Multiaddrs to listen on, TCP only; port 0 lets the system choose.
        announce: Multiaddrs told to peers in place of the observed ones, for hosts behind a
            forwarded port or a load balancer.
        connections_max: Connections in all. Each costs about 0.1 MB idle and one file descriptor;
            256 stay far below the usual limit of 1024 descriptors.
        keep_alive_interval_s: Seconds between pings on each connection.
        keep_alive_timeout_s: Seconds without a pong after which a peer counts as gone.
        gossip_heartbeat_s: Seconds between rounds of mesh upkeep; 1 is what the GossipSub
            specification asks for (py-libp2p's default is 120).
    """

    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    announce: tuple[str, ...] = ()
    connections_max: int = 256
    keep_alive_interval_s: float = limits.KEEP_ALIVE_INTERVAL_S
    keep_alive_timeout_s: float = limits.KEEP_ALIVE_TIMEOUT_S
    gossip_heartbeat_s: int = 1
