"""Image archives as podman and docker write them, made by hand."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

Members = Sequence[tuple[tarfile.TarInfo, bytes]]
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """Return one member of a layer; `fields` are those of `tarfile.TarInfo`."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def folder(name: str, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, mode=0o755, **fields)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar_of(members: Members) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def write_oci(
    path: Path,
    *layers: Members,
    env: Sequence[str] = (),
    compress: Callable[[bytes], bytes] = gzip.compress,
    architecture: str = ARCHITECTURES.get(platform.machine(), platform.machine()),
    change: Callable[[dict[str, bytes]], None] = lambda _: None,
) -> Path:
    """Write an OCI archive; `change` may forge its files before they are written."""
    plain = [tar_of(members) for members in layers]
    blobs = [compress(data) for data in plain]
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": list(env)},
            "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in plain]},
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "config": {"digest": digest(config), "size": len(config)},
            "layers": [{"digest": digest(blob), "size": len(blob)} for blob in blobs],
        }
    ).encode()
    platforms = {"os": "linux", "architecture": architecture}
    index = {
        "schemaVersion": 2,
        "manifests": [
            {"digest": digest(manifest), "size": len(manifest), "platform": platforms},
            {  # what builders add about a build
                "digest": digest(b"?"),
                "size": 1,
                "platform": {"os": "unknown", "architecture": "unknown"},
            },
        ],
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps(index).encode(),
        **{f"blobs/{digest(blob).replace(':', '/')}": blob for blob in (config, manifest, *blobs)},
    }
    change(files)
    path.write_bytes(tar_of([member(name, data) for name, data in files.items()]))
    return path


def write_docker(path: Path, *layers: Members, env: Sequence[str] = ()) -> Path:
    """Write what `docker save` writes."""
    plain = [tar_of(members) for members in layers]
    config = json.dumps(
        {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "config": {"Env": list(env)},
            "rootfs": {"diff_ids": [digest(data) for data in plain]},
        }
    ).encode()
    names = [f"{number}/layer.tar" for number in range(len(plain))]
    entry = {"Config": "config.json", "RepoTags": ["test:latest"], "Layers": names}
    files = {
        "config.json": config,
        **dict(zip(names, plain, strict=True)),
        "manifest.json": json.dumps([entry]).encode(),
    }
    path.write_bytes(tar_of([member(name, data) for name, data in files.items()]))
    return path
