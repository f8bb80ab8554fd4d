"""Images of other tools: checked, brought into the form of layers, and the same CID every time."""

import asyncio
import hashlib
import io
import json
import os
import platform
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts, open_artifacts
from assay_node.protocol.environment import EnvironmentLayer
from assay_node.protocol.errors import LocalError
from assay_provider.environments.building import kept as keeping
from assay_provider.environments.building.build import Builder, Built
from assay_provider.environments.layer_tar import LayerReader, LayerSize
from tests.builders.images import (
    folder,
    hard_link,
    link,
    member,
    tar_of,
    write_docker,
    write_oci,
)
from tests.builders.wheels import write_wheel

PYTHON = (folder("usr"), folder("usr/bin"), member("usr/bin/python3.12", b"ELF", mode=0o755))


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedArtifacts]:
    settings = ArtifactSettings(root=tmp_path / "store", quota_bytes=1 << 24)
    async with open_artifacts(settings, None) as opened:
        yield opened


async def build(store: EmbeddedArtifacts, archive: Path, name: str | None = "test") -> Built:
    scratch = archive.parent / f"scratch-{len(list(archive.parent.iterdir()))}"
    scratch.mkdir()
    builder = Builder(
        artifacts=store, scratch=scratch, python="python3", machine=platform.machine()
    )
    return await builder.from_image(archive, name=name)


async def entries(store: EmbeddedArtifacts, built: Built, number: int) -> dict[str, object]:
    """Return a layer's entries: what a link names, whether a file is executable, its content."""
    layer = built.manifest.layers[number]
    target = Path(tempfile.mkdtemp(dir=store._settings.root.parent), "layer")
    await store.export(layer.cid, target)
    return await asyncio.to_thread(read_entries, target, layer)


def read_entries(path: Path, layer: EnvironmentLayer) -> dict[str, object]:
    found: dict[str, object] = {}
    with path.open("rb") as file:
        limits = LayerSize(unpacked_bytes=layer.unpacked_bytes, files=layer.files)
        reader = LayerReader(file, limits)
        for entry in reader.entries():
            pieces: list[bytes] = []
            reader.copy(pieces.append)
            what = (entry.executable, b"".join(pieces)) if str(entry.kind) == "file" else None
            found[entry.path] = entry.target or what or str(entry.kind)
    return found


async def test_an_image_becomes_an_environment(store: EmbeddedArtifacts, tmp_path: Path) -> None:
    archive = write_oci(
        tmp_path / "image.tar",
        [
            *PYTHON,
            folder("etc"),
            link("bin", "usr/bin"),
            link("usr/bin/python3", "/usr/bin/python3.12"),
            hard_link("usr/bin/python", "usr/bin/python3.12"),
            member("usr/bin/su", b"root", mode=0o4755, uid=0),
            member("./etc/shadow", b"secret", mode=0o600, mtime=12345.6, uname="root"),
            member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            member("usr/pipe", type=tarfile.FIFOTYPE),
            folder("tmp", mtime=1),
            member("tmp/left-over", b"x"),
        ],
        env=["PATH=/usr/bin", "LANG=C", "LD_PRELOAD=/evil.so", "NVIDIA_VISIBLE_DEVICES=all"],
    )
    built = await build(store, archive)
    assert await entries(store, built, 0) == {
        "bin": "usr/bin",
        "etc": "directory",
        "etc/shadow": (False, b"secret"),
        "tmp": "directory",
        "usr": "directory",
        "usr/bin": "directory",
        "usr/bin/python": (True, b"ELF"),
        "usr/bin/python3": "python3.12",
        "usr/bin/python3.12": (True, b"ELF"),
        "usr/bin/su": (True, b"root"),
    }
    manifest = built.manifest
    assert manifest.python == "3.12"
    assert manifest.variables["PATH"] == "/usr/bin"
    assert manifest.variables["OMP_NUM_THREADS"] == "1", "the same on every machine"
    assert built.left_out == ("LD_PRELOAD", "NVIDIA_VISIBLE_DEVICES")


async def test_the_same_content_is_the_same_environment(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    """Whatever tool wrote it: order, times, owners and compression say nothing."""
    env = ["PATH=/usr/bin"]
    one = write_oci(tmp_path / "one.tar", [*PYTHON, member("a", b"1"), member("b", b"2")], env=env)
    other = [
        member("./b", b"2", mtime=99, uid=1000, mode=0o600),
        *(member(f"./{info.name}", data, type=info.type, mode=info.mode) for info, data in PYTHON),
        member("/a", b"1", pax_headers={"SCHILY.xattr.user.x": "y"}),
    ]
    two = write_docker(tmp_path / "two.tar", other, env=env)
    three = write_oci(tmp_path / "three.tar", other, env=env, compress=lambda data: data)
    found = {(await build(store, path)).cid for path in (one, two, three)}
    assert len(found) == 1


async def test_layers_stay_layers_and_whiteouts_hide(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    archive = write_oci(
        tmp_path / "image.tar",
        [
            *(folder(name) for name in ("kept", "gone", "opaque", "opaque/sub", "replaced")),
            *(member(name, b"1") for name in ("kept/a", "kept/b", "gone/x", "opaque/y")),
            *(member(name, b"1") for name in ("opaque/sub/z", "replaced/old", "opaque/sub/stays")),
        ],
        [
            member("kept/.wh.a"),
            member("kept/.wh.never-there"),
            member(".wh.gone"),
            folder("opaque"),
            member("opaque/.wh..wh..opq"),
            member("opaque/new", b"2"),
            folder("opaque/sub"),
            member("opaque/sub/stays", b"2"),
            member(".wh.replaced"),
            folder("replaced"),
            member("replaced/new", b"2"),
        ],
        [folder("gone"), member("gone/back", b"3")],
    )
    built = await build(store, archive)
    assert len(built.manifest.layers) == 3
    assert await entries(store, built, 1) == {
        "gone": "whiteout",
        "kept": "directory",
        "kept/a": "whiteout",
        "opaque": "directory",
        "opaque/new": (False, b"2"),
        "opaque/sub": "directory",
        "opaque/sub/stays": (False, b"2"),
        "opaque/sub/z": "whiteout",
        "opaque/y": "whiteout",
        "replaced": "directory",
        "replaced/new": (False, b"2"),
        "replaced/old": "whiteout",
    }


async def test_what_lies_below_a_hidden_folder_is_hidden_with_it(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    archive = write_oci(
        tmp_path / "image.tar",
        [folder("a"), folder("a/b"), member("a/b/c", b"1"), member("a/d", b"1")],
        [member(".wh.a"), member("a/.wh.b"), member("a/b/.wh.c"), member("a/.wh.d")],
    )
    assert await entries(store, await build(store, archive), 1) == {"a": "whiteout"}


async def test_a_layer_writes_through_a_lower_layers_link(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    """As unpacking one layer over the other does; one that says it is a folder replaces it."""
    archive = write_oci(
        tmp_path / "image.tar",
        [folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), link("lib64", "usr/lib")],
        [member("lib/x", b"1"), folder("lib64"), member("lib64/y", b"2")],
    )
    built = await build(store, archive)
    assert await entries(store, built, 1) == {
        "lib64": "directory",
        "lib64/y": (False, b"2"),
        "usr": "directory",
        "usr/lib": "directory",
        "usr/lib/x": (False, b"1"),
    }


async def test_a_layer_that_comes_again_is_there_once(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    again = [member("a", b"1")]
    archive = write_oci(tmp_path / "image.tar", again, [], [member("a", b"2")], again)
    built = await build(store, archive)
    assert [(await entries(store, built, n))["a"] for n in range(2)] == [
        (False, b"2"),
        (False, b"1"),
    ]
    assert len(built.manifest.layers) == 2


async def test_an_export_is_taken_back_in_as_the_same(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    archive = write_oci(tmp_path / "image.tar", PYTHON, [member("usr/.wh.bin"), member("x", b"1")])
    built = await build(store, archive, name="a name")
    (tmp_path / "out").mkdir()
    target = tmp_path / "export.tar"
    kept = await keeping.read_environment(store, built.cid)
    await keeping.export(store, kept, target, tmp_path / "out")
    assert (await build(store, target, name=None)).cid == built.cid
    (tmp_path / "out2").mkdir()
    with pytest.raises(LocalError, match="exists already"):
        await keeping.export(store, kept, target, tmp_path / "out2")


async def test_environments_are_kept_until_they_are_let_go(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    built = await build(store, write_oci(tmp_path / "image.tar", PYTHON))
    (kept,) = await keeping.kept_environments(store)
    assert (kept.cid, kept.manifest) == (built.cid, built.manifest)
    owners = {pin.owner for pin in await store.pins()}
    assert owners == {f"environment {built.cid}"}, "nothing of the building itself is left"
    await keeping.drop(store, kept)
    assert await keeping.kept_environments(store) == ()


def replace_blob(files: dict[str, bytes], *, containing: bytes, by: bytes) -> None:
    name = next(n for n, data in files.items() if n.startswith("blobs/") and containing in data)
    files[name] = files[name].replace(containing, by)


FORGERIES = {
    "another manifest": (
        lambda files: replace_blob(files, containing=b'"layers": [', by=b'"layers":  ['),
        "does not have the digest",
    ),
    "another config": (
        lambda files: replace_blob(files, containing=b'"Env"', by=b'"env"'),
        "does not have the digest",
    ),
    "another layer": (
        lambda files: replace_blob(files, containing=b"content", by=b"CONTENT"),
        "damaged",
    ),
    "no layer": (
        lambda files: files.pop(next(n for n, d in files.items() if b"content" in d)),
        "lacks blobs",
    ),
    "no image": (lambda files: files.update({"index.json": b'{"manifests": []}'}), "0 images"),
    "no JSON": (lambda files: files.update({"index.json": b"{"}), "not an image archive"),
    "odd JSON": (lambda files: files.update({"index.json": b"[1]"}), "not an image archive"),
    "a path for a digest": (
        lambda files: files.update(
            {"index.json": b'{"manifests": [{"digest": "sha256:../../etc/passwd"}]}'}
        ),
        "not a SHA-256",
    ),
    "nothing at all": (lambda files: files.clear(), "not an image archive"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_what_does_not_have_its_digest_is_refused(
    store: EmbeddedArtifacts, tmp_path: Path, name: str
) -> None:
    change, reason = FORGERIES[name]
    archive = write_oci(
        tmp_path / "image.tar", [member("a", b"content")], compress=lambda d: d, change=change
    )
    with pytest.raises(LocalError, match=reason):
        await build(store, archive)
    assert await store.pins() == ()


async def test_a_layer_must_be_what_the_config_says(
    store: EmbeddedArtifacts, tmp_path: Path
) -> None:
    """A docker archive names no digest for a layer's file: the config's is the one that counts."""
    archive = write_docker(tmp_path / "image.tar", [member("a", b"content")])
    archive.write_bytes(archive.read_bytes().replace(b"content", b"CONTENT"))
    with pytest.raises(LocalError, match="not what its image says"):
        await build(store, archive)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([member("../outside", b"x")], "absolute or not in its shortest form"),
        ([hard_link("a", "etc/shadow")], "hard link to etc/shadow"),
        ([hard_link("a", "../../etc/shadow")], "cannot be in an environment"),
        ([member("a", b"x"), member("a/b", b"x")], "a is not a directory"),
        ([link("a", "."), member("a/b", b"x")], "a is not a directory"),
        ([member("a\nb", b"x")], "control characters"),
        ([member("n" * 256, b"x")], "longer than 255 bytes"),
        ([member("/".join("d" * 65), b"x")], "64 names"),
        ([link("a", "b\nc")], "control characters"),
    ],
)
async def test_what_no_layer_can_hold_is_said(
    store: EmbeddedArtifacts, tmp_path: Path, members: list, reason: str
) -> None:
    with pytest.raises(LocalError, match=reason):
        await build(store, write_oci(tmp_path / "image.tar", members))


async def test_archives_that_are_none(store: EmbeddedArtifacts, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"no tar at all")
    with pytest.raises(LocalError, match="not an image archive"):
        await build(store, archive)
    archive.write_bytes(tar_of([member("a", b"1")])[:700])
    with pytest.raises(LocalError):
        await build(store, archive)
    with pytest.raises(LocalError, match="cannot be read"):
        await build(store, tmp_path / "missing")


async def test_an_image_for_another_machine(store: EmbeddedArtifacts, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="0 images for"):
        await build(store, write_oci(tmp_path / "image.tar", PYTHON, architecture="s390x"))


async def test_layers_in_zstd_are_a_sentence(store: EmbeddedArtifacts, tmp_path: Path) -> None:
    zstd = write_oci(
        tmp_path / "image.tar", PYTHON, compress=lambda data: b"\x28\xb5\x2f\xfd" + data
    )
    with pytest.raises(LocalError, match="compressed with zstd"):
        await build(store, zstd)


async def test_a_folder_is_an_environment_too(store: EmbeddedArtifacts, tmp_path: Path) -> None:
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    scratch.mkdir()
    (root / "usr" / "bin").mkdir(parents=True)
    (root / "usr" / "bin" / "python3.13").write_bytes(b"ELF")
    (root / "usr" / "bin" / "python3.13").chmod(0o4755)
    (root / "bin").symlink_to("/usr/bin")
    (root / "proc").mkdir()
    (root / "proc" / "x").write_text("x")
    os.mkfifo(root / "usr" / "pipe")
    builder = Builder(artifacts=store, scratch=scratch, python="", machine=platform.machine())
    built = await builder.from_folder(root, name="folder")
    assert await entries(store, built, 0) == {
        "bin": "usr/bin",
        "proc": "directory",
        "usr": "directory",
        "usr/bin": "directory",
        "usr/bin/python3.13": (True, b"ELF"),
    }
    assert built.manifest.python == "3.13"


async def test_an_index_in_an_index_is_followed(store: EmbeddedArtifacts, tmp_path: Path) -> None:
    def nest(files: dict[str, bytes]) -> None:
        inner = files["index.json"]
        digest = hashlib.sha256(inner).hexdigest()
        files[f"blobs/sha256/{digest}"] = inner
        outer = {"manifests": [{"digest": f"sha256:{digest}", "size": len(inner)}]}
        files["index.json"] = json.dumps(outer).encode()

    plain = await build(store, write_oci(tmp_path / "plain.tar", PYTHON))
    nested = await build(store, write_oci(tmp_path / "nested.tar", PYTHON, change=nest))
    assert nested.cid == plain.cid


GLIBC = b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n"


@pytest.mark.parametrize("kind", ["archive", "folder"])
async def test_packages_go_above_the_python_of_a_base(
    store: EmbeddedArtifacts, tmp_path: Path, kind: str
) -> None:
    c_library = member("usr/lib/libc.so.6", GLIBC)
    base = write_oci(tmp_path / "base.tar", [*PYTHON, c_library], env=["PATH=/usr/bin", "A=1"])
    if kind == "folder":
        base = tmp_path / "base"
        base.mkdir()
        with tarfile.open(fileobj=io.BytesIO(tar_of([*PYTHON, c_library]))) as archive:
            archive.extractall(base, filter="data")
    built = await from_requirements(store, tmp_path, base)
    assert built.manifest.python == "3.12"
    path = built.manifest.variables["PATH"]
    assert path.startswith("/opt/environment/bin:")
    assert ("A" in built.manifest.variables) == (kind == "archive")
    upper = await entries(store, built, 1)
    assert upper["opt/environment/bin/python3.12"] == "../../../usr/bin/python3.12"
    site = "opt/environment/lib/python3.12/site-packages"
    assert upper[f"{site}/pkg.py"] == (False, b"x = 1\n")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (PYTHON, "does not have the GNU C library"),
        ([member("usr/lib/libc.so.6", GLIBC)], "the base has no Python 3 in its PATH"),
    ],
)
async def test_bases_that_wheels_do_not_fit(
    store: EmbeddedArtifacts, tmp_path: Path, members: list, reason: str
) -> None:
    with pytest.raises(LocalError, match=reason):
        await from_requirements(store, tmp_path, write_oci(tmp_path / "base.tar", members))
    assert await store.pins() == ()


async def from_requirements(store: EmbeddedArtifacts, folder: Path, base: Path) -> Built:
    wheel = write_wheel(folder / "index", "pkg", {"pkg.py": b"x = 1\n"})
    asked, scratch = folder / "requirements.txt", folder / "scratch"
    await asyncio.to_thread(asked.write_text, f"--no-index\n--find-links {wheel.parent}\npkg\n")
    await asyncio.to_thread(scratch.mkdir)
    builder = Builder(
        artifacts=store, scratch=scratch, python=sys.executable, machine=platform.machine()
    )
    return await builder.from_requirements(asked, name="test", base=base)
