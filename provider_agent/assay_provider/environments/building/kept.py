"""The environments in somebody's artifact store: which there are, letting go of one, handing on."""

import asyncio
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from assay_node.ports import Artifacts
from assay_node.protocol import cid as cids
from assay_node.protocol import environment
from assay_node.protocol.environment import MANIFEST_BYTES_MAX, EnvironmentManifest
from assay_node.protocol.errors import AssayError, LocalError, MalformedMessage
from assay_node.protocol.ids import Cid
from assay_provider.environments.building.build import OWNER_PREFIX
from assay_provider.environments.building.oci_archive import MACHINES

_MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
_INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"


class Pinned(Protocol):
    """One artifact that is kept, and for whom."""

    @property
    def owner(self) -> str:
        """Who keeps it."""
        ...


class PinnedArtifacts(Artifacts, Protocol):
    """A store that tells what it keeps."""

    async def pins(self) -> Sequence[Pinned]:
        """Return all pins."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One environment in a store."""

    cid: Cid
    manifest: EnvironmentManifest


async def kept_environments(artifacts: PinnedArtifacts) -> tuple[Kept, ...]:
    """Return the environments that are pinned, by name and CID; damaged ones are passed over."""
    owners = {pin.owner for pin in await artifacts.pins() if pin.owner.startswith(OWNER_PREFIX)}
    found = []
    for owner in owners:
        try:
            found.append(await read_environment(artifacts, owner.removeprefix(OWNER_PREFIX)))
        except AssayError:
            continue
    return tuple(sorted(found, key=lambda kept: (kept.manifest.name, kept.cid)))


async def read_environment(artifacts: Artifacts, text: str) -> Kept:
    """Return an environment of the store.

    Raises:
        LocalError: it is not here, or the CID is not that of an environment.
    """
    try:
        cid = cids.parse(text)
        if cids.codec_of(cid) != cids.DAG_CBOR:
            raise MalformedMessage(f"{cid} is another kind of artifact")
        data = await artifacts.read_bytes(cid, bytes_max=MANIFEST_BYTES_MAX)
        return Kept(cid=cid, manifest=environment.decode(data))
    except MalformedMessage as error:
        raise LocalError(f"this is not an environment: {error}") from None


async def drop(artifacts: Artifacts, kept: Kept) -> None:
    """Let go of an environment; what nothing else needs goes when the store wants room."""
    await artifacts.unpin(owner=f"{OWNER_PREFIX}{kept.cid}")


async def export(artifacts: Artifacts, kept: Kept, target: Path, scratch: Path) -> None:
    """Write an environment to a new file as an OCI archive, which podman and skopeo read too.

    `assay env build --oci` makes the same environment of it.

    Raises:
        LocalError: a layer is missing, or the file exists or cannot be written.
    """
    paths = []
    for number, layer in enumerate(kept.manifest.layers):
        path = scratch / f"layer-{number}"
        await artifacts.export(layer.cid, path)
        paths.append(path)
    await asyncio.to_thread(_write_archive, kept, paths, target)


def _write_archive(kept: Kept, layers: list[Path], target: Path) -> None:
    manifest = kept.manifest
    digests = [_digest_of(path) for path in layers]
    machines = {ours: theirs for theirs, ours in MACHINES.items()}
    config = _json(
        {
            "architecture": machines.get(manifest.architecture, manifest.architecture),
            "os": "linux",
            "config": {"Env": [f"{k}={v}" for k, v in sorted(manifest.variables.items())]},
            "rootfs": {"type": "layers", "diff_ids": digests},
        }
    )
    descriptors = [
        {"mediaType": _LAYER_TYPE, "digest": digest, "size": path.stat().st_size}
        for digest, path in zip(digests, layers, strict=True)
    ]
    document = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": _descriptor(_CONFIG_TYPE, config),
            "layers": descriptors,
        }
    )
    names = {"org.opencontainers.image.ref.name": manifest.name}
    index = {
        "schemaVersion": 2,
        "mediaType": _INDEX_TYPE,
        "manifests": [{**_descriptor(_MANIFEST_TYPE, document), "annotations": names}],
    }
    try:
        with tarfile.open(target, "x:", format=tarfile.USTAR_FORMAT) as archive:
            _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add(archive, "index.json", _json(index))
            for blob in (config, document):
                _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
            for digest, path in sorted(set(zip(digests, layers, strict=True))):
                member = tarfile.TarInfo(f"blobs/{digest.replace(':', '/')}")
                member.size = path.stat().st_size
                with path.open("rb") as file:
                    archive.addfile(member, file)
    except FileExistsError:
        raise LocalError(f"{target} exists already; choose another name") from None
    except OSError as error:
        target.unlink(missing_ok=True)
        raise LocalError(f"{target} cannot be written: {error.strerror}") from None


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(blob)}


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
