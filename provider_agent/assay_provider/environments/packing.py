"""Turns a layer's tar into a squashfs image of this machine's own making.

Both steps run in children that have lost every privilege first (see `confined`), because every byte
and name of a layer is a stranger's. Only what mksquashfs wrote here is ever mounted.
"""

import asyncio
import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay_node.protocol.environment import EnvironmentLayer
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.units import GIB, MIB

MEMORY_BYTES: Final = 4 * GIB
"""Address space of a child: mksquashfs holds a table of all files, and stacks of its threads."""

_IMAGE_SLACK_BYTES: Final = 16 * MIB
_IMAGE_BYTES_PER_FILE: Final = 512
"""What an image needs beside the content, which hardly ever is larger compressed."""
_COMPLAINT_CHARACTERS_MAX: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLayer:
    """An image ready to be mounted. `sha256` is that of its file, in hexadecimal."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Packer:
    """Unpacks and packs layers. `uid` is the user of the children when the daemon is root."""

    mksquashfs: str
    uid: int

    async def pack(
        self, tar: Path, folder: Path, layer: EnvironmentLayer, *, seconds: int
    ) -> PackedLayer:
        """Make `folder`/image of a layer's tar; `folder` exists, and is the caller's to remove.

        Raises:
            MalformedMessage: the tar is not what the manifest says, or no layer at all.
            LocalError: this machine could not do it, or not within `seconds`.
        """
        tree, image = folder / "tree", folder / "image"
        try:
            async with asyncio.timeout(seconds):
                await asyncio.to_thread(self._make_places, tree, image)
                await self._unpack(tar, tree, layer, seconds)
                await self._squash(tree, image, layer, seconds)
                await asyncio.to_thread(shutil.rmtree, tree)
                return await asyncio.to_thread(_take_over, image)
        except TimeoutError:
            raise LocalError(
                f"layer {layer.cid} was not unpacked and packed within {seconds} s; raise "
                "provider.environments.prepare_s_max if this machine is slow"
            ) from None
        except OSError as error:
            raise LocalError(f"layer {layer.cid} cannot be packed: {error}") from error

    def _make_places(self, tree: Path, image: Path) -> None:
        tree.mkdir(mode=0o755)  # the mode of the image's root; `folder` keeps others out
        image.touch(mode=0o600)
        if os.getuid() == 0:
            for place in (tree, image):
                os.chown(place, self.uid, self.uid)

    async def _unpack(self, tar: Path, tree: Path, layer: EnvironmentLayer, seconds: int) -> None:
        words = (str(tree), str(self.uid), str(layer.unpacked_bytes), str(layer.files))
        said = await _run_confined(tar, "unpack", *words, str(MEMORY_BYTES), str(seconds))
        try:
            found: dict[str, Any] = json.loads(said)
        except ValueError:
            raise LocalError(f"layer {layer.cid} cannot be unpacked: it ended early") from None
        if "refused" in found:
            raise MalformedMessage(f"layer {layer.cid} is refused: {found['refused']}")
        if (found["bytes"], found["files"]) != (layer.unpacked_bytes, layer.files):
            raise MalformedMessage(
                f"layer {layer.cid} holds {found['files']} entries and {found['bytes']} bytes; its "
                f"environment says {layer.files} and {layer.unpacked_bytes}"
            )

    async def _squash(self, tree: Path, image: Path, layer: EnvironmentLayer, seconds: int) -> None:
        most = layer.unpacked_bytes + layer.files * _IMAGE_BYTES_PER_FILE + _IMAGE_SLACK_BYTES
        words = (str(tree), str(image), str(self.uid), str(most), str(MEMORY_BYTES), str(seconds))
        await _run_confined(Path(os.devnull), "pack", *words, self.mksquashfs)


async def _run_confined(stdin: Path, *words: str) -> bytes:
    """Run a confined child to its end and return what it wrote; cancelling kills it.

    Raises:
        LocalError: it failed.
    """
    with stdin.open("rb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "assay_provider.environments.confined", *words),
            stdin=file,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            cwd="/",
            start_new_session=True,
        )
    try:
        said, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = complaint.decode("ascii", "backslashreplace").strip()[-_COMPLAINT_CHARACTERS_MAX:]
        shown = "".join(c if c.isprintable() else " " for c in text)
        raise LocalError(f"{words[0]}ing a layer failed: {shown or process.returncode}")
    return said


def _take_over(image: Path) -> PackedLayer:
    """Make the image ours alone, durable, and known by its digest."""
    if os.getuid() == 0:
        os.chown(image, 0, 0)
    image.chmod(0o400)
    with image.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return PackedLayer(path=image, sha256=digest, bytes=image.stat().st_size)
