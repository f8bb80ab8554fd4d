"""Frames and request messages: pure encoding and decoding, no I/O.

Every Assay stream over libp2p, for requests and for bulk data, is a sequence of frames in each
direction:

    frame   = length (u32, big-endian) || length bytes       length <= FRAME_BYTES_MAX (2 MiB)
    end     = 0xffffffff                                     nothing follows

A side that closes sends `end` and then closes the stream. A stream that stops without `end` was
cut: libp2p shows a lost connection as an ordinary end of file, and a truncated transfer must never
look complete. Any other length above the limit resets the stream.

Requests use the protocol `/assay/request/1`. The peer that opens the stream asks, the other one
answers; a peer that wants to ask over the same connection opens its own stream, so neither cares
who dialled. One stream per direction carries all requests of a pair of peers. Each frame is one
message:

    request  = 0x01 || id (u64) || n (u8) || protocol name (n bytes, ASCII) || payload
    response = 0x02 || id (u64) || payload
    error    = 0x03 || id (u64) || n (u8) || code (n bytes, ASCII) || text (UTF-8)
    cancel   = 0x04 || id (u64)

Ids are chosen by the asking side and are free again after the response or error. Payloads have at
most REQUEST_BYTES_MAX (1 MiB). `cancel` says that nobody waits for the answer any more; it is not
answered, and a response that crosses it on the way is ignored. At most REQUESTS_IN_FLIGHT_MAX
requests may be unanswered; more get the error `busy`. Codes are those of the error tree
(`refused`, `malformed`, ...) and:

    unknown_protocol    nobody serves this name here
    busy                too many requests in flight
    internal            the handler failed; its peer logged why

A malformed frame, an id that is in use, or a response on the wrong side resets the stream.
"""

import struct
from dataclasses import dataclass
from typing import assert_never

from assay_node.network import limits
from assay_node.protocol.errors import MalformedMessage

REQUEST_PROTOCOL = "/assay/request/1"

CODE_UNKNOWN_PROTOCOL = "unknown_protocol"
CODE_BUSY = "busy"
CODE_INTERNAL = "internal"

END = b"\xff\xff\xff\xff"

_LENGTH = struct.Struct(">I")
_HEAD = struct.Struct(">BQ")
_END_LENGTH = 0xFFFFFFFF
_KIND_REQUEST, _KIND_RESPONSE, _KIND_ERROR, _KIND_CANCEL = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A question; `id` names it until it is answered."""

    id: int
    protocol: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The answer to request `id`."""

    id: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why request `id` has no answer."""

    id: int
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """The asking side has stopped waiting for request `id`."""

    id: int


Message = Request | Response | Failure | Cancel


def frame(data: bytes) -> bytes:
    """Return `data` with its length in front."""
    return _LENGTH.pack(len(data)) + data


class FrameDecoder:
    """Cuts a byte stream into frames. Holds at most one frame and one read."""

    def __init__(self, frame_bytes_max: int = limits.FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the end mark has been read."""
        return self._ended

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes.

        Raises:
            MalformedMessage: a frame is longer than allowed, or something follows the end mark.
        """
        self._buffer += data
        frames: list[bytes] = []
        offset = 0
        while not self._ended and len(self._buffer) - offset >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, offset)
            if length == _END_LENGTH:
                self._ended = True
                offset += _LENGTH.size
                break
            if length > self._frame_bytes_max:
                raise MalformedMessage(
                    f"a frame of {length} bytes is longer than {self._frame_bytes_max}"
                )
            stop = offset + _LENGTH.size + length
            if len(self._buffer) < stop:
                break
            frames.append(bytes(self._buffer[offset + _LENGTH.size : stop]))
            offset = stop
        del self._buffer[:offset]
        if self._ended and self._buffer:
            raise MalformedMessage("bytes follow the end of the stream")
        return frames


def encode(message: Message) -> bytes:
    """Return the body of the frame that carries `message`."""
    match message:
        case Request(id=number, protocol=protocol, payload=payload):
            return _HEAD.pack(_KIND_REQUEST, number) + _short(protocol) + payload
        case Response(id=number, payload=payload):
            return _HEAD.pack(_KIND_RESPONSE, number) + payload
        case Failure(id=number, code=code, text=text):
            text = text[: limits.ERROR_CHARACTERS_MAX]
            return _HEAD.pack(_KIND_ERROR, number) + _short(code) + text.encode()
        case Cancel(id=number):
            return _HEAD.pack(_KIND_CANCEL, number)
        case _:
            assert_never(message)


def decode(data: bytes) -> Message:
    """Return the message in one frame.

    Raises:
        MalformedMessage: the bytes are not exactly one message.
    """
    if len(data) < _HEAD.size:
        raise MalformedMessage(f"a message has at least {_HEAD.size} bytes, not {len(data)}")
    kind, number = _HEAD.unpack_from(data)
    rest = data[_HEAD.size :]
    match kind:
        case 1:
            protocol, payload = _split_short(rest)
            return Request(id=number, protocol=protocol, payload=_payload(payload))
        case 2:
            return Response(id=number, payload=_payload(rest))
        case 3:
            code, text = _split_short(rest)
            return Failure(id=number, code=code, text=printable(text))
        case 4 if not rest:
            return Cancel(id=number)
        case _:
            raise MalformedMessage(f"unknown kind of message {kind} or trailing bytes")


def printable(data: bytes) -> str:
    """Return text from a peer that can stand in a terminal or a log line.

    It is one line, bounded, with every control character escaped.
    """
    text = data[: 4 * limits.ERROR_CHARACTERS_MAX].decode(errors="backslashreplace")
    text = text[: limits.ERROR_CHARACTERS_MAX]
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _short(text: str) -> bytes:
    data = text.encode("ascii")
    assert len(data) <= limits.PROTOCOL_NAME_BYTES_MAX
    return bytes([len(data)]) + data


def _split_short(data: bytes) -> tuple[str, bytes]:
    if not data or len(data) < 1 + data[0]:
        raise MalformedMessage("a message ends inside a name")
    name = data[1 : 1 + data[0]]
    if len(name) > limits.PROTOCOL_NAME_BYTES_MAX or not name.isascii():
        raise MalformedMessage("a name is too long or not ASCII")
    return printable(name), data[1 + data[0] :]


def _payload(data: bytes) -> bytes:
    if len(data) > limits.REQUEST_BYTES_MAX:
        raise MalformedMessage(
            f"a payload of {len(data)} bytes, {limits.REQUEST_BYTES_MAX} allowed"
        )
    return data
