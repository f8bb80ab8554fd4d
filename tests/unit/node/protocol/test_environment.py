"""The manifest of an environment: what it refuses, and that its CID is its bytes'."""

from dataclasses import replace

import pytest

from assay_node.protocol import cid as cids
from assay_node.protocol import codec, environment
from assay_node.protocol.environment import EnvironmentLayer, EnvironmentManifest
from assay_node.protocol.errors import MalformedMessage
from assay_node.protocol.ids import Cid

LAYER = EnvironmentLayer(
    cid=cids.of_block(cids.RAW, b"one"), tar_bytes=4096, unpacked_bytes=3, files=2
)
MANIFEST = EnvironmentManifest(
    name="torch 2.7",
    architecture="x86_64",
    layers=(LAYER, replace(LAYER, cid=cids.of_block(cids.RAW, b"two"))),
    variables={"PATH": "/usr/bin"},
    python="3.11",
)


def test_a_manifest_is_what_its_bytes_say() -> None:
    cid, block = environment.encode(MANIFEST)
    assert environment.decode(block) == MANIFEST
    assert cids.codec_of(cid) == cids.DAG_CBOR
    assert cids.matches(cid, block)
    assert MANIFEST.tar_bytes == 8192
    assert MANIFEST.unpacked_bytes == 6


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "update Assay"),
        ({"name": ""}, "name is 1 to"),
        ({"name": "a\nb"}, "name is 1 to"),
        ({"architecture": "x86-64"}, "architecture is a word"),
        ({"layers": ()}, "1 to 64 layers"),
        ({"layers": (LAYER,) * 65}, "1 to 64 layers"),
        ({"layers": (LAYER, LAYER)}, "each layer once"),
        ({"python": "3.11.7"}, "two numbers"),
        ({"variables": {"LD_PRELOAD": "/x.so"}}, "cannot set the variable 'LD_PRELOAD'"),
        ({"variables": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "cannot set"),
        ({"variables": {"A=B": ""}}, "cannot set"),
        ({"variables": {"A": "\0"}}, "contains NUL"),
        ({"variables": {f"A{n}": "" for n in range(257)}}, "at most 256 variables"),
    ],
)
def test_what_a_manifest_cannot_say(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        replace(MANIFEST, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cid": cids.of_block(cids.DAG_CBOR, b"x")}, "not a DAG-CBOR block"),
        ({"cid": Cid("Qm")}, "not a CID"),
        ({"files": 0}, "1 to 500000 entries"),
        ({"files": 500_001}, "1 to 500000 entries"),
        ({"unpacked_bytes": 4097}, "no larger than its tar"),
        ({"tar_bytes": 1 << 64}, "does not fit"),
    ],
)
def test_what_a_layer_cannot_be(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        replace(LAYER, **changes)  # type: ignore[arg-type]


def test_a_manifest_fits_one_small_block() -> None:
    large = replace(MANIFEST, variables={"A": "x" * environment.MANIFEST_BYTES_MAX})
    with pytest.raises(MalformedMessage, match="at most 65536"):
        environment.encode(large)
    with pytest.raises(MalformedMessage, match="at most 65536"):
        environment.decode(codec.encode(large))
