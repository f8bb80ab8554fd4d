"""From blocks to files and directories on disk.

Everything is written below a temporary sibling of the destination, which is renamed at the end: a
destination is complete or absent, and a killed process leaves only `.assay-*.partial` beside it.
Names were checked when the directory node was decoded, and every file and folder is created anew:
nothing that lies outside can be reached or replaced.
"""

import os
import secrets
import shutil
from pathlib import Path

from assay_node.artifacts.blockstore import Blockstore
from assay_node.artifacts.reader import measure, read_chunks, read_node
from assay_node.artifacts.unixfs import Directory
from assay_node.artifacts.worker_threads import Stop
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Cid

FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


def export(blocks: Blockstore, cid: Cid, destination: Path, stop: Stop) -> None:
    """Write an artifact to `destination`, which must not exist; its parent must.

    Files get mode 0644, directories 0755. They are not synced to disk.

    Raises:
        LocalError: the destination exists, its parent does not, or the artifact is not whole here.
        MalformedMessage, Refused: it is not a well-formed artifact of a sane size.
        OSError: the disk refuses.
    """
    if not destination.parent.is_dir():
        raise LocalError(f"{destination.parent} is not a directory: make it first")
    if os.path.lexists(destination):
        raise _exists(destination)
    measure(blocks, cid, stop)
    partial = destination.with_name(f".assay-{secrets.token_hex(8)}.partial")
    try:
        _write(blocks, cid, partial, stop)
        _rename_anew(partial, destination)
    except FileExistsError as error:
        if error.filename == os.fspath(destination):
            raise _exists(destination) from None
        raise
    finally:
        _remove(partial)


def _write(blocks: Blockstore, cid: Cid, path: Path, stop: Stop) -> None:
    node = read_node(blocks, cid)
    if isinstance(node, Directory):
        path.mkdir()
        for entry in node.entries:
            _write(blocks, entry.cid, path / entry.name, stop)
        path.chmod(DIRECTORY_MODE)
        return
    with path.open("xb", buffering=0) as file:
        for chunk in read_chunks(blocks, cid):
            stop.check()
            _write_all(file.fileno(), chunk)
        os.fchmod(file.fileno(), FILE_MODE)


def _rename_anew(partial: Path, destination: Path) -> None:
    """Rename without replacing: claim the name with something empty that the rename may replace."""
    if partial.is_dir():
        destination.mkdir()
    else:
        os.close(os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    partial.rename(destination)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _exists(destination: Path) -> LocalError:
    return LocalError(f"{destination} already exists: choose a path that does not")
