"""Laws of environments: one archive for one content, and no bytes that do anything else."""

import contextlib
import io
import os
import posixpath
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from assay_node.protocol import cid as cids
from assay_node.protocol import environment
from assay_node.protocol.environment import EnvironmentLayer, EnvironmentManifest
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_provider.environments.building.merged import Merged
from assay_provider.environments.building.tree import Tree, inner_target
from assay_provider.environments.layer_tar import (
    Entry,
    EntryKind,
    LayerReader,
    LayerSize,
    check_target,
)
from assay_provider.environments.unpacking import unpack
from tests.builders.layers import LIMITS

LAW = settings(deadline=None)

NAMES = st.one_of(
    st.sampled_from(["a", "b", "usr", "-x", "z" * 120, "é" * 60, ".wh", "..."]),
    st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/"), min_size=1)
    .filter(lambda name: name not in (".", "..") and not name.startswith(".wh."))
    .filter(lambda name: len(name.encode()) <= 255),
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@st.composite
def trees(draw):
    """A tree of anything that fits: later additions replace earlier ones."""
    tree = Tree()
    for path in draw(st.lists(PATHS, max_size=12)):
        kind = draw(st.sampled_from(EntryKind))
        try:
            if kind is EntryKind.DIRECTORY:
                tree.add_folder(path)
            elif kind is EntryKind.FILE:
                content = draw(st.binary(max_size=1200))
                tree.add_bytes(path, content, executable=draw(st.booleans()))
            elif kind is EntryKind.LINK:
                tree.add_link(path, draw(st.one_of(PATHS, PATHS.map("/".__add__), targets())))
            elif path not in tree.nodes:
                tree.hide(path)
        except LocalError:  # something lies in the way
            continue
    tree.hidden -= tree.nodes.keys()
    return tree


def targets():
    words = st.one_of(NAMES, st.sampled_from(["..", ".", ""]))
    return st.lists(words, min_size=1, max_size=6).map("/".join).filter(bool)


def written(tree: Tree) -> bytes | None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            tree.write(Path(folder, "layer"))
        except LocalError:  # a whiteout below what is no directory
            return None
        return Path(folder, "layer").read_bytes()


def read(data: bytes) -> list[tuple[Entry, bytes]]:
    reader, found = LayerReader(io.BytesIO(data), LIMITS), []
    for entry in reader.entries():
        content = io.BytesIO()
        reader.copy(content.write)
        found.append((entry, content.getvalue()))
    return found


def unpacked(data: bytes, limits: LayerSize = LIMITS) -> dict[str, object]:
    """Unpack between two files that must not change; return what there is afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        Path(folder, "outside").write_bytes(b"untouched")
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            unpack(io.BytesIO(data), descriptor, limits)
        finally:
            os.close(descriptor)
            assert sorted(one.name for one in Path(folder).iterdir()) == ["outside", "root"]
            assert Path(folder, "outside").read_bytes() == b"untouched"
        return {str(path.relative_to(root)): seen(path) for path in root.rglob("*")}


class TooLong(Exception):
    """A name that no layer can hold, wherever it points."""


def check_fits(path: str, target: str) -> None:
    try:
        check_target(path, target)
    except MalformedMessage as error:
        raise (TooLong if "is longer" in str(error) else error) from None


def seen(path: Path) -> object:
    if path.is_symlink():
        return str(path.readlink())
    return None if path.is_dir() else path.read_bytes() if path.is_file() else "hidden"


@LAW
@given(trees())
def test_what_a_tree_holds_is_what_comes_out(tree: Tree) -> None:
    data = written(tree)  # which lets go of what is hidden below what is hidden
    if data is None:
        return
    found = read(data)
    assert {entry.path for entry, _ in found} == tree.nodes.keys() | tree.hidden
    expected: dict[str, object] = dict.fromkeys(tree.hidden, "hidden")
    for path, node in tree.nodes.items():
        expected[path] = None
        if node.kind is EntryKind.LINK:
            expected[path] = node.target
        elif node.open is not None:
            with node.open() as file:
                expected[path] = file.read()
    assert unpacked(data) == expected


@LAW
@given(trees(), st.randoms())
def test_the_order_of_making_does_not_matter(tree: Tree, random) -> None:
    shuffled = Tree(nodes=dict(random.sample(list(tree.nodes.items()), len(tree.nodes))))
    shuffled.hidden = set(random.sample(sorted(tree.hidden), len(tree.hidden)))
    assert written(shuffled) == written(tree)


@LAW
@given(st.binary(max_size=4096))
def test_any_bytes_are_a_layer_or_one_error(data: bytes) -> None:
    try:
        unpacked(data)
    except MalformedMessage:
        return
    assert set(data) == {0}, "the empty layer"


@LAW
@given(trees(), st.data())
def test_a_changed_layer_is_another_layer_or_none(tree: Tree, data) -> None:
    """Whatever is still read after a change is exactly what the bytes say, and stays inside."""
    whole = bytearray(written(tree) or b"")
    if not whole:
        return
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        piece = data.draw(st.sampled_from([b"\0", b"/", b"..", b"1", b"L", b"x", b"\xff", b"S"]))
        whole[at : at + len(piece)] = piece
    changed = bytes(whole)
    try:
        found = read(changed)
        unpacked(changed)
    except MalformedMessage:
        return
    again = Tree()
    for entry, content in found:
        match entry.kind:
            case EntryKind.DIRECTORY:
                again.add_folder(entry.path)
            case EntryKind.FILE:
                again.add_bytes(entry.path, content, executable=entry.executable)
            case EntryKind.LINK:
                again.add_link(entry.path, entry.target)
            case EntryKind.WHITEOUT:
                again.hide(entry.path)
    assert written(again) == changed


@LAW
@given(PATHS, st.one_of(targets(), targets().map("/".__add__)))
def test_a_link_is_made_to_stay_inside_and_mean_the_same(path: str, target: str) -> None:
    inner = inner_target(path, target)
    with contextlib.suppress(TooLong):
        check_fits(path, inner)
    folder = posixpath.dirname("/" + path)
    meant = posixpath.normpath(posixpath.join(folder, target)).lstrip("/")
    assert posixpath.normpath(posixpath.join(folder, inner)).lstrip("/") == meant
    assert not inner.startswith("/")


@LAW
@given(trees(), trees())
def test_layers_on_top_of_each_other_show_what_overlayfs_shows(lower: Tree, upper: Tree) -> None:
    merged = Merged()
    merged.apply(lower)
    merged.apply(upper)
    for path in merged.nodes:
        parent = posixpath.dirname(path)
        assert not parent or merged.nodes[parent].kind is EntryKind.DIRECTORY
    for path, node in upper.nodes.items():
        assert merged.nodes[path].kind is node.kind


LAYERS = st.builds(
    EnvironmentLayer,
    cid=st.binary(min_size=1, max_size=4).map(lambda data: cids.of_block(cids.RAW, data)),
    tar_bytes=st.integers(1 << 32, 2**64 - 1),
    unpacked_bytes=st.integers(0, 1 << 32),
    files=st.integers(1, 500_000),
)
MANIFESTS = st.builds(
    EnvironmentManifest,
    name=st.text(st.characters(categories=("L", "N")), min_size=1, max_size=80),
    architecture=st.sampled_from(["x86_64", "aarch64"]),
    layers=st.lists(LAYERS, min_size=1, max_size=4, unique_by=lambda layer: layer.cid).map(tuple),
    variables=st.dictionaries(st.sampled_from(["PATH", "A", "B_1"]), st.text("xyz/=")),
    python=st.sampled_from([None, "3.11", "3.14"]),
)


@LAW
@given(MANIFESTS)
def test_a_manifest_is_its_bytes(manifest: EnvironmentManifest) -> None:
    cid, block = environment.encode(manifest)
    assert environment.decode(block) == manifest
    assert environment.encode(environment.decode(block)) == (cid, block)


@LAW
@given(
    st.one_of(st.binary(max_size=200), MANIFESTS.map(lambda m: environment.encode(m)[1])), st.data()
)
def test_any_bytes_are_a_manifest_or_one_error(block: bytes, data) -> None:
    at = data.draw(st.integers(0, len(block)))
    changed = block[:at] + data.draw(st.binary(max_size=3)) + block[at + 1 :]
    try:
        manifest = environment.decode(changed)
    except MalformedMessage:
        return
    assert environment.encode(manifest)[1] == changed
