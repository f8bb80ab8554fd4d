"""Frames of the block exchange, protocol `/assay/blocks/1`.

A requester sends requests, as many ahead as it likes to; the server answers each CID with one
frame, in the order asked. Either side ends by closing the stream.

    request   0x01, then 1 to 64 binary CIDs of 36 bytes each
    block     0x02, CID, the block's bytes
    missing   0x03, CID: the server does not have it
    refusal   0x04, a reason in UTF-8 of at most 400 bytes; the server closes the stream
"""

from dataclasses import dataclass
from typing import Final

from assay_node.artifacts.dag_pb import BLOCK_BYTES_MAX
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid

PROTOCOL: Final = "/assay/blocks/1"

REQUEST_CIDS_MAX = 64
"""CIDs in one request: 16 MiB of chunks, so that asking costs nothing beside the answers."""

REASON_BYTES_MAX = 400
"""Enough for one sentence."""

_REQUEST = 1
_BLOCK = 2
_MISSING = 3
_REFUSAL = 4
_CID_BYTES = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBlock:
    """An answer with a block, not yet verified."""

    cid: Cid
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingBlock:
    """An answer that says the server does not have the block."""

    cid: Cid


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The last frame of a server that will not serve on."""

    reason: str


Answer = FoundBlock | MissingBlock | Refusal


def encode_request(wanted: list[Cid]) -> bytes:
    """Return the frame that asks for these blocks."""
    assert 0 < len(wanted) <= REQUEST_CIDS_MAX
    return bytes((_REQUEST,)) + b"".join(cids.to_binary(cid) for cid in wanted)


def decode_request(frame: bytes) -> tuple[Cid, ...]:
    """Return the CIDs that a frame asks for.

    Raises:
        MalformedMessage: it is not a request, or asks for too many.
    """
    count, rest = divmod(len(frame) - 1, _CID_BYTES)
    if not frame or frame[0] != _REQUEST or rest or not 0 < count <= REQUEST_CIDS_MAX:
        raise MalformedMessage(f"not a request for 1 to {REQUEST_CIDS_MAX} blocks")
    return tuple(
        cids.from_binary(frame[start : start + _CID_BYTES])
        for start in range(1, len(frame), _CID_BYTES)
    )


def encode_answer(answer: Answer) -> bytes:
    """Return the frame of an answer."""
    match answer:
        case FoundBlock():
            return bytes((_BLOCK,)) + cids.to_binary(answer.cid) + answer.data
        case MissingBlock():
            return bytes((_MISSING,)) + cids.to_binary(answer.cid)
        case Refusal():
            reason = answer.reason.encode("utf-8", "backslashreplace")[:REASON_BYTES_MAX]
            return bytes((_REFUSAL,)) + reason.decode("utf-8", "ignore").encode()


def decode_answer(frame: bytes) -> Answer:
    """Return the answer that a frame carries.

    Raises:
        MalformedMessage: it is not an answer, or its block is larger than `BLOCK_BYTES_MAX`.
    """
    if frame[:1] == bytes((_REFUSAL,)):
        return _decode_refusal(frame[1:])
    if len(frame) <= _CID_BYTES or frame[0] not in (_BLOCK, _MISSING):
        raise MalformedMessage("not an answer to a request for blocks")
    cid = cids.from_binary(frame[1 : 1 + _CID_BYTES])
    data = frame[1 + _CID_BYTES :]
    if frame[0] == _BLOCK:
        if len(data) > BLOCK_BYTES_MAX:
            raise MalformedMessage(f"a block of {len(data)} bytes; {BLOCK_BYTES_MAX} are allowed")
        return FoundBlock(cid=cid, data=data)
    if data:
        raise MalformedMessage("a missing block has bytes")
    return MissingBlock(cid=cid)


def _decode_refusal(reason: bytes) -> Refusal:
    if len(reason) > REASON_BYTES_MAX:
        raise MalformedMessage("a refusal that goes on for too long")
    try:
        return Refusal(reason=reason.decode())
    except UnicodeDecodeError:
        raise MalformedMessage("a refusal that is not UTF-8") from None
