"""The libp2p swarm with the faults of 0.8.1 that matter here worked around."""

import logging
from contextlib import suppress

import trio
from libp2p.abc import IMuxedConn, INetStream, IRawConnection
from libp2p.custom_types import StreamHandlerFn
from libp2p.io.exceptions import IOException
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from multiaddr import Multiaddr

from assay_node.network import limits
from assay_node.network.settings import NetworkSettings

logger = logging.getLogger(__name__)


class SilentAutoConnector(AutoConnector):
    """Dials nobody: who is worth a connection is decided by the services.

    The original dials known peers until half of `high_watermark` is reached, whatever
    `low_watermark` says.
    """

    async def maybe_connect(self) -> None:
        """Do nothing."""


class BoundedSwarm(Swarm):
    """A swarm that survives its stream handlers and lets go of what has ended."""

    def _init_connection_management(self) -> None:
        super()._init_connection_management()
        self.auto_connector = SilentAutoConnector(swarm=self)

    def set_stream_handler(self, stream_handler: StreamHandlerFn) -> None:
        """Handle inbound streams, each failing alone.

        The original lets an exception in one stream (a name that is not UTF-8 suffices) end the
        whole host.
        """

        async def contained(stream: INetStream) -> None:
            try:
                await stream_handler(stream)
            except Exception:  # third-party handlers raise anything on bad input
                logger.debug("an inbound stream failed", exc_info=True)
                with suppress(IOException):
                    await stream.reset()

        super().set_stream_handler(contained)

    async def upgrade_inbound_raw_conn(
        self, raw_conn: IRawConnection, maddr: Multiaddr
    ) -> IMuxedConn:
        """Serve an inbound connection until it ends.

        The caller holds one of `connections_max` slots while this runs. The original returns once
        the connection stands, and its caller then keeps the slot until the host stops: after that
        many connections, however short, a node accepts no more.
        """
        muxed = await super().upgrade_inbound_raw_conn(raw_conn, maddr)
        closed: trio.Event = muxed.event_closed  # type: ignore[attr-defined]  # BoundedYamux
        await closed.wait()
        raise SwarmException("the connection has ended")


def connection_config(settings: NetworkSettings) -> ConnectionConfig:
    """Return libp2p's view of our limits."""
    return ConnectionConfig(
        max_connections=settings.connections_max,
        high_watermark=settings.connections_max,
        min_connections=0,
        low_watermark=0,
        # A second connection to a peer is a race of two dials; with the default of 3 every dial
        # waits 251 ms for further ones.
        max_connections_per_peer=1,
        dial_timeout=limits.DIAL_TIMEOUT_S,
        inbound_upgrade_timeout=limits.DIAL_TIMEOUT_S,
        outbound_upgrade_timeout=limits.DIAL_TIMEOUT_S,
        outbound_stream_protocol_negotiation_timeout=limits.NEGOTIATE_TIMEOUT_S,
        inbound_stream_protocol_negotiation_timeout=limits.NEGOTIATE_TIMEOUT_S,
    )


NO_RETRIES = RetryConfig(max_retries=0)
"""Whoever dials decides whether to try again."""
