"""Images as other tools write them into one file: OCI archives and those of `docker save`.

    podman save --format oci-archive -o image.tar IMAGE
    docker save -o image.tar IMAGE

Every part is checked against the digest that names it. A layer becomes a tree in the form of
Assay's layers: modes say only whether a file is executable, hard links become copies, links are
relative, and "opaque" folders hide their lower content name by name. What a machine cannot give to
a job (devices, set-id bits, owners, extended attributes) is left out.

Sources: OCI Image Format 1.1 (layout, index, manifest, config, layer); Docker image spec 1.2.
"""

import gzip
import hashlib
import json
import posixpath
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, Self, cast

from assay_node.protocol.errors import LocalError
from assay_provider.environments.building.merged import Merged
from assay_provider.environments.building.tree import RUNTIME_FOLDERS, Tree, inner_path
from assay_provider.environments.layer_tar import WHITEOUT_PREFIX, EntryKind

JSON_BYTES_MAX: Final = 4 << 20
"""Manifests and configs are kilobytes; the specification's own limit for one is 4 MiB."""
OPAQUE: Final = f"{WHITEOUT_PREFIX}{WHITEOUT_PREFIX}.opq"
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64", "386": "i686"}
"""Architectures as Go names them, and as uname(2) does."""

_REF_NAME: Final = "org.opencontainers.image.ref.name"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_BROKEN: Final = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A part of an archive: the file it stands in, and its digest if the archive names one."""

    name: str
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image's layers, the lowest first, and what its config says."""

    name: str | None
    machine: str
    variables: Mapping[str, str]
    layers: tuple[Blob, ...]
    diff_ids: tuple[str, ...]
    """The digests of the layers when they are not compressed."""


class ImageArchive:
    """One archive, open. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            LocalError: it is not a tar archive.
        """
        try:
            self._tar = tarfile.open(path)  # noqa: SIM115 # closed by __exit__
        except _BROKEN:
            raise LocalError(f"{path} is not an image archive, but something else") from None
        except OSError as error:
            raise LocalError(f"{path} cannot be read: {error.strerror}") from None
        self._path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()

    def image(self, machine: str) -> Image:
        """Return the image for a machine.

        Raises:
            LocalError: there is none, several, or the archive is damaged.
        """
        try:
            names = self._names()
            if "index.json" in names:
                return self._oci_image(machine)
            if "manifest.json" in names:
                return self._docker_image()
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise LocalError(f"{self._path} is not an image archive: {error!r}") from None
        raise LocalError(f"{self._path} is not an image archive: it has no index and no manifest")

    def extract(self, image: Image, number: int, into: Path) -> Path:
        """Write one layer, decompressed and checked, into a folder; return its path.

        Raises:
            LocalError: its digest is another one, or its compression is unknown.
        """
        blob, path = image.layers[number], into / f"layer-{number}"
        try:
            with self._open(blob.name) as file, path.open("xb") as out:
                shutil.copyfileobj(_checked(file, blob), out)
            _decompress(path)
        except (OSError, *_BROKEN) as error:
            raise LocalError(f"layer {number + 1} of {self._path} is damaged: {error}") from None
        wanted = image.diff_ids[number]
        with path.open("rb") as plain:
            if f"sha256:{hashlib.file_digest(plain, 'sha256').hexdigest()}" != wanted:
                raise LocalError(f"layer {number + 1} of {self._path} is not what its image says")
        return path

    def _oci_image(self, machine: str) -> Image:
        manifest, name = self._manifest(self._json(Blob(name="index.json", digest=None)), machine)
        config = self._json(_blob(manifest["config"]["digest"]))
        layers = tuple(_blob(layer["digest"]) for layer in manifest["layers"])
        return _image(config, layers, name)

    def _manifest(self, index: Any, machine: str) -> tuple[Any, str | None]:
        """Return the manifest for a machine; an index may name others."""
        fitting = [one for one in index["manifests"] if _fits(one, machine)]
        if len(fitting) != 1:
            raise LocalError(
                f"{self._path} has {len(fitting)} images for {machine}; save one image"
            )
        document = self._json(_blob(fitting[0]["digest"]))
        name = (fitting[0].get("annotations") or {}).get(_REF_NAME)
        if "manifests" in document:
            manifest, inner = self._manifest(document, machine)
            return manifest, inner or name
        return document, name

    def _docker_image(self) -> Image:
        entries = self._json(Blob(name="manifest.json", digest=None))
        if len(entries) != 1:
            raise LocalError(f"{self._path} has {len(entries)} images; save one image")
        (entry,) = entries
        config = self._json(Blob(name=entry["Config"], digest=None))
        layers = tuple(Blob(name=name, digest=None) for name in entry["Layers"])
        names = entry.get("RepoTags") or [None]
        return _image(config, layers, names[0])

    def _names(self) -> set[str]:
        try:
            return {posixpath.normpath(name) for name in self._tar.getnames()}
        except _BROKEN as error:
            raise LocalError(f"{self._path} is damaged: {error}") from None

    def _json(self, blob: Blob) -> Any:
        with self._open(blob.name) as file:
            data = _checked(file, blob).read(JSON_BYTES_MAX + 1)
        if len(data) > JSON_BYTES_MAX:
            raise LocalError(f"{blob.name} in {self._path} is larger than {JSON_BYTES_MAX} bytes")
        if blob.digest and f"sha256:{hashlib.sha256(data).hexdigest()}" != blob.digest:
            raise LocalError(f"{blob.name} in {self._path} does not have the digest it should")
        return json.loads(data)

    def _open(self, name: str) -> IO[bytes]:
        for spelling in (name, f"./{name}"):
            try:
                member = self._tar.getmember(spelling)
            except KeyError:
                continue
            # docker's older archives link equal layers to each other
            file = self._tar.extractfile(member)
            if file is not None:
                return file
        raise LocalError(f"{self._path} lacks {name[:80]}")


def image_layer(path: Path, below: Merged) -> Tree:
    """Return the tree of a plain layer tar, on top of what is below; its content stays in `path`.

    Raises:
        LocalError: it is damaged, or holds what cannot be in an environment.
    """
    tree, opaque = Tree(), []
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                folder = _add_member(tree, path, member, below)
                if folder is not None:
                    opaque.append(folder)
    except (OSError, *_BROKEN) as error:
        raise LocalError(f"a layer is damaged: {error}") from None
    _settle_whiteouts(tree, opaque, below)
    return tree


def _add_member(tree: Tree, path: Path, member: tarfile.TarInfo, below: Merged) -> str | None:
    """Add one member; return the folder that it makes opaque, if it does."""
    place = inner_path(member.name)
    if not place or place.split("/")[0] in RUNTIME_FOLDERS:
        if place in RUNTIME_FOLDERS and member.isdir():
            tree.add_folder(place)
        return None
    folder, name = posixpath.split(place)
    folder = _folder_for(folder, tree, below)
    place = f"{folder}/{name}" if folder else name
    if name == OPAQUE:
        if folder:
            tree.add_folder(folder)
        return folder
    if name.startswith(WHITEOUT_PREFIX):
        tree.hide(inner_path(f"{folder}/{name.removeprefix(WHITEOUT_PREFIX)}"))
    elif member.isdir():
        tree.add_folder(place)
    elif member.issym():
        tree.add_link(place, member.linkname)
    elif member.islnk():
        _add_hard_link(tree, place, inner_path(member.linkname))
    elif member.isreg():
        tree.add_file(
            place,
            size=member.size,
            content=lambda: _member(path, member),
            executable=bool(member.mode & 0o111),
        )
    return None


def _folder_for(folder: str, tree: Tree, below: Merged) -> str:
    """Return the folder that a member goes to: links of lower layers are followed.

    A layer that says itself that it has such a folder means to replace the link.
    """
    if not folder or folder in tree.nodes:
        return folder
    parent, name = posixpath.split(folder)
    place = posixpath.join(_folder_for(parent, tree, below), name)
    node = below.nodes.get(place)
    if place in tree.nodes or node is None or node.kind is not EntryKind.LINK:
        return place
    return below.resolve(place)


def _add_hard_link(tree: Tree, place: str, target: str) -> None:
    node = tree.nodes.get(target)
    if node is None or node.open is None:
        raise LocalError(f"{place} is a hard link to {target}, which its layer does not have")
    tree.add_file(place, size=node.size, content=node.open, executable=node.executable)


def _settle_whiteouts(tree: Tree, opaque: list[str], below: Merged) -> None:
    """Keep the whiteouts that hide something, and put names in place of opaque folders."""
    replaced = [path for path in tree.hidden if path in tree.nodes]
    tree.hidden = {path for path in tree.hidden if path in below.nodes} - set(replaced)
    for path in (*opaque, *replaced):
        node = tree.nodes.get(path)
        if path and (node is None or node.kind is not EntryKind.DIRECTORY):
            continue
        for name in below.below(path):
            if name not in tree.nodes:
                tree.hide(name)
            elif tree.nodes[name].kind is EntryKind.DIRECTORY:
                _settle_whiteouts_below(tree, name, below)


def _settle_whiteouts_below(tree: Tree, folder: str, below: Merged) -> None:
    for name in below.below(folder):
        if name not in tree.nodes:
            tree.hide(name)
        elif tree.nodes[name].kind is EntryKind.DIRECTORY:
            _settle_whiteouts_below(tree, name, below)


def _member(path: Path, member: tarfile.TarInfo) -> BinaryIO:
    """Open one file of a tar; the archive stays open as long as the file."""
    tar = tarfile.open(path, mode="r:")  # noqa: SIM115 # closed with the member
    file = tar.extractfile(member)
    assert file is not None, "only plain files are opened"
    return cast("BinaryIO", _ClosingBoth(file, tar))


class _ClosingBoth:
    def __init__(self, file: IO[bytes], tar: tarfile.TarFile) -> None:
        self._file = file
        self._tar = tar

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._tar.close()

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


class _Hashed:
    """Reads a blob and refuses its end if the digest is another one."""

    def __init__(self, file: IO[bytes], digest: str) -> None:
        self._file = file
        self._wanted = digest
        self._sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._sha256.update(data)
        if not data and f"sha256:{self._sha256.hexdigest()}" != self._wanted:
            raise LocalError(f"the blob {self._wanted[:80]} of the image is damaged")
        return data


def _checked(file: IO[bytes], blob: Blob) -> IO[bytes]:
    return file if blob.digest is None else cast("IO[bytes]", _Hashed(file, blob.digest))


def _decompress(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start == _ZSTD:
        raise LocalError(
            "the image's layers are compressed with zstd; save it with gzip or plain, say by "
            "`skopeo copy` to a docker-archive"
        )
    if not start.startswith(_GZIP):
        return
    packed = path.with_suffix(".gz")
    path.rename(packed)
    with gzip.open(packed, "rb") as source, path.open("xb") as out:
        shutil.copyfileobj(source, out)
    packed.unlink()


def _blob(digest: str) -> Blob:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or not value.isalnum():
        raise LocalError(f"the image names a part by {digest[:80]!a}, which is not a SHA-256")
    return Blob(name=f"blobs/sha256/{value}", digest=digest)


def _fits(descriptor: Any, machine: str) -> bool:
    """Whether an index's entry may be the image; one without a platform may."""
    platform = descriptor.get("platform")
    if platform is None:
        return True
    return platform.get("os") == "linux" and MACHINES.get(platform["architecture"]) == machine


def _image(config: Any, layers: tuple[Blob, ...], name: str | None) -> Image:
    architecture, diff_ids = config["architecture"], tuple(config["rootfs"]["diff_ids"])
    if len(diff_ids) != len(layers):
        raise LocalError("the image has another number of layers than its config says")
    return Image(
        name=name,
        machine=MACHINES.get(architecture, architecture),
        variables=dict(_variables((config.get("config") or {}).get("Env") or [])),
        layers=layers,
        diff_ids=diff_ids,
    )


def _variables(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.partition("=")
        yield name, value
