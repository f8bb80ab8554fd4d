"""The one form in which a layer travels: a tar archive with a single spelling. No file is touched.

It is plain ustar that any tar reads, with pax records for names that are too long, and only this in
it: directories, files, links, and whiteouts, which are empty files named ".wh.NAME" that hide what
a lower layer has (as in OCI layers). Entries come in depth-first order of their names as bytes,
each directory before what is in it. Nobody owns anything, no time is kept, and a mode says only
whether a file may be executed.

The reader parses a header, spells out what it understood, and refuses the archive unless that
gives the same bytes. So there is one archive for one content, and no room for what readers of tar
disagree on: devices, set-id bits, sparse files, hard links, extended attributes, names twice, or
entries below a link. A link's target is relative, has ".." only in front, and no more of them than
the link lies deep: wherever a layer is unpacked or mounted, no link of it leads out.

Sources: POSIX.1-2017, pax, "ustar Interchange Format"; OCI Image Layer Filesystem Changeset.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Final

from assay_node.protocol.environment import LAYER_FILES_MAX
from assay_node.protocol.errors import MalformedMessage

BLOCK_BYTES: Final = 512
NAME_BYTES_MAX: Final = 255
"""What Linux file systems store as one name."""
PATH_BYTES_MAX: Final = 1024
"""A quarter of PATH_MAX, so that the path stays valid below any folder it is shown in."""
DEPTH_MAX: Final = 64
"""Directories below each other; each is an open descriptor while a layer is unpacked."""
FILE_BYTES_MAX: Final = (1 << 33) - 1
"""What eleven octal digits hold."""
WHITEOUT_PREFIX: Final = ".wh."

_END: Final = bytes(2 * BLOCK_BYTES)
_FIELD_BYTES: Final = 100
_PAX_BYTES_MAX: Final = 4096
_PAX_NAME: Final = b"././@PaxHeader"
_COPY_BYTES: Final = 1 << 20
_TYPES: Final = {b"5": "directory", b"0": "file", b"2": "link"}


class EntryKind(StrEnum):
    """What an entry is."""

    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"
    WHITEOUT = "whiteout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. A whiteout's path is that of what it hides."""

    path: str
    kind: EntryKind
    executable: bool = False
    size: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSize:
    """What a layer amounts to: as `EnvironmentLayer` states it."""

    unpacked_bytes: int
    files: int


class LayerReader:
    """Reads a layer from a stream that needs not be seekable."""

    def __init__(self, stream: BinaryIO, limits: LayerSize) -> None:
        self._stream = stream
        self._limits = limits
        self._order = _Order()
        self._left = 0
        self._padding = 0
        self._bytes = 0
        self._files = 0

    @property
    def size(self) -> LayerSize:
        """What has been read so far."""
        return LayerSize(unpacked_bytes=self._bytes, files=self._files)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry; what the caller does not take of a file's content is skipped.

        Raises:
            MalformedMessage: the archive is not a layer in its only form, or exceeds the limits.
        """
        while (entry := self._next()) is not None:
            self._order.check(entry)
            self._files += 1
            self._bytes += entry.size
            if self._files > self._limits.files:
                raise MalformedMessage(f"the layer has more than {self._limits.files} entries")
            if self._bytes > self._limits.unpacked_bytes:
                raise MalformedMessage(
                    f"the layer holds more than {self._limits.unpacked_bytes} bytes"
                )
            self._left = entry.size
            self._padding = -entry.size % BLOCK_BYTES
            yield entry
            self.copy(lambda _: None)
            if any(self._exactly(self._padding)):
                raise MalformedMessage("the layer's padding is not zero")

    def copy(self, write: Callable[[bytes], object]) -> None:
        """Hand the rest of the current file's content to `write`, piece by piece."""
        while self._left:
            piece = self._exactly(min(self._left, _COPY_BYTES))
            self._left -= len(piece)
            write(piece)

    def _next(self) -> Entry | None:
        block = self._exactly(BLOCK_BYTES)
        if block == _END[:BLOCK_BYTES]:
            if self._exactly(BLOCK_BYTES) != _END[:BLOCK_BYTES] or self._stream.read(1):
                raise MalformedMessage("the layer does not end where its end is marked")
            return None
        header = block
        if _type(block) == b"x":
            size = _octal(block[124:136], _PAX_BYTES_MAX)
            records = self._exactly(size + -size % BLOCK_BYTES)
            header = self._exactly(BLOCK_BYTES)
            path, target = _long_names(records[:size], header)
            spelled = block + records + header
        else:
            path, target = _text(block[:_FIELD_BYTES]), _text(block[157:257])
            spelled = block
        entry = _entry(path, target, header)
        if encode_header(entry) != spelled:
            raise MalformedMessage(f"the header of {path[:80]!a} is not in the only form")
        return entry

    def _exactly(self, count: int) -> bytes:
        pieces = []
        while count:
            piece = self._stream.read(count)
            if not piece:
                raise MalformedMessage("the layer ends too early")
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


class LayerWriter:
    """Writes a layer; entries must come in order."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._order = _Order()
        self._bytes = 0
        self._files = 0

    @property
    def size(self) -> LayerSize:
        """What has been written so far."""
        return LayerSize(unpacked_bytes=self._bytes, files=self._files)

    def add(self, entry: Entry, content: BinaryIO | None = None) -> None:
        """Write one entry; `content` is read for a file's `size` bytes.

        Raises:
            MalformedMessage: no layer can hold it, or it is out of order.
            EOFError: the content is shorter than the entry says.
        """
        self._order.check(entry)
        if self._files >= LAYER_FILES_MAX:
            raise MalformedMessage(f"a layer has at most {LAYER_FILES_MAX} entries")
        self._stream.write(encode_header(entry))
        left = entry.size
        while left:
            piece = content.read(min(left, _COPY_BYTES)) if content else b""
            if not piece:
                raise EOFError(f"{entry.path} is shorter than {entry.size} bytes")
            left -= len(piece)
            self._stream.write(piece)
        self._stream.write(bytes(-entry.size % BLOCK_BYTES))
        self._bytes += entry.size
        self._files += 1

    def finish(self) -> None:
        """Mark the end."""
        self._stream.write(_END)


def order_key(path: str) -> tuple[bytes, ...]:
    """Return what paths are sorted by: a directory's name stands right before all that is in it."""
    return tuple(part.encode() for part in path.split("/"))


def tar_path(entry: Entry) -> str:
    """Return the name under which an entry stands in the archive."""
    if entry.kind is not EntryKind.WHITEOUT:
        return entry.path
    folder, slash, name = entry.path.rpartition("/")
    return f"{folder}{slash}{WHITEOUT_PREFIX}{name}"


def check_path(path: str) -> None:
    """Refuse a path that no layer can hold.

    Raises:
        MalformedMessage: saying what is wrong with it.
    """
    parts = path.split("/")
    shown = ascii(path[:80])
    if any(part in ("", ".", "..") for part in parts):
        raise MalformedMessage(f"the path {shown} is absolute or not in its shortest form")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in path):
        raise MalformedMessage(f"the path {shown} holds control characters")
    if len(_encoded(path)) > PATH_BYTES_MAX or len(parts) > DEPTH_MAX:
        raise MalformedMessage(
            f"the path {shown} is longer than {PATH_BYTES_MAX} bytes or {DEPTH_MAX} names"
        )
    if any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        raise MalformedMessage(f"a name in {shown} is longer than {NAME_BYTES_MAX} bytes")


def check_target(path: str, target: str) -> None:
    """Refuse a link that leads out of its layer, or that could be spelled otherwise.

    Raises:
        MalformedMessage: saying what is wrong with it.
    """
    if target == ".":
        return
    parts = target.split("/")
    ups = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if ups > path.count("/"):
        raise MalformedMessage(f"the link {path[:80]!a} leads out of its layer")
    if ups < len(parts):
        try:
            check_path("/".join(parts[ups:]))
        except MalformedMessage as error:
            raise MalformedMessage(f"the link {path[:80]!a} is refused: {error}") from None


def encode_header(entry: Entry) -> bytes:
    """Return the blocks that stand before an entry's content. The law of the format."""
    path, target = _encoded(tar_path(entry)), _encoded(entry.target)
    records = b"".join(
        _record(key, value)
        for key, value in ((b"linkpath", target), (b"path", path))
        if len(value) > _FIELD_BYTES
    )
    if entry.kind is EntryKind.DIRECTORY:
        kind, mode = b"5", 0o755
    elif entry.kind is EntryKind.LINK:
        kind, mode = b"2", 0o777
    else:
        kind, mode = b"0", 0o755 if entry.executable else 0o644
    header = _header(path, kind, mode=mode, size=entry.size, target=target)
    if not records:
        return header
    extended = _header(_PAX_NAME, b"x", mode=0o644, size=len(records), target=b"")
    return extended + records + bytes(-len(records) % BLOCK_BYTES) + header


class _Order:
    """Checks that entries come in the order of the form, below directories, each name once."""

    def __init__(self) -> None:
        self._last: tuple[bytes, ...] = ()
        self._folder: tuple[bytes, ...] = ()
        """The last directory; its parents are those it lies in."""

    def check(self, entry: Entry) -> None:
        check_path(entry.path)
        name = tar_path(entry)
        shown = ascii(name[:80])
        key = order_key(name)
        if key <= self._last:
            raise MalformedMessage(f"{shown} is out of order, or there twice")
        parent = key[:-1]
        if self._folder[: len(parent)] != parent:
            raise MalformedMessage(f"{shown} does not lie in a directory of the layer")
        _check_kind(entry)
        self._last = key
        self._folder = key if entry.kind is EntryKind.DIRECTORY else parent


def _check_kind(entry: Entry) -> None:
    if entry.path.rpartition("/")[2].startswith(WHITEOUT_PREFIX):
        raise MalformedMessage(f"{entry.path[:80]!a} has a name that is kept for whiteouts")
    if not 0 <= entry.size <= FILE_BYTES_MAX:
        raise MalformedMessage(f"{entry.path[:80]!a} is larger than {FILE_BYTES_MAX} bytes")
    if entry.kind is EntryKind.LINK:
        check_target(entry.path, entry.target)


def _entry(path: str, target: str, header: bytes) -> Entry:
    kind = _type(header)
    if kind not in _TYPES:
        raise MalformedMessage(
            f"{path[:80]!a} is neither a directory, a file nor a symbolic link (type {kind!a})"
        )
    size = _octal(header[124:136], FILE_BYTES_MAX)
    if kind == b"5":
        return Entry(path=path, kind=EntryKind.DIRECTORY)
    if kind == b"2":
        return Entry(path=path, kind=EntryKind.LINK, target=target)
    folder, slash, name = path.rpartition("/")
    if name.startswith(WHITEOUT_PREFIX) and not size:
        hidden = f"{folder}{slash}{name.removeprefix(WHITEOUT_PREFIX)}"
        return Entry(path=hidden, kind=EntryKind.WHITEOUT)
    executable = header[100:108] == b"0000755\0"
    return Entry(path=path, kind=EntryKind.FILE, executable=executable, size=size)


def _long_names(records: bytes, header: bytes) -> tuple[str, str]:
    """Return path and target, taken from pax records where those have them."""
    found: dict[bytes, bytes] = {}
    while records:
        digits, space, _ = records.partition(b" ")
        if not space or not digits.isdigit() or len(digits) > 4:
            raise MalformedMessage("the layer has a malformed pax record")
        record, records = records[: int(digits)], records[int(digits) :]
        key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
        if not equals or len(record) != int(digits) or key not in (b"path", b"linkpath"):
            raise MalformedMessage("the layer has a pax record other than a long name")
        found[key] = value
    path = _text(found.get(b"path", header[:_FIELD_BYTES]))
    return path, _text(found.get(b"linkpath", header[157:257]))


def _header(path: bytes, kind: bytes, *, mode: int, size: int, target: bytes) -> bytes:
    fields = (
        path[:_FIELD_BYTES].ljust(_FIELD_BYTES, b"\0"),
        b"%07o\0" % mode,
        b"0000000\0" * 2,  # uid, gid
        b"%011o\0" % size,
        b"00000000000\0",  # time
        b" " * 8,  # the checksum counts itself as blanks
        kind,
        target[:_FIELD_BYTES].ljust(_FIELD_BYTES, b"\0"),
        b"ustar\00000",
        bytes(64),  # names of owner and group
        b"0000000\0" * 2,  # device
        bytes(167),  # prefix, to the block's end
    )
    block = b"".join(fields)
    checksum = b"%06o\0 " % sum(block)
    return block[:148] + checksum + block[156:]


def _record(key: bytes, value: bytes) -> bytes:
    """Return a pax record, whose length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _type(block: bytes) -> bytes:
    return block[156:157]


def _octal(field: bytes, most: int) -> int:
    digits = field[:-1]
    if not digits or any(byte not in b"01234567" for byte in digits):
        raise MalformedMessage("the layer has a malformed number")
    value = int(digits, 8)
    if value > most:
        raise MalformedMessage(f"the layer has an entry of {value} bytes; at most {most}")
    return value


def _text(field: bytes) -> str:
    try:
        return field.split(b"\0", 1)[0].decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessage("a name in the layer is not UTF-8") from None


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedMessage(f"the name {text[:80]!a} is not UTF-8") from None
