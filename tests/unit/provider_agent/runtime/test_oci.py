"""Containers: what bwrap is told and an OCI runtime hears, and which runtime will do."""

from pathlib import Path

import pytest

from assay_provider.runtime.arguments import SystemRoot, bubblewrap_arguments
from assay_provider.runtime.launch_messages import Staging
from assay_provider.runtime.oci_configuration import (
    ROOTFS,
    Shape,
    configuration,
    join,
    shape_of,
    with_mounts_below,
    without_users,
)
from assay_provider.runtime.oci_runtimes import (
    RUNSC_DATE_MIN,
    OciRuntime,
    check_runsc,
    find_runtime,
    version_in,
)
from assay_provider.runtime.oci_tier import hidden_mounts, path_in_hierarchy
from assay_provider.runtime.sandbox import DeviceNode, SandboxUnavailable

STAGING = Staging(root=Path("/stage"))

HYBRID = """\
30 23 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 30 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"


def _shape(*more: str) -> Shape:
    arguments = bubblewrap_arguments(
        root=SystemRoot(bound=("/usr",), links=(("/bin", "usr/bin"),)),
        staging=STAGING,
        python_bound=True,
        exact_torch_bound=True,
        wasm_bound=False,
        environment={"B": "2", "A": "x=--bind"},
    )
    return shape_of([*arguments, *more])


def _configuration(shape: Shape, *devices: DeviceNode) -> dict[str, object]:
    return configuration(
        shape,
        command=["python", "-c", "1"],
        users={0: 300_064, 1000: 300_003},
        seccomp={"defaultAction": "SCMP_ACT_ERRNO"},
        open_files_max=10,
        locked_memory_bytes=20,
        devices=devices,
    )


def test_a_container_shows_what_bwrap_would() -> None:
    shape = _shape()

    assert (shape.root, shape.uid, shape.gid) == (ROOTFS, 1000, 1000)
    assert (shape.hostname, shape.directory) == ("job", "/tmp")
    assert shape.variables == ["A=x=--bind", "B=2", "PWD=/tmp"]
    assert shape.links == [["/bin", "usr/bin"]]
    found = {mount["destination"]: mount for mount in shape.mounts}
    assert set(found) == {
        *("/usr", "/etc", "/proc", "/dev", "/dev/pts", "/dev/shm", "/tmp"),
        *("/opt/python", "/opt/environment", "/opt/exact", "/input", "/output"),
    }
    writable = {path for path, mount in found.items() if "ro" not in mount["options"]}
    assert writable == {"/proc", "/dev/pts", "/dev/shm", "/tmp", "/output"}
    bound = [mount for mount in shape.mounts if mount["type"] == "bind"]
    assert all({"nosuid", "nodev"} <= set(mount["options"]) for mount in bound)
    order = list(found)
    assert order.index("/dev") < order.index("/dev/shm")


def test_an_environment_is_the_root_itself() -> None:
    shape = shape_of(["--ro-bind", "/stage/mounted/x", "/", "--proc", "/proc"])

    assert shape.root == "/stage/mounted/x"
    assert [mount["destination"] for mount in shape.mounts] == ["/proc"]
    assert _configuration(shape)["root"] == {"path": "/stage/mounted/x", "readonly": True}


def test_what_only_bwrap_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="--overlay-src"):
        _shape("--overlay-src", "/x")


def test_a_job_in_a_container_has_nothing_it_has_not_at_t1() -> None:
    made = _configuration(_shape())
    process, linux = made["process"], made["linux"]

    assert process["noNewPrivileges"]
    assert all(not kinds for kinds in process["capabilities"].values())
    assert {entry["type"] for entry in linux["namespaces"]} == {
        *("pid", "user", "mount", "network", "ipc", "uts", "cgroup")
    }
    assert linux["uidMappings"] == linux["gidMappings"]
    assert {m["hostID"] for m in linux["uidMappings"]} == {300_003, 300_064}
    assert linux["resources"]["devices"] == [{"allow": False, "access": "rwm"}]


def test_a_granted_device_is_shown_and_allowed() -> None:
    shape = _shape("--dev-bind", "/dev/nvidia0", "/dev/nvidia0")
    node = DeviceNode(path=Path("/dev/nvidia0"), major=195, minor=0)
    devices = _configuration(shape, node)["linux"]["resources"]["devices"]

    assert "nodev" not in shape.mounts[-1]["options"]
    assert devices[1:] == [{"allow": True, "type": "c", "major": 195, "minor": 0, "access": "rw"}]


def test_namespaces_are_joined_by_path_or_left_to_the_runtime() -> None:
    made = _configuration(_shape())
    joined = join(made, {"pid": "/proc/7/ns/pid"})["linux"]["namespaces"]
    assert {"type": "pid", "path": "/proc/7/ns/pid"} in joined
    assert {"type": "mount"} in joined
    alone = without_users(made, 300_003)
    assert {"type": "user"} not in alone["linux"]["namespaces"]
    assert alone["process"]["user"] == {"uid": 300_003, "gid": 300_003}
    assert {"type": "user"} in made["linux"]["namespaces"], "the original is left as it was"


def test_what_is_mounted_below_a_bind_is_bound_as_it_is() -> None:
    shape = shape_of(["--ro-bind", "/stage/environment", "/opt/environment", "--proc", "/proc"])
    mountinfo = (
        "1 0 0:1 / / rw - ext4 x rw\n"
        "2 1 0:2 / /stage rw - tmpfs x rw\n"
        "3 2 0:3 / /stage/environment/a\\040b rw - ext4 x rw\n"
        "4 2 0:4 / /stage/environments rw - ext4 x rw\n"
    )
    made = with_mounts_below(_configuration(shape), mountinfo)
    bound = [m for m in made["mounts"] if m["type"] == "bind"]
    assert [(m["source"], m["destination"]) for m in bound] == [
        ("/stage/environment", "/opt/environment"),
        ("/stage/environment/a b", "/opt/environment/a b"),
    ]
    assert all("ro" in m["options"] for m in bound)


def test_a_runtime_sees_the_hierarchies_that_hold_the_job_and_no_others() -> None:
    procs = [
        f"/sys/fs/cgroup/{controller}/assay/x/1-2-3/cgroup.procs"
        for controller in ("memory", "pids")
    ]
    assert hidden_mounts(procs, HYBRID) == ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/cpuset"]
    assert path_in_hierarchy(procs, HYBRID) == "/assay/x/1-2-3"
    unified = ["/sys/fs/cgroup/assay/x/1-2-3/cgroup.procs"]
    assert hidden_mounts(unified, UNIFIED) == []
    assert path_in_hierarchy(unified, UNIFIED) == "/assay/x/1-2-3"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("crun version 1.8.1\ncommit: f8a0\n", "1.8.1"),
        ("runc version 1.1.5+ds1\ncommit: 1.1.5\n", "1.1.5+ds1"),
        ("runsc version release-20260803.0\nspec: 1.1.0-rc.1\n", "20260803.0"),
        ("runsc version 0.0~20221219.0\n", "0.0~20221219.0"),
        ("", ""),
    ],
)
def test_versions_are_read(said: str, version: str) -> None:
    assert version_in(said) == version


def test_a_gvisor_that_is_not_current_is_refused_with_what_to_do() -> None:
    check_runsc(f"{RUNSC_DATE_MIN}.0")
    for version in ("0.0~20221219.0", "VERSION_MISSING", "", "20241231.0"):
        with pytest.raises(SandboxUnavailable, match=r"gvisor\.dev"):
            check_runsc(version)


def test_a_runtime_that_is_missing_or_broken_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay_provider.runtime.oci_runtimes._SEARCHED", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="install the package crun"):
        find_runtime("auto")
    with pytest.raises(SandboxUnavailable, match="runsc is not installed"):
        find_runtime("runsc")
    for name, script in (("crun", "exit 1"), ("runc", "echo runc version 1.2.3")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    with pytest.raises(SandboxUnavailable, match="does not start"):
        find_runtime("auto")
    (tmp_path / "crun").unlink()
    found = find_runtime("auto")
    assert (found.name, found.version, found.joins_by_path) == ("runc", "1.2.3", True)


def test_runtimes_leave_cgroups_to_us_and_the_job_to_the_launcher() -> None:
    def command(name: str) -> list[str]:
        return OciRuntime(name=name, path=f"/{name}", version="1").command("/s", "/b", "/p")

    assert "--cgroup-manager=disabled" in command("crun")
    assert "--ignore-cgroups" in command("runsc")
    assert "--detach" in command("crun")
    assert "--detach" in command("runc")
    assert "--detach" not in command("runsc")
