"""Loop devices, set up so that nothing of them outlives its mount.

With LO_FLAGS_AUTOCLEAR the kernel detaches the file when the last user is gone: the mount, in a
namespace that vanishes with its last process, SIGKILL or not. Source: loop(4); LOOP_CONFIGURE,
which sets flags and file in one step, came with Linux 5.8.
"""

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LOOP_CTL_GET_FREE: Final = 0x4C82
_LOOP_CONFIGURE: Final = 0x4C0A
_LO_FLAGS_READ_ONLY: Final = 1
_LO_FLAGS_AUTOCLEAR: Final = 4
_BLOCK_BYTES: Final = 512
_TRIES: Final = 64
"""Whoever else looks for a free device may be quicker; they win one device each time."""

# struct loop_config: fd, block_size, struct loop_info64, 64 reserved bytes. Of loop_info64's 232
# bytes only lo_flags, at 52, is ours to say.
_LOOP_INFO_BYTES: Final = 232
_FLAGS_AT: Final = 52


@contextlib.contextmanager
def attached(image: Path) -> Iterator[Path]:
    """Yield a read-only loop device of `image`; it goes when whatever mounted it meanwhile is gone.

    Raises:
        OSError: no device can be had: no permission, no loop driver, or the image cannot be read.
    """
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        path, device = _configured(file)
    finally:
        os.close(file)
    try:
        yield path
    finally:
        os.close(device)


def _configured(file: int) -> tuple[Path, int]:
    information = bytearray(_LOOP_INFO_BYTES)
    struct.pack_into("=I", information, _FLAGS_AT, _LO_FLAGS_READ_ONLY | _LO_FLAGS_AUTOCLEAR)
    configuration = struct.pack("=II", file, _BLOCK_BYTES) + bytes(information) + bytes(64)
    for _ in range(_TRIES):
        path = Path(f"/dev/loop{_free_number()}")
        device = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _LOOP_CONFIGURE, configuration)
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY:
                raise
        else:
            return path, device
    raise OSError(errno.EBUSY, "no loop device stays free long enough to be taken")


def _free_number() -> int:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        return fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    finally:
        os.close(control)
