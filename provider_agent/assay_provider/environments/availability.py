"""Finds out whether this machine can serve environments, by packing and mounting a small one."""

import asyncio
import io
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from assay_node.protocol import cid as cids
from assay_node.protocol.environment import EnvironmentLayer
from assay_node.protocol.errors import AssayError, LocalError
from assay_provider.environments.cache import LayerCache
from assay_provider.environments.layer_tar import Entry, EntryKind, LayerWriter
from assay_provider.environments.packing import Packer
from assay_provider.runtime.sandbox import EnvironmentRoot

CACHE_FOLDER: Final = "environments"
"""In the provider's home."""
STATUS_FILE: Final = "environments.json"
TRIAL_S: Final = 60
"""It takes half a second; a machine that starts several providers at once takes longer."""


class MountingSandbox(Protocol):
    """What is asked of the sandbox."""

    def check_environments(self) -> None:
        """Raise `LocalError` where environments cannot be limited or mounted."""
        ...

    def mount(self, root: EnvironmentRoot) -> None:
        """Mount an environment; blocks."""
        ...

    def unmount(self, root: EnvironmentRoot) -> None:
        """Take it away again; blocks."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSupport:
    """What was found. `remark` says why environments are not served, and what to do."""

    served: bool
    remark: str = ""


def find_packer(uid: int) -> Packer:
    """Return what packs layers here; its children run as `uid`.

    Raises:
        LocalError: mksquashfs is not installed.
    """
    mksquashfs = shutil.which("mksquashfs") or shutil.which("mksquashfs", path="/usr/bin:/usr/sbin")
    if mksquashfs is None:
        raise LocalError("mksquashfs is not installed; install the package squashfs-tools")
    return Packer(mksquashfs=mksquashfs, uid=uid)


async def try_environments(
    sandbox: MountingSandbox, cache: LayerCache, uid: int
) -> EnvironmentSupport:
    """Pack a layer with one of everything, mount it, and say whether that went well."""
    try:
        sandbox.check_environments()
        packer = find_packer(uid)
        with cache.workplace(bytes_needed=0) as folder:
            tar = folder / "tar"
            layer = await asyncio.to_thread(_write_trial, tar)
            packed = await packer.pack(tar, folder, layer, seconds=TRIAL_S)
            root = EnvironmentRoot(digest="trial", layers=(packed.path,), variables={})
            await asyncio.to_thread(sandbox.mount, root)
            await asyncio.to_thread(sandbox.unmount, root)
    except AssayError as error:
        return EnvironmentSupport(served=False, remark=str(error))
    return EnvironmentSupport(served=True)


def write_status(home: Path, support: EnvironmentSupport) -> None:
    """Keep what counts for a provider where `assay provider status` finds it."""
    path = home / STATUS_FILE
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(asdict(support)) + "\n", encoding="utf-8")
    unfinished.rename(path)


def read_status(home: Path, *, quota_bytes: int) -> Mapping[str, Any] | None:
    """Return what counted at the newest start and what the cache holds; None before the first."""
    with suppress(OSError, ValueError, LocalError):
        found: dict[str, Any] = json.loads((home / STATUS_FILE).read_text(encoding="utf-8"))
        layers = LayerCache(home / CACHE_FOLDER, quota_bytes=quota_bytes).layers()
        return {
            **found,
            "layers": len(layers),
            "used_bytes": sum(layer.bytes for layer in layers),
            "quota_bytes": quota_bytes,
        }
    return None


def _write_trial(path: Path) -> EnvironmentLayer:
    tar = io.BytesIO()
    writer = LayerWriter(tar)
    writer.add(Entry(path="gone", kind=EntryKind.WHITEOUT))
    writer.add(Entry(path="folder", kind=EntryKind.DIRECTORY))
    writer.add(Entry(path="folder/file", kind=EntryKind.FILE, size=5), io.BytesIO(b"assay"))
    writer.add(Entry(path="folder/link", kind=EntryKind.LINK, target="file"))
    writer.finish()
    path.write_bytes(tar.getvalue())
    return EnvironmentLayer(
        cid=cids.of_block(cids.RAW, tar.getvalue()),
        tar_bytes=len(tar.getvalue()),
        unpacked_bytes=writer.size.unpacked_bytes,
        files=writer.size.files,
    )
