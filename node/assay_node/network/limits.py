"""Named limits of the network, each with the reason for its value.

They bound what one peer can make this process hold or do. All sizes are bytes, all times seconds.
"""

# --- frames -------------------------------------------------------------------------------------

FRAME_BYTES_MAX = 2 * 1024 * 1024
"""One frame. IPFS blocks and DAG nodes reach 1 MiB; twice that leaves room for what wraps them."""

REQUEST_BYTES_MAX = 1024 * 1024
"""Payload of one request or response. Jobs, bids and reveals are a few KiB; files use streams."""

GOSSIP_BYTES_MAX = 64 * 1024
"""One gossip message. It is copied to every peer of a topic, so only small adverts belong there."""

ERROR_CHARACTERS_MAX = 1000
"""Text of one error. Long enough for a reason, short enough for a terminal and a log line."""

PROTOCOL_NAME_BYTES_MAX = 128
"""Name of a protocol or topic. Ours have about 20; the wire holds 255."""

# --- buffers ------------------------------------------------------------------------------------

SEND_BUFFER_BYTES = 1024 * 1024
"""Bytes of a stream waiting for the transport before `send` waits: four blocks keep it busy."""

RECEIVE_BUFFER_BYTES = 1024 * 1024
"""Bytes of a stream waiting for `receive` before we stop reading it from the transport."""

RECEIVE_WINDOW_BYTES_MAX = 4 * 1024 * 1024
"""Yamux window of one stream. 4 MiB fills 100 MB/s at a round trip of 40 ms; libp2p's 16 MiB would
let one peer park 16 MiB in every stream it opens."""

CONNECTION_BUFFER_BYTES_MAX = 32 * 1024 * 1024
"""Unread bytes of all streams of one connection. Eight full windows; py-libp2p only logs when a
peer sends past its window, so this is what stops it."""

FRAME_COST_BYTES = 64
"""What a queued frame costs beyond its payload, so that empty frames fill a buffer as well."""

# --- counts -------------------------------------------------------------------------------------

REQUESTS_IN_FLIGHT_MAX = 128
"""Unanswered requests between two peers in one direction. A requester of ours waits at this number;
a peer that goes past it is told so, then dropped."""

REQUEST_BYTES_IN_FLIGHT_MAX = 8 * 1024 * 1024
"""Payloads of one peer's requests being answered; beyond it we stop reading that peer's stream."""

STREAMS_PER_PEER_MAX = 8
"""Open bulk streams of one protocol that one peer may hold at us: more do not move data faster."""

MUXED_STREAMS_PER_CONNECTION_MAX = 128
"""All streams of one connection, negotiated or not; above it new ones are reset on arrival."""

GOSSIP_QUEUE_MESSAGES = 1024
"""Messages waiting in one subscription; the oldest go first. 5 s of what one core can verify."""

GOSSIP_MESSAGES_PER_SECOND = 200
"""Messages of one topic accepted from one peer; py-libp2p's 10 drops ordinary traffic silently."""

GOSSIP_SUBSCRIPTIONS_PER_PEER_MAX = 32
"""Topics one peer may announce to us. Assay has a handful."""

DIALS_MAX = 32
"""Dials under way at once, as in go-libp2p."""

MISBEHAVIOUR_MAX = 10
"""Breaches of protocol before a peer is cut off: a version skew shows a few, an attack many."""

MISBEHAVIOUR_PEERS_MAX = 4096
"""Peers whose breaches are remembered; the longest unseen is forgotten first."""

# --- times --------------------------------------------------------------------------------------

BAN_S = 600.0
"""How long a peer that misbehaved stays out. Peer keys are free, so a longer ban buys nothing."""

DIAL_TIMEOUT_S = 10.0
"""TCP, Noise and Yamux together; five round trips across the world take 1.5 s."""

NEGOTIATE_TIMEOUT_S = 10.0
"""Agreeing on the protocol of one stream."""

KEEP_ALIVE_INTERVAL_S = 15.0
"""Between pings on every connection. Also keeps NAT mappings (30 s and up) open."""

KEEP_ALIVE_TIMEOUT_S = 20.0
"""Without a pong for this long the peer is gone. Generous: a peer may be busy importing torch."""

WRITE_TIMEOUT_S = 20.0
"""A peer whose TCP window stays shut for this long is gone. As long as the keep-alive."""

CLOSE_TIMEOUT_S = 5.0
"""Flushing a stream that is being closed, and waiting for the peer to close its side."""

SHUTDOWN_TIMEOUT_S = 1.0
"""Saying goodbye to all peers at once; sockets are cut afterwards."""

GOSSIP_PACE_S = 0.2
"""How long a publisher waits for full queues; 32 messages drain in 10 ms unless a peer is stuck."""

ANSWER_TIMEOUT_S = 30.0
"""A requester that does not read the answers it asked for loses its stream after this."""
