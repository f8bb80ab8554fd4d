"""The child that handles a stranger's layer: confined first, then unpacking or packing.

    python -m assay_provider.environments.confined unpack TREE UID BYTES FILES MEMORY SECONDS
    python -m assay_provider.environments.confined pack TREE IMAGE UID BYTES MEMORY SECONDS PROGRAM

`unpack` reads the layer on standard input and writes below TREE; `pack` makes the file IMAGE from
TREE with PROGRAM, which is mksquashfs. As root the child first loses the network, then sees nothing
but TREE (unpack), and is the user UID, who owns nothing else, from before the first byte is read.
For an ordinary user only the limits hold. It ends with its parent.

`unpack` answers with a JSON object on standard output: {"bytes", "files"} or {"refused"}. Whatever
else goes wrong is told in a line on standard error, with a status other than 0.
"""

import json
import os
import resource
import sys
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import MalformedMessage
from assay_provider.environments.layer_tar import LayerSize
from assay_provider.environments.unpacking import unpack
from assay_provider.runtime import mounts

PROCESSORS: Final = 2
"""Threads that compress: jobs of others run meanwhile."""
_TASKS_MAX: Final = 64
_OPEN_FILES_MAX: Final = 256
_BUFFER_BYTES: Final = 256 << 20
"""What mksquashfs keeps in memory beside its tables."""


def main(words: list[str]) -> int:
    """Run one of the two; return the exit status."""
    try:
        match words:
            case ["unpack", tree, uid, bytes_max, files_max, memory, seconds]:
                limits = LayerSize(unpacked_bytes=int(bytes_max), files=int(files_max))
                _limit(int(bytes_max), int(memory), int(seconds))
                _confine(Path(tree), int(uid), change_root=True)
                return _unpack(limits)
            case ["pack", tree, image, uid, bytes_max, memory, seconds, program]:
                _limit(int(bytes_max), int(memory), int(seconds))
                output = os.open(image, os.O_RDWR)
                _confine(Path(tree), int(uid), change_root=False)
                _pack(program, output)
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    sys.stderr.write(__doc__)
    return 2


def mksquashfs_arguments(program: str, output: int) -> list[str]:
    """Return the command that packs the working directory: the same bytes for the same files."""
    return [
        *(program, ".", f"/proc/self/fd/{output}", "-noappend", "-no-progress", "-quiet"),
        *("-comp", "zstd", "-Xcompression-level", "3", "-processors", str(PROCESSORS)),
        *("-mem", f"{_BUFFER_BYTES >> 20}M"),
        *("-all-root", "-no-xattrs", "-no-exports", "-mkfs-time", "0", "-all-time", "0"),
    ]


def _limit(bytes_max: int, memory: int, seconds: int) -> None:
    limits = {
        resource.RLIMIT_FSIZE: bytes_max,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _OPEN_FILES_MAX,
    }
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _confine(tree: Path, uid: int, *, change_root: bool) -> None:
    os.umask(0o022)
    os.chdir(tree)
    if os.getuid() == 0:
        mounts.unshare(mounts.CLONE_NEWNET | mounts.CLONE_NEWIPC | mounts.CLONE_NEWNS)
        if change_root:
            os.chroot(".")
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        resource.setrlimit(resource.RLIMIT_NPROC, (_TASKS_MAX, _TASKS_MAX))
    mounts.gain_no_privileges()
    mounts.die_with_parent()  # after the user changed, which clears it


def _unpack(limits: LayerSize) -> int:
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        size = unpack(sys.stdin.buffer, directory, limits)
    except MalformedMessage as error:
        sys.stdout.write(json.dumps({"refused": str(error)}))
    else:
        sys.stdout.write(json.dumps({"bytes": size.unpacked_bytes, "files": size.files}))
    return 0


def _pack(program: str, output: int) -> None:
    os.set_inheritable(output, True)
    # The empty environment: SOURCE_DATE_EPOCH is one of the things that mksquashfs heeds.
    os.execve(program, mksquashfs_arguments(program, output), {})  # noqa: S606 # no shell


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
