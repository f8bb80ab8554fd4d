"""CDI files are data: strictly read, and believed only where they say what the machine shows."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from assay_provider.gpus.cdi import SPEC_BYTES_MAX, CdiRefused, CdiSpec, parse_cdi
from assay_provider.gpus.cdi_edits import take_edits
from assay_provider.gpus.cdi_files import read_cdi_files
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.device_nodes import find_nodes
from assay_provider.gpus.driver_files import DriverFiles
from tests.fakes.gpus import H100, host_with, several
from tests.unit.provider_agent.gpus.cdi_specs import (
    LIBRARIES,
    MOUNT_OPTIONS,
    SPEC,
    changed,
    mount,
)

HOST = host_with(*several(2))
DEVICE = GpuDevice(facts=H100)


def _as_yaml(document: Any) -> str:
    plain = json.loads(json.dumps(document))  # lists that are one object would become anchors
    return yaml.safe_dump(plain)


def _parsed(document: Any) -> CdiSpec:
    return parse_cdi(json.dumps(document).encode(), as_json=True)


def _taken(document: Any) -> DriverFiles:
    spec = _parsed(document)
    return take_edits(spec.common + spec.devices["0"], find_nodes(DEVICE, HOST).nodes, HOST)


def test_yaml_and_json_say_the_same() -> None:
    as_yaml = parse_cdi(_as_yaml(SPEC).encode(), as_json=False)

    assert as_yaml == _parsed(SPEC)
    assert sorted(as_yaml.devices) == ["0", "1", "all"]


def test_hooks_and_variables_are_counted_and_gone() -> None:
    common = _parsed(SPEC).common

    assert (common.hooks_dropped, common.variables_dropped) == (3, 2)
    assert "evil" not in repr(common)
    assert _parsed(changed("containerEdits.additionalGids", [0, 44])).common == common
    assert "nvidia-cdi-hook" not in repr(common)


def test_libraries_for_computing_are_taken_under_the_names_programs_ask_for() -> None:
    files = _taken(SPEC)

    assert files.mounts == (
        ("/usr/bin/nvidia-smi", "/opt/driver/bin/nvidia-smi"),
        (f"{LIBRARIES}/libcuda.so.580.159.03", "/opt/driver/lib/libcuda.so.1"),
        (f"{LIBRARIES}/libnvidia-ml.so.580.159.03", "/opt/driver/lib/libnvidia-ml.so.1"),
    )
    left_out = " ".join(files.left_out)
    assert "mps" in left_out
    assert "libGLX" in left_out


MALFORMED = [
    ("cdiVersion", "0.2.0"),
    ("cdiVersion", "2.0.0"),
    ("cdiVersion", 0.5),
    ("kind", "nvidia"),
    ("kind", "nvidia.com/gpu\n"),
    ("devices", {}),
    ("devices.0", "0"),
    ("devices.0.name", "../0"),
    ("devices.1.name", "0"),
    ("devices.0.command", "sh"),
    ("extra", 1),
    ("containerEdits", []),
    ("containerEdits.hooks", "sh"),
    ("containerEdits.intelRdt", {"closID": "x"}),
    ("containerEdits.additionalGids", 0),
    ("containerEdits.netDevices", [{"hostInterfaceName": "eth0"}]),
    ("containerEdits.mounts", [{"hostPath": "/usr/lib/x"}]),
    ("containerEdits.mounts.0.hostPath", "usr/lib/x"),
    ("containerEdits.mounts.0.hostPath", "/usr/lib/../../etc/shadow"),
    ("containerEdits.mounts.0.hostPath", "/usr/lib/./x"),
    ("containerEdits.mounts.0.hostPath", "//etc/shadow"),
    ("containerEdits.mounts.0.hostPath", "/"),
    ("containerEdits.mounts.0.hostPath", "/usr/lib/x\0y"),
    ("containerEdits.mounts.0.hostPath", "/usr/" + "x" * 5000),
    ("containerEdits.mounts.0.containerPath", "/opt/../proc/1/environ"),
    ("containerEdits.mounts.0.options", "ro"),
    ("containerEdits.deviceNodes.0.path", "/dev/../etc/passwd"),
    ("containerEdits.deviceNodes.0.major", -1),
    ("containerEdits.deviceNodes.0.major", True),
    ("containerEdits.deviceNodes.0.type", "p"),
    ("containerEdits.deviceNodes.0.permissions", "rwx"),
    ("containerEdits.mounts", [mount("/usr/lib/x")] * 2000),
]


@pytest.mark.parametrize(("path", "value"), MALFORMED)
def test_what_is_malformed_is_refused(path: str, value: Any) -> None:
    with pytest.raises(CdiRefused):
        _parsed(changed(path, value))


HOSTILE = [
    ("containerEdits.mounts.+", mount("/etc/shadow"), "no place of a driver's files"),
    ("containerEdits.mounts.+", mount("/root/.ssh/id_ed25519"), "no place"),
    ("containerEdits.mounts.+", mount("/usr/libexec/x"), "no place"),
    ("containerEdits.mounts.+", mount("/usr/lib"), "no place"),
    ("containerEdits.mounts.+", mount("/run/docker.sock"), "no place"),
    ("containerEdits.mounts.+", mount("/proc"), "no place"),
    (
        "containerEdits.mounts.+",
        mount(f"{LIBRARIES}/libcuda.so.580.159.03", options=["rw", "bind"]),
        "read-only",
    ),
    ("containerEdits.mounts.+", mount(f"{LIBRARIES}/libcuda.so.580.159.03", options=[]), "only"),
    (
        "containerEdits.mounts.+",
        mount("/usr/lib/x", options=[*MOUNT_OPTIONS, "suid"]),
        "read-only",
    ),
    ("containerEdits.mounts.+", mount("/usr/lib/x", type="overlay"), "read-only"),
    ("containerEdits.deviceNodes.+", {"path": "/dev/nvidia1"}, "another GPU's node"),
    ("containerEdits.deviceNodes.+", {"path": "/dev/sda"}, "not the driver's"),
    ("containerEdits.deviceNodes.+", {"path": "/dev/mem"}, "not the driver's"),
    ("containerEdits.deviceNodes.+", {"path": "/dev/nvidia-evil"}, "not the driver's"),
    ("containerEdits.deviceNodes.+", {"path": "/dev/dri/../mem0"}, "without dots"),
    (
        "containerEdits.deviceNodes.3",
        {"path": "/dev/nvidiactl", "hostPath": "/dev/mem"},
        "another name",
    ),
    ("containerEdits.deviceNodes.3", {"path": "/dev/nvidiactl", "type": "b"}, "block device"),
    (
        "containerEdits.deviceNodes.3",
        {"path": "/dev/nvidiactl", "major": 1, "minor": 1},
        "which it is not",
    ),
    ("containerEdits.deviceNodes", [], "it does not give /dev/nvidia-uvm, /dev/nvidiactl"),
    ("containerEdits.mounts", [], "libcuda.so.1"),
]


@pytest.mark.parametrize(("path", "value", "words"), HOSTILE)
def test_what_no_generator_writes_refuses_the_whole_file(path: str, value: Any, words: str) -> None:
    with pytest.raises(CdiRefused, match=words):
        _taken(changed(path, value))


def test_a_link_to_elsewhere_is_left_out_not_followed() -> None:
    host = host_with(*several(2))
    link = f"{LIBRARIES}/libnvidia-nvvm.so.4"
    host.files[link] = "/home/owner/secret"
    spec = _parsed(changed("containerEdits.mounts.+", mount(link)))

    files = take_edits(spec.common + spec.devices["0"], find_nodes(DEVICE, host).nodes, host)

    assert all(source != link for source, _ in files.mounts)
    assert f"{link}: a link, or behind one, to /home/owner/secret" in files.left_out


def test_a_file_that_is_not_the_library_it_is_called_is_left_out() -> None:
    host = host_with(*several(2))
    host.sonames[f"{LIBRARIES}/libnvidia-ml.so.580.159.03"] = "libevil.so.1"
    spec = _parsed(SPEC)

    files = take_edits(spec.common + spec.devices["0"], find_nodes(DEVICE, host).nodes, host)

    assert all("libnvidia-ml" not in source for source, _ in files.mounts)


def test_a_file_that_grows_when_read_is_refused() -> None:
    bomb = b"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"
    with pytest.raises(CdiRefused, match="anchors and aliases"):
        parse_cdi(bomb, as_json=False)
    for deep in (b"[" * 5000 + b"]" * 5000, b"[" * 30 + b"]" * 30):
        with pytest.raises(CdiRefused):
            parse_cdi(deep, as_json=False)
    with pytest.raises(CdiRefused, match="nested too deeply"):
        parse_cdi(b"[" * 100_000, as_json=True)
    with pytest.raises(CdiRefused, match="at most"):
        parse_cdi(b" " * (SPEC_BYTES_MAX + 1), as_json=True)


def test_yaml_makes_no_objects() -> None:
    with pytest.raises(CdiRefused):
        parse_cdi(b"!!python/object/apply:os.system ['true']", as_json=False)


@given(data=st.binary(max_size=300), as_json=st.booleans())
def test_any_bytes_are_read_or_refused(data: bytes, as_json: bool) -> None:
    with contextlib.suppress(CdiRefused):
        assert parse_cdi(data, as_json=as_json).kind


def _write(folder: Path, name: str, document: Any, mode: int = 0o644) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    text = json.dumps(document) if name.endswith("json") else _as_yaml(document)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_files_are_found_where_engines_look_and_the_later_folder_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "etc", tmp_path / "run"
    static = _write(first, "nvidia.yaml", SPEC)
    running = _write(second, "nvidia.json", SPEC)
    _write(first, "other.yaml", {**SPEC, "kind": "vendor.com/net"})
    (first / "notes.txt").write_text("not one")

    found = read_cdi_files((first, second))

    assert [file.path for file in found] == [running, static]
    assert all(file.spec is not None for file in found)
    assert read_cdi_files((tmp_path / "missing",)) == ()


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_can_write_is_not_believed(tmp_path: Path, mode: int) -> None:
    _write(tmp_path / "cdi", "nvidia.yaml", SPEC, mode)

    [file] = read_cdi_files((tmp_path / "cdi",))
    assert file.spec is None
    assert "can write it" in file.refused


def test_links_and_pipes_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "cdi"
    real = _write(tmp_path / "elsewhere", "nvidia.yaml", SPEC)
    folder.mkdir()
    (folder / "a.yaml").symlink_to(real)
    os.mkfifo(folder / "b.yaml")

    found = read_cdi_files((folder,))
    assert [file.spec for file in found] == [None, None]
    assert "regular file" in found[1].refused
