"""The name a shared library goes by (DT_SONAME), read from its file: what a program asks for.

The container toolkit runs ldconfig in the container to make links of these names. Reading them here
runs nothing. Source: elf(5).
"""

import struct
from pathlib import Path
from typing import BinaryIO, Final

_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_ENTRY: Final = struct.Struct("<qQ")
_MAGIC: Final = b"\x7fELF\x02\x01"
"""64 bits, little-endian: both architectures that have a sandbox."""

_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_DT_NULL: Final = 0
_DT_STRTAB: Final = 5
_DT_SONAME: Final = 14

_SEGMENTS_MAX: Final = 64
_ENTRIES_MAX: Final = 1024
_NAME_BYTES_MAX: Final = 255


def soname(path: Path) -> str | None:
    """Return a library's soname; None for a file that is no library or has none."""
    try:
        with path.open("rb") as file:
            return _soname(file)
    except (OSError, struct.error, UnicodeDecodeError, ValueError):
        return None


def _soname(file: BinaryIO) -> str | None:
    header = _HEADER.unpack(file.read(_HEADER.size))
    if not header[0].startswith(_MAGIC):
        return None
    offset, size, count = header[5], header[9], header[10]
    if size != _SEGMENT.size or count > _SEGMENTS_MAX:
        return None
    file.seek(offset)
    segments = list(_SEGMENT.iter_unpack(file.read(size * count)))
    dynamic = next((s for s in segments if s[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        return None
    file.seek(dynamic[2])
    entries: dict[int, int] = {}
    for tag, value in _ENTRY.iter_unpack(file.read(min(dynamic[5], _ENTRIES_MAX * _ENTRY.size))):
        if tag == _DT_NULL:
            break
        entries.setdefault(tag, value)
    if _DT_SONAME not in entries or _DT_STRTAB not in entries:
        return None
    address = entries[_DT_STRTAB] + entries[_DT_SONAME]
    for kind, _, start, virtual, _, length, _, _ in segments:
        if kind == _PT_LOAD and virtual <= address < virtual + length:
            file.seek(start + address - virtual)
            name, end, _ = file.read(_NAME_BYTES_MAX + 1).partition(b"\0")
            return name.decode("ascii") if end and name else None
    return None
