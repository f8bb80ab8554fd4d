"""What a stack of layers shows: needed to say what a whiteout hides, and to find a Python in it."""

import posixpath
import re
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from assay_node.protocol.errors import LocalError
from assay_provider.environments.building.tree import Node, Tree
from assay_provider.environments.layer_tar import EntryKind, order_key

_LINKS_MAX: Final = 40
"""As many as Linux follows (path_resolution(7))."""
_PYTHON: Final = re.compile(r"python(3\.[0-9]{1,3})")
_GLIBC: Final = re.compile(rb"GNU C Library [^\n]{0,80}version (2\.[0-9]{1,3})")
_LIBRARY_BYTES_MAX: Final = 64 << 20


@dataclass(slots=True)
class Merged:
    """Layers on top of each other, as overlayfs would show them."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def apply(self, tree: Tree) -> None:
        """Put a layer on top."""
        for path in tree.hidden:
            self._remove(path)
        # Directories before what is in them: one may replace a file, and all below goes with it.
        for path, node in sorted(tree.nodes.items(), key=lambda item: order_key(item[0])):
            old = self.nodes.get(path)
            if old is not None and EntryKind.DIRECTORY in (old.kind, node.kind):
                if old.kind is node.kind:
                    continue
                self._remove(path)
            self.nodes[path] = node

    def below(self, folder: str) -> list[str]:
        """Return the paths that lie directly in a folder."""
        return sorted(path for path in self.nodes if posixpath.dirname(path) == folder)

    def resolve(self, path: str) -> str:
        """Return where a path leads when links are followed, the last one too.

        Raises:
            LocalError: links lead in a circle.
        """
        for _ in range(_LINKS_MAX):
            link = self._first_link(path)
            if link is None:
                return path
            rest = path[len(link) :].lstrip("/")
            meant = posixpath.join("/", posixpath.dirname(link), self.nodes[link].target, rest)
            path = posixpath.normpath(meant).lstrip("/")
        raise LocalError(f"the links at {path[:80]!a} lead in a circle")

    def find_python(self, version: str | None, search: str) -> tuple[str, str] | None:
        """Return the path and version of a Python, the newest in the first folder that has one."""
        for folder in search.split(":"):
            found = [
                (tuple(map(int, match[1].split("."))), path)
                for path in self.below(self.resolve(folder.strip("/")))
                if (match := _PYTHON.fullmatch(posixpath.basename(path)))
                and version in (None, match[1])
            ]
            if found:
                numbers, path = max(found)
                return path, ".".join(map(str, numbers))
        return None

    def glibc(self) -> str | None:
        """Return the version of the GNU C library; None if it has none (or another one)."""
        for path in sorted(self.nodes):
            if posixpath.basename(path) != "libc.so.6":
                continue
            node = self.nodes.get(self.resolve(path))
            if node is not None and node.open is not None and node.size <= _LIBRARY_BYTES_MAX:
                with node.open() as file:
                    found = _GLIBC.search(_all_of(file))
                if found:
                    return found[1].decode()
        return None

    def _first_link(self, path: str) -> str | None:
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            prefix = "/".join(parts[:count])
            node = self.nodes.get(prefix)
            if node is not None and node.kind is EntryKind.LINK:
                return prefix
        return None

    def _remove(self, path: str) -> None:
        below = path + "/"
        for name in [one for one in self.nodes if one == path or one.startswith(below)]:
            del self.nodes[name]


def _all_of(file: BinaryIO) -> bytes:
    return file.read(_LIBRARY_BYTES_MAX)
