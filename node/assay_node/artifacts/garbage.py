"""Which blocks are reachable: the marking half of mark and sweep."""

from collections.abc import Callable, Iterable

from assay_node.artifacts import dag_pb
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid


def live_blocks(roots: Iterable[Cid], read: Callable[[Cid], bytes | None]) -> set[Cid]:
    """Return every CID that a root reaches through the blocks that are here.

    An artifact that is still being fetched has gaps: below them nothing can be kept, and nothing
    needs to be, as blocks arrive after their parents.

    Args:
        roots: pinned and held CIDs.
        read: returns a DAG-PB block, None when it is missing or damaged.
    """
    live: set[Cid] = set()
    pending = list(roots)
    while pending:
        cid = pending.pop()
        if cid in live:
            continue
        live.add(cid)
        if cids.codec_of(cid) == cids.DAG_PB:
            pending.extend(_links(read(cid)))
    return live


def _links(block: bytes | None) -> list[Cid]:
    if block is None:
        return []
    try:
        return [link.cid for link in dag_pb.decode(block).links]
    except MalformedMessage:
        return []  # a lone block that a peer made; nothing of ours lies below it
