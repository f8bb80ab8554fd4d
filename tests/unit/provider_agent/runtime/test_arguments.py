from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.runtime.arguments import (
    SystemRoot,
    bubblewrap_arguments,
    check_variables,
    limited_per_process,
)
from assay_provider.runtime.launch_messages import Staging
from assay_provider.runtime.sandbox import DeviceNode, GpuGrant

ROOT = SystemRoot(bound=("/usr", "/lib32"), links=(("/bin", "usr/bin"),))
STAGING = Staging(root=Path("/stage"))


def _arguments(**environment: str) -> list[str]:
    return bubblewrap_arguments(
        root=ROOT,
        staging=STAGING,
        python_bound=True,
        exact_torch_bound=True,
        wasm_bound=True,
        environment=environment,
    )


def test_every_namespace_is_new_and_no_option_is_of_the_kind_that_may_fail_silently() -> None:
    arguments = _arguments()

    for name in ("user", "pid", "ipc", "uts", "cgroup", "net"):
        assert f"--unshare-{name}" in arguments
    assert not [word for word in arguments if word.endswith("-try") or word.startswith("--share")]
    for word in ("--die-with-parent", "--new-session", "--seccomp", "--clearenv"):
        assert word in arguments
    assert arguments[arguments.index("--cap-drop") + 1] == "ALL"


def test_only_scratch_and_output_are_bound_writable() -> None:
    arguments = _arguments()

    writable = [arguments[i + 2] for i, word in enumerate(arguments) if word == "--bind"]
    assert writable == ["/tmp", "/dev/shm", "/output"]
    assert "--dev-bind" not in arguments


def test_what_bwrap_makes_without_a_size_ends_read_only() -> None:
    arguments = _arguments()
    last_mount = max(
        i for i, word in enumerate(arguments) if word.startswith(("--bind", "--ro-bind"))
    )

    remounted = [i for i, word in enumerate(arguments) if word == "--remount-ro"]
    assert [arguments[i + 1] for i in remounted] == ["/dev", "/"]
    assert min(remounted) > last_mount


def test_variables_come_in_a_fixed_order_and_whole() -> None:
    arguments = _arguments(B="2 3", A="--share-net")

    start = arguments.index("--clearenv")
    variables = arguments[start + 1 : start + 7]
    assert variables == ["--setenv", "A", "--share-net", "--setenv", "B", "2 3"]


def test_a_python_below_usr_needs_no_mount_of_its_own() -> None:
    arguments = bubblewrap_arguments(
        root=ROOT,
        staging=STAGING,
        python_bound=False,
        exact_torch_bound=False,
        wasm_bound=False,
        environment={},
    )

    assert "/opt/python" not in arguments
    assert "/opt/exact" not in arguments
    assert "/opt/wasm" not in arguments
    assert "/opt/environment" in arguments


def test_a_grant_shows_its_nodes_and_files_before_the_rest_is_closed() -> None:
    grant = GpuGrant(
        nodes=(DeviceNode(path=Path("/dev/nvidia0"), major=195, minor=0),),
        mounts=((Path("/usr/lib/libcuda.so.580"), "/opt/driver/lib/libcuda.so.1"),),
        variables={},
    )
    arguments = bubblewrap_arguments(
        root=ROOT,
        staging=STAGING,
        python_bound=False,
        exact_torch_bound=False,
        wasm_bound=False,
        environment={},
        gpus=grant,
    )

    node, library = arguments.index("--dev-bind"), arguments.index("/usr/lib/libcuda.so.580")
    assert arguments[node + 1 : node + 3] == ["/dev/nvidia0", "/dev/nvidia0"]
    assert arguments.count("--dev-bind") == 1
    assert arguments[library - 1] == "--ro-bind"
    assert arguments[library + 1] == "/opt/driver/lib/libcuda.so.1"
    assert max(node, library) < arguments.index("--remount-ro")
    assert arguments.index("--dev") < node


def test_what_is_hidden_is_empty_and_closed_after_proc_is_there() -> None:
    arguments = bubblewrap_arguments(
        root=ROOT,
        staging=STAGING,
        python_bound=False,
        exact_torch_bound=False,
        wasm_bound=False,
        environment={},
        hidden=("/proc/driver/nvidia",),
    )

    at = arguments.index("/proc/driver/nvidia")
    assert arguments[at - 1 : at + 3] == [
        "--tmpfs",
        "/proc/driver/nvidia",
        "--remount-ro",
        "/proc/driver/nvidia",
    ]
    assert arguments.index("--proc") < at


@pytest.mark.parametrize("name", ["", "A=B", "A\0"])
def test_impossible_names_of_variables_are_refused(name: str) -> None:
    with pytest.raises(LocalError):
        check_variables({name: "x"})


def test_values_of_variables_hold_no_end_of_string() -> None:
    """A NUL byte would end the argument for bwrap, and begin another one of the job's choice."""
    with pytest.raises(LocalError):
        check_variables({"A": "x\0--share-net"})


def test_the_fallback_limits_each_process() -> None:
    command = limited_per_process(
        ("/bin/true", "--x"), memory_bytes=100, pids_max=5, prlimit=Path("/usr/bin/prlimit")
    )

    assert command == ["/usr/bin/prlimit", "--as=100", "--nproc=7", "--", "/bin/true", "--x"]


def test_an_environment_takes_the_place_of_the_hosts_system_and_python() -> None:
    mounted = Path("/stage/environments/name")
    arguments = bubblewrap_arguments(
        root=ROOT,
        staging=STAGING,
        python_bound=True,
        exact_torch_bound=True,
        wasm_bound=False,
        environment={},
        mounted=mounted,
    )
    bound = {
        arguments[i + 2]: arguments[i + 1]
        for i, word in enumerate(arguments)
        if word in ("--ro-bind", "--bind")
    }
    assert bound == {
        "/": "/stage/environments/name",
        "/opt/exact": "/stage/exact",
        "/tmp": "/stage/scratch/tmp",
        "/dev/shm": "/stage/scratch/shm",
        "/output": "/stage/output",
        "/input": "/stage/input",
    }
    assert arguments.index("--ro-bind") < arguments.index("--proc") < arguments.index("--dev")
    assert "--symlink" not in arguments
    as_before = _arguments()
    assert [a for a in arguments if a.startswith("--unshare")] == [
        a for a in as_before if a.startswith("--unshare")
    ]
    assert (
        arguments[arguments.index("--remount-ro") :] == as_before[as_before.index("--remount-ro") :]
    )
