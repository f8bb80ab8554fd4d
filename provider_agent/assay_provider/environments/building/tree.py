"""One layer while it is being made: entries by path, in memory, with their content elsewhere."""

import io
import os
import posixpath
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_provider.environments.layer_tar import (
    Entry,
    EntryKind,
    LayerSize,
    LayerWriter,
    check_path,
    order_key,
    tar_path,
)

RUNTIME_FOLDERS: Final = ("dev", "input", "output", "proc", "run", "sys", "tmp")
"""What the machine that runs a job fills; whatever a layer had in them nobody would see."""

Opener = Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What stands under one path. `open` gives a file's content."""

    kind: EntryKind
    executable: bool = False
    size: int = 0
    target: str = ""
    open: Opener | None = None


FOLDER: Final = Node(kind=EntryKind.DIRECTORY)


@dataclass(slots=True)
class Tree:
    """A layer's entries. Later ones replace earlier ones, as unpacking one over the other does."""

    nodes: dict[str, Node] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    """Paths of lower layers that are gone."""

    def add_folder(self, path: str) -> None:
        """Add a directory and those above it."""
        self._put(path, FOLDER)

    def add_file(self, path: str, *, size: int, content: Opener, executable: bool = False) -> None:
        """Add a file whose content is read when the layer is written."""
        node = Node(kind=EntryKind.FILE, size=size, open=content, executable=executable)
        self._put(path, node)

    def add_bytes(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """Add a small file."""
        self.add_file(path, size=len(data), content=lambda: io.BytesIO(data), executable=executable)

    def add_copy(self, path: str, source: Path) -> None:
        """Add a file of this machine, links followed.

        Raises:
            LocalError: it is not a file that can be read.
        """
        try:
            status = source.stat()
        except OSError as error:
            raise LocalError(f"{source} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise LocalError(f"{source} is not a file")
        executable = bool(status.st_mode & 0o111)
        self.add_file(
            path, size=status.st_size, content=lambda: source.open("rb"), executable=executable
        )

    def add_link(self, path: str, target: str) -> None:
        """Add a symbolic link; an absolute target becomes the relative one that means the same."""
        self._put(path, Node(kind=EntryKind.LINK, target=inner_target(path, target)))

    def hide(self, path: str) -> None:
        """Make a path of the layers below disappear."""
        self.hidden.add(path)

    def drop(self, path: str) -> None:
        """Take out a path and all below it."""
        below = path + "/"
        for name in [one for one in self.nodes if one == path or one.startswith(below)]:
            del self.nodes[name]

    def entries(self) -> Iterator[tuple[Entry, Opener | None]]:
        """Yield the layer's entries in the order of its form."""
        entries = [
            (
                Entry(
                    path=path,
                    kind=node.kind,
                    executable=node.executable,
                    size=node.size,
                    target=node.target,
                ),
                node.open,
            )
            for path, node in self.nodes.items()
        ]
        entries += [(Entry(path=path, kind=EntryKind.WHITEOUT), None) for path in self.hidden]
        yield from sorted(entries, key=lambda item: order_key(tar_path(item[0])))

    def write(self, path: Path) -> LayerSize:
        """Write the layer's tar to a new file.

        Raises:
            LocalError: a name or a link cannot be in a layer, or a file changed meanwhile.
        """
        self.hidden = {path for path in self.hidden if not self.hidden & set(_above(path))}
        for hidden in sorted(self.hidden):
            self._add_parents(hidden)
        assert not self.hidden & self.nodes.keys(), "a name is there or hidden"
        with path.open("xb") as file:
            writer = LayerWriter(file)
            for entry, content in self.entries():
                try:
                    if content is None:
                        writer.add(entry)
                    else:
                        with content() as source:
                            writer.add(entry, source)
                except (MalformedMessage, EOFError) as error:
                    raise LocalError(f"this cannot be made a layer: {error}") from None
                except OSError as error:
                    raise LocalError(f"{entry.path} cannot be read: {error.strerror}") from None
            writer.finish()
        return writer.size

    def _put(self, path: str, node: Node) -> None:
        self._add_parents(path)
        old = self.nodes.get(path)
        if old is not None and old.kind is EntryKind.DIRECTORY:
            if node.kind is EntryKind.DIRECTORY:
                return
            self.drop(path)
        self.nodes[path] = node

    def _add_parents(self, path: str) -> None:
        missing = []
        parent = posixpath.dirname(path)
        while parent and parent not in self.nodes:
            missing.append(parent)
            parent = posixpath.dirname(parent)
        if parent and self.nodes[parent].kind is not EntryKind.DIRECTORY:
            raise LocalError(f"{path} cannot be made: {parent} is not a directory")
        self.nodes.update(dict.fromkeys(reversed(missing), FOLDER))


def _above(path: str) -> Iterator[str]:
    """Yield the folders that a path lies in, the nearest first."""
    while path := posixpath.dirname(path):
        yield path


def inner_path(name: str) -> str:
    """Return a name in an archive or folder as a path in a layer; "" is the root itself.

    Raises:
        LocalError: it leads out, or cannot be a layer's.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts:
        return ""
    path = "/".join(parts)
    try:
        check_path(path)
    except MalformedMessage as error:
        raise LocalError(f"this cannot be in an environment: {error}") from None
    return path


def inner_target(path: str, target: str) -> str:
    """Return the target of the link at `path` in the form of layers: relative, and inside.

    What climbs above the root stays at the root, as it does when the root is one's own.
    """
    folder = posixpath.dirname(path)
    meant = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
    return posixpath.relpath("/" + meant, "/" + folder)


def tree_of_folder(root: Path) -> Tree:
    """Return the layer that a folder of this machine makes, such as an unpacked root file system.

    Devices, pipes and sockets are left out, as is what the machine that runs a job fills.

    Raises:
        LocalError: it cannot be read.
    """
    if not root.is_dir():
        raise LocalError(f"{root} is not a folder")
    tree = Tree()
    _add_folder_content(tree, root, "")
    return tree


def _add_folder_content(tree: Tree, folder: Path, prefix: str) -> None:
    try:
        found = sorted(os.scandir(folder), key=lambda one: os.fsencode(one.name))
    except OSError as error:
        raise LocalError(f"{folder} cannot be read: {error.strerror}") from None
    for one in found:
        path = inner_path(f"{prefix}{one.name}")
        if one.is_symlink():
            tree.add_link(path, str(Path(one.path).readlink()))
        elif one.is_dir(follow_symlinks=False):
            tree.add_folder(path)
            if path not in RUNTIME_FOLDERS:
                _add_folder_content(tree, Path(one.path), path + "/")
        elif one.is_file(follow_symlinks=False):
            tree.add_copy(path, Path(one.path))
