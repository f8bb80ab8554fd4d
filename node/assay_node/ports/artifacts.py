"""Content-addressed storage as a port."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from assay_node.protocol.ids import Cid, PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactLimits:
    """What a fetch or an import may cost before it is abandoned with a reason."""

    bytes_max: int
    files_max: int = 10_000
    depth_max: int = 32


class Artifacts(Protocol):
    """Content-addressed files and directories (UnixFS, CIDv1), kept and exchanged with peers."""

    async def add(self, path: Path, *, limits: ArtifactLimits) -> Cid:
        """Import a file or directory and return its CID, the one Kubo would give it.

        Refuses anything that is not a regular file or directory (symlinks, devices, sockets).
        """
        ...

    async def add_bytes(self, data: bytes, *, codec: int) -> Cid:
        """Store one block under CIDv1 with this multicodec (`raw` or `dag-cbor`)."""
        ...

    async def read_bytes(self, cid: Cid, *, bytes_max: int) -> bytes:
        """Return one local block, verified against its CID."""
        ...

    async def has(self, cid: Cid) -> bool:
        """Tell whether the whole artifact below `cid` is here."""
        ...

    async def fetch(self, cid: Cid, sources: Sequence[PeerId], *, limits: ArtifactLimits) -> int:
        """Make the whole artifact local from connected peers; return the bytes it holds.

        Every block is verified before it is stored. A source that stalls, lies or lacks a block is
        left for the next one; `RemoteError` names what every source did when none is left.
        """
        ...

    async def export(self, cid: Cid, destination: Path) -> None:
        """Write a local artifact to a path that does not exist yet, atomically."""
        ...

    async def pin(self, cid: Cid, *, owner: str) -> None:
        """Keep the artifact until `unpin` by the same owner (a job id, a name)."""
        ...

    async def unpin(self, *, owner: str) -> None:
        """Let go of everything `owner` pinned."""
        ...
