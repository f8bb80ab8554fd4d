"""File trees to import, and what is on disk to compare with."""

import random
from pathlib import Path

from assay_node.ports import ArtifactLimits

ROOMY = ArtifactLimits(bytes_max=1 << 30)

Tree = dict[str, "bytes | Tree"]


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that do not repeat."""
    return random.Random(seed).randbytes(size)


SAMPLE: Tree = {
    "a.txt": b"hello world\n",
    "B": b"",
    ".hidden": b"x",
    "empty": {},
    "b": {"big": noise(600_000), "c": {"é": b"1"}, "z": b"2"},
}


def write_tree(path: Path, tree: "bytes | Tree") -> Path:
    """Write a file or directory."""
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return path
    path.mkdir()
    for name, child in tree.items():
        write_tree(path / name, child)
    return path


def read_tree(path: Path) -> "bytes | Tree":
    """Read a file or directory."""
    if path.is_dir():
        return {child.name: read_tree(child) for child in path.iterdir()}
    return path.read_bytes()


def block_files(root: Path) -> list[Path]:
    """Return the files of all blocks in a store."""
    return sorted(path for path in root.glob("??/*") if path.is_file())
