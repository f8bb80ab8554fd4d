"""Makes an environment and puts it into the artifact store, pinned, under its manifest's CID."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from assay_node.ports import ArtifactLimits, Artifacts
from assay_node.protocol import cid as cids
from assay_node.protocol import environment
from assay_node.protocol.environment import (
    NAME_CHARACTERS_MAX,
    EnvironmentLayer,
    EnvironmentManifest,
)
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Cid
from assay_provider.environments.building.bytecode import compile_python
from assay_provider.environments.building.host_base import find_interpreter, host_base
from assay_provider.environments.building.merged import Merged
from assay_provider.environments.building.oci_archive import ImageArchive, image_layer
from assay_provider.environments.building.requirements import (
    FOLDER_INSIDE,
    Target,
    download_wheels,
    packages_tree,
)
from assay_provider.environments.building.tree import Tree, tree_of_folder
from assay_provider.runtime.environment import PATH_INSIDE, cpu_variables

OWNER_PREFIX: Final = "environment "
"""Environments are pinned under this and their CID."""
_LAYER_BYTES_MAX: Final = 1 << 40
"""A layer's own limits are its disk's; whoever runs it has others."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An environment that was made. `left_out` are variables of the image it may not set."""

    cid: Cid
    manifest: EnvironmentManifest
    left_out: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Builder:
    """Makes environments in `scratch`, a folder on a disk with room for a layer.

    `python` is the interpreter that stands for "this machine's Python"; `machine` is what is built
    for, as uname(2) names it; `tell` is told in words what is under way.
    """

    artifacts: Artifacts
    scratch: Path
    python: str
    machine: str
    tell: Tell = lambda _: None
    _owner: str = field(default_factory=lambda: f"environment-build {uuid.uuid4().hex}")
    _layers: list[EnvironmentLayer] = field(default_factory=list)
    _merged: Merged = field(default_factory=Merged)

    async def from_requirements(
        self,
        requirements: Path,
        *,
        name: str,
        python: str | None = None,
        base: Path | None = None,
        compiled: bool = False,
    ) -> Built:
        """Make an environment of a requirements file above a base.

        Args:
            requirements: what pip is asked for.
            name: for people.
            python: a version such as 3.11; None takes `self.python`, or what the base has.
            base: an image archive or a folder; None takes this machine's Python.
            compiled: whether Python files go along compiled; only for this machine's Python.

        Raises:
            LocalError: with what to do about it.
        """
        async with self._building():
            compiler = None
            if base is None:
                interpreter = await asyncio.to_thread(find_interpreter, python, self.python)
                self.tell(f"packing Python {interpreter.version} of this machine")
                tree = await asyncio.to_thread(host_base, interpreter)
                compiler = interpreter.program if compiled else None
                await self._add_compiled(tree, compiler, "base")
                variables: Mapping[str, str] = {}
                fetcher = str(interpreter.program) if python else self.python
                target = self._target(python, variables, foreign=False)
            else:
                variables = await self._add_base(base)
                fetcher = self.python
                target = await asyncio.to_thread(self._target, python, variables, foreign=True)
            self.tell(f"fetching the wheels of {requirements.name}")
            folder = self.scratch / "wheels"
            folder.mkdir()
            wheels = await download_wheels(requirements, fetcher, target, folder)
            self.tell(f"packing {len(wheels)} wheels")
            tree = await asyncio.to_thread(packages_tree, wheels, target)
            await self._add_compiled(tree, compiler, "packages")
            path = f"/{FOLDER_INSIDE}/bin:{variables.get('PATH', PATH_INSIDE)}"
            return await self._finish(name, {**variables, "PATH": path}, target.version)

    async def from_image(self, archive: Path, *, name: str | None) -> Built:
        """Make an environment of an image archive; its layers stay layers.

        Raises:
            LocalError: with what to do about it.
        """
        async with self._building():
            image_name, variables = await self._add_image(archive)
            path = variables.get("PATH", PATH_INSIDE)
            found = self._merged.find_python(None, path)
            version = found[1] if found else None
            return await self._finish(name or image_name or archive.stem, variables, version)

    async def from_folder(self, folder: Path, *, name: str) -> Built:
        """Make an environment of one layer out of an unpacked root file system.

        Raises:
            LocalError: with what to do about it.
        """
        async with self._building():
            await self._add(await asyncio.to_thread(tree_of_folder, folder))
            found = self._merged.find_python(None, PATH_INSIDE)
            return await self._finish(name, {}, found[1] if found else None)

    async def _add_compiled(self, tree: Tree, compiler: Path | None, name: str) -> None:
        if compiler is not None:
            self.tell(f"compiling the Python files of the {name}")
            folder = self.scratch / f"compiled-{name}"
            folder.mkdir()
            await compile_python(tree, compiler, folder)
        await self._add(tree)

    async def _add_base(self, base: Path) -> Mapping[str, str]:
        if await asyncio.to_thread(base.is_dir):
            self.tell(f"packing {base}")
            await self._add(await asyncio.to_thread(tree_of_folder, base))
            return {}
        return (await self._add_image(base))[1]

    async def _add_image(self, archive: Path) -> tuple[str | None, Mapping[str, str]]:
        with await asyncio.to_thread(ImageArchive, archive) as opened:
            image = await asyncio.to_thread(opened.image, self.machine)
            if image.machine != self.machine:
                raise LocalError(
                    f"{archive} is for {image.machine}; this machine's jobs are for {self.machine}"
                )
            for number in range(len(image.layers)):
                self.tell(f"layer {number + 1} of {len(image.layers)} of {archive.name}")
                path = await asyncio.to_thread(opened.extract, image, number, self.scratch)
                await self._add(await asyncio.to_thread(image_layer, path, self._merged))
        return image.name, image.variables

    def _target(
        self, version: str | None, variables: Mapping[str, str], *, foreign: bool
    ) -> Target:
        path = variables.get("PATH", PATH_INSIDE)
        found = self._merged.find_python(version, path)
        if found is None:
            wanted = f"Python {version}" if version else "Python 3"
            raise LocalError(f"the base has no {wanted} in its PATH, {path}")
        glibc = self._merged.glibc() if foreign else None
        if foreign and glibc is None:
            raise LocalError("the base does not have the GNU C library, which wheels are made for")
        return Target(program=found[0], version=found[1], glibc=glibc, machine=self.machine)

    async def _add(self, tree: Tree) -> None:
        """Write a layer, store and hold it; an empty one is passed over."""
        if not tree.nodes and not tree.hidden:
            return
        path = self.scratch / "layer.tar"
        size = await asyncio.to_thread(tree.write, path)
        limits = ArtifactLimits(bytes_max=_LAYER_BYTES_MAX)
        cid = await self.artifacts.add(path, limits=limits)
        await self.artifacts.pin(cid, owner=self._owner)
        layer = EnvironmentLayer(
            cid=cid,
            tar_bytes=path.stat().st_size,
            unpacked_bytes=size.unpacked_bytes,
            files=size.files,
        )
        path.unlink()
        # A layer that comes again stands where it came last: it hides what is in between.
        self._layers = [one for one in self._layers if one.cid != cid] + [layer]
        self._merged.apply(tree)

    async def _finish(self, name: str, variables: Mapping[str, str], python: str | None) -> Built:
        pinned = cpu_variables(self.machine)
        wanted = {"PATH": PATH_INSIDE, **pinned, **variables}
        kept = {k: v for k, v in sorted(wanted.items()) if environment.is_variable_allowed(k)}
        try:
            manifest = EnvironmentManifest(
                name=name[:NAME_CHARACTERS_MAX],
                architecture=self.machine,
                layers=tuple(self._layers),
                variables=kept,
                python=python,
            )
            cid, block = environment.encode(manifest)
        except MalformedMessage as error:
            raise LocalError(f"this cannot be an environment: {error}") from None
        await self.artifacts.add_bytes(block, codec=cids.DAG_CBOR)
        await pin(self.artifacts, cid, manifest)
        left_out = tuple(sorted(wanted.keys() - kept.keys()))
        return Built(cid=cid, manifest=manifest, left_out=left_out)

    @asynccontextmanager
    async def _building(self) -> AsyncIterator[Self]:
        try:
            yield self
        finally:
            await self.artifacts.unpin(owner=self._owner)


async def pin(artifacts: Artifacts, cid: Cid, manifest: EnvironmentManifest) -> None:
    """Keep an environment whose parts are all here, under its own name."""
    owner = f"{OWNER_PREFIX}{cid}"
    for part in (cid, *(layer.cid for layer in manifest.layers)):
        await artifacts.pin(part, owner=owner)
