"""The few mount and namespace system calls the launcher makes, through libc.

Python 3.11 has no binding for them (os.unshare came with 3.12), and starting mount(8) and
unshare(1) would cost more than the sandbox itself.
"""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
MS_RDONLY: Final = 0x1
CLONE_NEWPID: Final = 0x20000000
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SLAVE: Final = 1 << 19
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
MNT_DETACH: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces (unshare(2)).

    Raises:
        OSError: the kernel refuses.
    """
    _check(_libc.unshare(flags), "unshare")


def map_only(uid: int, gid: int) -> None:
    """Map one uid and gid to themselves in the user namespace just made.

    setgroups must be denied first, or an ordinary user may not write the gid map
    (user_namespaces(7)).
    """
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")


def stop_propagation() -> None:
    """Keep what is mounted from here on away from the host, whose own mounts still arrive."""
    _mount("none", "/", None, MS_REC | MS_SLAVE, "")


def bind(source: Path, target: Path) -> None:
    """Bind `source`, with what is mounted below it, on `target`."""
    _mount(str(source), str(target), None, MS_BIND | MS_REC, "")


def tmpfs(target: Path, *, size_bytes: int, inodes: int, uid: int, gid: int) -> None:
    """Mount an empty tmpfs of bounded size, owned by `uid` and `gid`."""
    options = f"size={size_bytes},nr_inodes={inodes},mode=755,uid={uid},gid={gid}"
    _mount("tmpfs", str(target), "tmpfs", MS_NOSUID | MS_NODEV, options)


def squashfs(device: Path, target: Path) -> None:
    """Mount a squashfs image, read-only; what is set-user-ID or a device in it is neither."""
    _mount(str(device), str(target), "squashfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "")


def overlay(lower: Sequence[str], target: Path) -> None:
    """Mount directories above each other, read-only, the highest first.

    The names may be relative to the working directory: the kernel takes one page of options.
    """
    flags = MS_RDONLY | MS_NOSUID | MS_NODEV
    _mount("overlay", str(target), "overlay", flags, f"lowerdir={':'.join(lower)}")


def unmount(target: Path) -> None:
    """Take a mount away from this namespace; what is still in use lives on until it is not."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"unmounting {target}")


def gain_no_privileges() -> None:
    """Keep this process and what it starts from gaining any by execve(2)."""
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")


def die_with_parent() -> None:
    """Have the kernel kill this process when the process that forked it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be waited for."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str) -> None:
    result = _libc.mount(
        os.fsencode(source),
        os.fsencode(target),
        kind.encode() if kind else None,
        flags,
        options.encode(),
    )
    _check(result, f"mount on {target}")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
