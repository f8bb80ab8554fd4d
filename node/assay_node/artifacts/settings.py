"""What an embedded artifact store may use, and how long it waits for peers."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSettings:
    """Settings of one store; several processes may open the same `root` with the same settings."""

    root: Path
    """Folder of the store, made when absent. Nothing else may be kept in it."""

    quota_bytes: int
    """Most bytes of blocks kept; garbage is collected when an artifact would exceed it."""

    grace_s: float = 120.0
    """How long a new artifact is safe from collection before it is pinned: a caller that adds or
    fetches pins within moments, and nothing should come between."""

    open_timeout_s: float = 15.0
    """Longest wait for a source to accept a stream: a relayed peer needs a few round trips."""

    block_timeout_s: float = 20.0
    """Longest wait for the next block of a source: 1 MiB at 0.5 Mbit/s takes 17 s."""

    serve_idle_s: float = 60.0
    """How long a peer's stream may lie idle, or refuse our bytes, before it is closed."""

    streams_per_peer_max: int = 4
    """Streams served to one peer at a time; a fetch uses one."""

    streams_max: int = 32
    """Streams served at a time; each holds a few MiB of blocks."""
