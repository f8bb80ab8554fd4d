"""The layers kept on this machine: one folder each, complete or not there, within a quota.

    layers/CID/image    squashfs, made here
    layers/CID/record   JSON: the image's digest and size, and what it was made of
    work/               what is being made; swept when a cache is opened

A folder appears by one rename of a finished one, so a crash leaves nothing half-written. The time
of the folder is that of its last use. A layer in use is held by a shared lock on its record, which
the kernel lets go of when its holder dies; the daemon and `assay env prune` respect each other's.

All methods block on the disk and may be called from any thread.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.environment import EnvironmentLayer
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Cid
from assay_node.protocol.units import size_to_text
from assay_provider.environments.packing import PackedLayer

logger = logging.getLogger(__name__)

DISK_MARGIN_BYTES: Final = 1 << 30
"""Left free on the disk: the daemon's database and other jobs' outputs are on it too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedLayer:
    """What the cache knows of a layer. `sha256` and `bytes` are the image's."""

    cid: str
    sha256: str
    bytes: int
    tar_bytes: int
    unpacked_bytes: int
    files: int


class LayerCache:
    """The cache in one folder. Several processes may open it; one of them, the daemon, adds."""

    def __init__(self, folder: Path, *, quota_bytes: int) -> None:
        """Open a cache, made when absent.

        Raises:
            LocalError: the folder cannot be used.
        """
        self.quota_bytes = quota_bytes
        self._layers = folder / "layers"
        self._work = folder / "work"
        self._mutex = threading.RLock()
        self._verified: dict[Cid, tuple[int, ...]] = {}
        self._locks: dict[Cid, int] = {}
        self._holds: dict[Cid, int] = {}
        try:
            for place in (folder, self._layers, self._work):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LocalError(f"environments cannot be kept in {folder}: {error}") from None

    def sweep(self) -> int:
        """Remove what a daemon that was killed left unfinished; return how many pieces."""
        leftovers = sorted(self._work.iterdir())
        for leftover in leftovers:
            shutil.rmtree(leftover)
        if leftovers:
            logger.warning("removed %d unfinished layers of a killed daemon", len(leftovers))
        return len(leftovers)

    @contextlib.contextmanager
    def workplace(self, bytes_needed: int) -> Iterator[Path]:
        """Yield a fresh folder to make a layer in, which is removed afterwards.

        Raises:
            LocalError: the disk has no room for it.
        """
        free = shutil.disk_usage(self._work).free
        if free < bytes_needed + DISK_MARGIN_BYTES:
            raise LocalError(
                f"unpacking a layer takes {size_to_text(bytes_needed)}, and the disk of "
                f"{self._work} has {size_to_text(free)} free; make room"
            )
        folder = Path(tempfile.mkdtemp(dir=self._work))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def take(self, cid: Cid) -> Path | None:
        """Return a layer's image, verified and held until `release`; None if it is not here.

        The whole file is read at the first use in this process, and again whenever it changed. An
        image that is damaged is removed, as if it had never been here.
        """
        with self._mutex:
            if not self._hold(cid):
                return None
            image = self._layers / cid / "image"
            if not self._is_sound(cid, image):
                logger.warning("the image of layer %s is damaged; making it anew", cid)
                self.release(cid)
                self._remove(cid)
                return None
            os.utime(self._layers / cid)
            return image

    def release(self, cid: Cid) -> None:
        """Let go of a layer once."""
        with self._mutex:
            self._holds[cid] -= 1
            if self._holds[cid] == 0:
                del self._holds[cid]
                os.close(self._locks.pop(cid))

    def adopt(self, layer: EnvironmentLayer, packed: PackedLayer) -> None:
        """Take a finished image in, after dropping as many unused layers as it needs room.

        Raises:
            LocalError: layers in use leave too little of the quota, or the disk refuses.
        """
        record = CachedLayer(
            cid=layer.cid,
            sha256=packed.sha256,
            bytes=packed.bytes,
            tar_bytes=layer.tar_bytes,
            unpacked_bytes=layer.unpacked_bytes,
            files=layer.files,
        )
        with self._mutex:
            self._make_room(packed.bytes)
            try:
                with tempfile.TemporaryDirectory(dir=self._work) as parent:
                    finished = Path(parent, "finished")
                    finished.mkdir(mode=0o700)
                    packed.path.rename(finished / "image")
                    _write_durably(finished / "record", json.dumps(asdict(record)) + "\n")
                    if not (self._layers / layer.cid).exists():
                        finished.rename(self._layers / layer.cid)
                _sync(self._layers)
            except OSError as error:
                raise LocalError(f"layer {layer.cid} cannot be kept: {error}") from None
            # Its digest was taken from what was just written; only a change has to be looked for.
            self._verified[layer.cid] = _fingerprint(self._layers / layer.cid / "image")

    def layers(self) -> tuple[CachedLayer, ...]:
        """Return what is here, the one unused for longest first."""
        found = []
        for folder in self._layers.iterdir():
            with contextlib.suppress(OSError, ValueError, TypeError):
                record = CachedLayer(**json.loads((folder / "record").read_text("utf-8")))
                found.append((folder.stat().st_mtime_ns, record.cid, record))
        return tuple(record for _, _, record in sorted(found, key=lambda item: item[:2]))

    def drop_unused(self, cids: Sequence[Cid] | None = None) -> tuple[CachedLayer, ...]:
        """Remove these layers, or all, except those in use; return what went."""
        with self._mutex:
            chosen = [one for one in self.layers() if cids is None or one.cid in cids]
            return tuple(one for one in chosen if self._drop(Cid(one.cid)))

    def _make_room(self, needed: int) -> None:
        layers = self.layers()
        held = sum(layer.bytes for layer in layers if layer.cid in self._locks)
        if held + needed > self.quota_bytes:
            raise LocalError(
                f"a layer of {size_to_text(needed)} does not fit: layers in use take "
                f"{size_to_text(held)} of provider.environments.quota_bytes, "
                f"{size_to_text(self.quota_bytes)}"
            )
        used = sum(layer.bytes for layer in layers)
        for layer in layers:
            if used + needed <= self.quota_bytes:
                return
            if self._drop(Cid(layer.cid)):
                logger.info("dropped layer %s to make room", layer.cid)
                used -= layer.bytes

    def _hold(self, cid: Cid) -> bool:
        if cid not in self._locks:
            try:
                record = os.open(self._layers / cid / "record", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return False
            try:
                fcntl.flock(record, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:  # somebody removes it right now
                os.close(record)
                return False
            self._locks[cid] = record
        self._holds[cid] = self._holds.get(cid, 0) + 1
        return True

    def _drop(self, cid: Cid) -> bool:
        try:
            with (self._layers / cid / "record").open("rb") as record:
                fcntl.flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._remove(cid)
        except OSError:  # held, by this process or another one, or gone meanwhile
            return False
        return True

    def _remove(self, cid: Cid) -> None:
        """Remove a layer, at once for everybody who looks, then from the disk."""
        self._verified.pop(cid, None)
        with tempfile.TemporaryDirectory(dir=self._work, ignore_cleanup_errors=True) as parent:
            (self._layers / cid).rename(Path(parent, "removed"))

    def _is_sound(self, cid: Cid, image: Path) -> bool:
        try:
            fingerprint = _fingerprint(image)
            if self._verified.get(cid) == fingerprint:
                return True
            record = json.loads((image.parent / "record").read_text("utf-8"))
            with image.open("rb") as file:
                sound: bool = hashlib.file_digest(file, "sha256").hexdigest() == record["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if sound:
            self._verified[cid] = fingerprint
        return sound


def _fingerprint(image: Path) -> tuple[int, ...]:
    status = image.stat()
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
