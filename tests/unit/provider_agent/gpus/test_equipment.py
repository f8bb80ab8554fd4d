"""Nodes, files and the grant made of them, on machines set up in various ways."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from assay_provider.gpus.cdi import CdiSpec, parse_cdi
from assay_provider.gpus.cdi_files import CdiFile
from assay_provider.gpus.device import GpuDevice, device_name, devices_of
from assay_provider.gpus.device_nodes import driver_majors, find_nodes
from assay_provider.gpus.driver_files import files_of_loader
from assay_provider.gpus.granting import equip, grant
from assay_provider.gpus.host import HostNode, ThisHost
from tests.fakes.gpus import (
    A100_MIG,
    H100,
    LIBRARY_FOLDER,
    PROC_DEVICES,
    add_library,
    host_with,
    several,
)
from tests.unit.provider_agent.gpus.cdi_specs import SPEC, changed, mount

WHOLE = GpuDevice(facts=H100)
PARTS = devices_of([A100_MIG])


def _spec(document: object = SPEC) -> CdiSpec:
    import json

    return parse_cdi(json.dumps(document).encode(), as_json=True)


def _paths(device: GpuDevice, *cards: object) -> list[str]:
    return [str(node.path) for node in find_nodes(device, host_with(H100, A100_MIG)).nodes]


def test_devices_are_whole_cards_or_their_instances() -> None:
    devices = devices_of([H100, A100_MIG])

    assert [device.uuid for device in devices] == [
        H100.uuid,
        *(part.uuid for part in A100_MIG.instances),
    ]
    assert devices[1].usable_bytes == 20_037 << 20
    assert devices[1].hardware_class == "nvidia-a100-sxm4-40gb-mig-3g.20gb"
    assert devices[0].offered.device == device_name(H100.uuid)
    assert H100.uuid.encode() not in devices[0].offered.device


def test_a_card_takes_its_own_node_and_those_of_all_cards() -> None:
    assert _paths(WHOLE) == [
        "/dev/nvidia0",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
    ]


def test_an_instance_takes_its_two_capabilities_and_no_others() -> None:
    assert _paths(PARTS[1]) == [
        "/dev/nvidia1",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidia-caps/nvidia-cap20",
        "/dev/nvidia-caps/nvidia-cap21",
    ]


def test_the_debuggers_node_may_be_missing() -> None:
    host = host_with(H100)
    del host.nodes["/dev/nvidia-uvm-tools"]

    assert find_nodes(WHOLE, host).faults == ()


@pytest.mark.parametrize(
    ("path", "node", "words"),
    [
        ("/dev/nvidia-uvm", None, "nvidia-modprobe -u -c=0"),
        ("/dev/nvidia0", HostNode(major=8, minor=0, block=True, open_to_all=True), "not a device"),
        ("/dev/nvidiactl", HostNode(major=1, minor=1, block=False, open_to_all=True), "(1:1)"),
        ("/dev/nvidia0", HostNode(major=195, minor=1, block=False, open_to_all=True), "another"),
        (
            "/dev/nvidia0",
            HostNode(major=195, minor=0, block=False, open_to_all=False),
            "chmod a+rw",
        ),
    ],
)
def test_a_node_that_is_not_what_it_should_be_is_a_fault(
    path: str, node: HostNode | None, words: str
) -> None:
    host = host_with(H100)
    if node is None:
        del host.nodes[path]
    else:
        host.nodes[path] = node

    found = find_nodes(WHOLE, host)

    assert path not in [str(one.path) for one in found.nodes]
    [fault] = found.faults
    assert words in fault


def test_an_instance_without_capabilities_says_how_to_make_them() -> None:
    host = host_with(H100)
    faults = " ".join(find_nodes(PARTS[0], host).faults)

    assert "nvidia-modprobe -f /proc/driver/nvidia/capabilities/gpu1/mig/gi1/access" in faults


def test_numbers_of_the_driver_are_those_of_character_devices() -> None:
    assert driver_majors(PROC_DEVICES) == {195, 236, 510}
    assert driver_majors("") == {195}


def test_without_a_cdi_file_the_loader_knows_the_libraries() -> None:
    host = host_with(H100)
    add_library(host, "libnvidia-opencl")

    equipment = equip(WHOLE, host, [])

    assert equipment.source == "the host's loader"
    assert equipment.faults == ()
    assert [inside for _, inside in equipment.files.mounts] == [
        "/opt/driver/bin/nvidia-smi",
        "/opt/driver/lib/libcuda.so.1",
        "/opt/driver/lib/libnvidia-ml.so.1",
        "/opt/driver/lib/libnvidia-opencl.so.1",
        "/opt/driver/lib/libnvidia-ptxjitcompiler.so.1",
    ]
    assert all(source.endswith("580.159.03") for source, _ in equipment.files.mounts[1:])


def test_a_32_bit_twin_is_left_out() -> None:
    host = host_with(H100)
    twin = "/usr/lib/i386-linux-gnu/libcuda.so.580.159.03"
    host.files |= {twin: twin, "/usr/lib/i386-linux-gnu/libcuda.so.1": twin}
    host.loader = (*host.loader, "/usr/lib/i386-linux-gnu/libcuda.so.1")

    files = files_of_loader(host)
    assert [source for source, _ in files.mounts if "libcuda" in source] == [
        f"{LIBRARY_FOLDER}/libcuda.so.580.159.03"
    ]


def test_without_the_library_nothing_can_be_granted() -> None:
    host = host_with(H100)
    host.loader = ()

    [fault] = equip(WHOLE, host, []).faults
    assert "libcuda.so.1 is not installed" in fault


def test_a_cdi_file_is_found_by_the_nodes_it_gives_whatever_it_calls_the_device() -> None:
    first, second = (GpuDevice(facts=facts) for facts in several(2))
    host = host_with(first.facts, second.facts)
    document = changed("devices", [{**SPEC["devices"][0], "name": "7"}, SPEC["devices"][2]])
    file = CdiFile(path=Path("/etc/cdi/nvidia.yaml"), spec=_spec(document))

    assert equip(first, host, [file]).source == "/etc/cdi/nvidia.yaml"
    assert equip(second, host, [file]).source == "the host's loader"


def test_a_cdi_file_that_is_refused_is_passed_over_with_a_remark() -> None:
    host = host_with(*several(2))
    bad = _spec(changed("containerEdits.mounts.+", mount("/etc/shadow")))
    files = [
        CdiFile(path=Path("/var/run/cdi/bad.yaml"), spec=bad),
        CdiFile(path=Path("/var/run/cdi/worse.yaml"), spec=None, refused="it is not YAML"),
        CdiFile(path=Path("/etc/cdi/nvidia.yaml"), spec=_spec()),
    ]

    equipment = equip(GpuDevice(facts=several(2)[0]), host, files)

    assert equipment.source == "/etc/cdi/nvidia.yaml"
    assert [remark.partition(" ")[0] for remark in equipment.remarks] == [
        "/var/run/cdi/bad.yaml",
        "/var/run/cdi/worse.yaml",
    ]


def test_a_grant_of_several_devices_names_each_node_once() -> None:
    cards = several(2)
    host = host_with(*cards)
    given = grant([equip(GpuDevice(facts=card), host, []) for card in cards])

    assert [str(node.path) for node in given.nodes] == [
        "/dev/nvidia0",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-uvm-tools",
        "/dev/nvidia1",
    ]
    assert given.variables == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert len(given.mounts) == len(set(given.mounts)) == 4


def test_a_grant_of_an_instance_says_which() -> None:
    given = grant([equip(PARTS[0], host_with(A100_MIG), [])])

    assert given.variables["CUDA_VISIBLE_DEVICES"] == A100_MIG.instances[0].uuid


def test_this_machine_is_looked_at_as_it_is(tmp_path: Path) -> None:
    host = ThisHost()
    link = tmp_path / "link"
    link.symlink_to("/dev/null")

    assert host.node("/dev/null") == HostNode(major=1, minor=3, block=False, open_to_all=True)
    assert host.node(str(link)) is None, "a link is no node"
    assert host.node(str(tmp_path)) is None
    assert host.node("/dev/there-is-no-such") is None
    assert host.real_path(str(tmp_path / "missing")) is None
    assert host.real_path(str(tmp_path)) is None
    assert "mem" in (host.text("/proc/devices") or "")
    assert host.text(str(tmp_path / "missing")) is None
    assert host.output("sh", "-c", "echo $HOME$SECRET; exit 0") == "\n"
    assert host.output("sh", "-c", "exit 1") is None
    assert host.output("there-is-no-such-program") is None
    assert any(name for name in host.commands())
    assert all(path.startswith("/") for path in host.libraries())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make device nodes")
def test_a_node_made_by_mknod_is_seen_with_its_number_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "nvidia3"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(195, 3))

    found = ThisHost().node(str(path))
    assert found == HostNode(major=195, minor=3, block=False, open_to_all=False)
    path.chmod(0o666)
    assert ThisHost().node(str(path)) == replace(found, open_to_all=True)
