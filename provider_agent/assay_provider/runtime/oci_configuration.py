"""The configuration of an OCI runtime, from the command line that bwrap would get. Pure.

One description of a sandbox serves both programs, so that a job finds the same at T2 as at T1, and
whatever is added to the one is in the other. An option that is not known here is an error. Source:
the OCI runtime specification 1.0.2, config.md and config-linux.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from assay_provider.runtime.sandbox import DeviceNode

OCI_VERSION: Final = "1.0.2"
ROOTFS: Final = "rootfs"
"""The root made for the host's system, in the bundle; an environment brings its own."""

_READ_ONLY: Final = ("rbind", "rprivate", "nosuid", "nodev", "ro")
_WRITABLE: Final = ("rbind", "rprivate", "nosuid", "nodev", "rw")
_DEVICE: Final = ("bind", "rprivate", "nosuid", "noexec", "rw")
_DEV_BYTES: Final = 65_536

_MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
)
_READ_ONLY_PROC: Final = (
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)
_CAPABILITIES: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")
_NAMESPACES: Final = ("pid", "user", "mount", "network", "ipc", "uts", "cgroup")

_NO_ARGUMENT: Final = frozenset(
    {
        *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup", "--unshare-net", "--die-with-parent", "--new-session", "--clearenv"),
    }
)
"""What every container has by what is said below, or by the launcher."""
_ONE_ARGUMENT_ELSEWHERE: Final = frozenset({"--cap-drop", "--seccomp", "--json-status-fd"})


@dataclass(slots=True, kw_only=True)
class Shape:
    """What a sandbox looks like inside."""

    root: str = ROOTFS
    uid: int = 0
    gid: int = 0
    hostname: str = ""
    directory: str = "/"
    mounts: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[str]] = field(default_factory=list)
    """Path and target of each link in the root."""
    variables: list[str] = field(default_factory=list)


def shape_of(arguments: Iterable[str]) -> Shape:
    """Return what bwrap's options describe.

    Raises:
        ValueError: an option that T2 does not know.
    """
    shape = Shape()
    words = iter(arguments)
    for option in words:
        if option in _NO_ARGUMENT:
            continue
        first = next(words)
        if option in _ONE_ARGUMENT_ELSEWHERE:
            continue
        _apply(shape, option, first, words)
    return shape


def configuration(
    shape: Shape,
    *,
    command: list[str],
    users: Mapping[int, int],
    seccomp: Mapping[str, object],
    open_files_max: int,
    locked_memory_bytes: int,
    devices: tuple[DeviceNode, ...] = (),
) -> dict[str, Any]:
    """Return config.json, without the paths of namespaces that are joined.

    Args:
        shape: what is seen inside.
        command: the job's.
        users: uid and gid inside to those on the host; 0 sets the container up and is left then.
        seccomp: the filter, in the specification's form.
        open_files_max: descriptors of a process.
        locked_memory_bytes: memory that may not be swapped.
        devices: nodes besides the harmless ones; only runtimes that make cgroups look at them.
    """
    mapping = [
        {"containerID": inside, "hostID": outside, "size": 1} for inside, outside in users.items()
    ]
    none: list[str] = []
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": shape.uid, "gid": shape.gid},
            "args": command,
            "env": shape.variables,
            "cwd": shape.directory,
            "capabilities": dict.fromkeys(
                ("bounding", "effective", "inheritable", "permitted", "ambient"), none
            ),
            "noNewPrivileges": True,
            "rlimits": [
                {"type": kind, "hard": limit, "soft": limit}
                for kind, limit in (
                    ("RLIMIT_CORE", 0),
                    ("RLIMIT_NOFILE", open_files_max),
                    ("RLIMIT_MEMLOCK", locked_memory_bytes),
                    ("RLIMIT_MSGQUEUE", 0),
                    ("RLIMIT_NICE", 0),
                    ("RLIMIT_RTPRIO", 0),
                )
            ],
        },
        "root": {"path": shape.root, "readonly": True},
        "hostname": shape.hostname,
        "mounts": shape.mounts,
        "linux": {
            "uidMappings": mapping,
            "gidMappings": mapping,
            "namespaces": [{"type": kind} for kind in _NAMESPACES],
            "resources": {"devices": [{"allow": False, "access": "rwm"}, *_allowed(devices)]},
            "seccomp": dict(seccomp),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY_PROC),
        },
    }


def with_mounts_below(configured: Mapping[str, Any], mountinfo: str) -> dict[str, Any]:
    """Return a configuration that names what is mounted below each of its binds, too.

    The binds are recursive: in a user namespace the kernel takes no others. But crun leaves the
    lower mounts out there, and runc takes them over without their options: writable, were it not
    for their files' modes.
    """
    points = sorted({_unescaped(line.split()[4]) for line in mountinfo.splitlines()})
    mounts = []
    for mount in configured["mounts"]:
        mounts.append(mount)
        if mount["type"] != "bind":
            continue
        source = mount["source"]
        mounts += [
            mount | {"source": point, "destination": mount["destination"] + point[len(source) :]}
            for point in points
            if point.startswith(f"{source}/")
        ]
    return {**configured, "mounts": mounts}


def join(configured: Mapping[str, Any], namespaces: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration whose container joins namespaces: kind to path."""
    linux = dict(configured["linux"])
    linux["namespaces"] = [
        entry | ({"path": namespaces[entry["type"]]} if entry["type"] in namespaces else {})
        for entry in linux["namespaces"]
    ]
    return {**configured, "linux": linux}


def without_users(configured: Mapping[str, Any], uid: int) -> dict[str, Any]:
    """Return a configuration without a user namespace, for a runtime that makes its own.

    The job is known by its host uid inside, too.
    """
    linux = dict(configured["linux"])
    linux["uidMappings"] = linux["gidMappings"] = []
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "user"]
    process = configured["process"] | {"user": {"uid": uid, "gid": uid}}
    return {**configured, "linux": linux, "process": process}


def places_of(shape: Shape) -> list[list[str]]:
    """Return the mount points that a root made for it must have, each with what is bound there."""
    return [
        [mount["destination"], mount["source"] if mount["type"] == "bind" else ""]
        for mount in shape.mounts
    ]


def _unescaped(path: str) -> str:
    """Undo what the kernel does to white space and backslashes (proc_pid_mountinfo(5))."""
    for code, character in (("040", " "), ("011", "\t"), ("012", "\n"), ("134", "\\")):
        path = path.replace(f"\\{code}", character)
    return path


def _apply(shape: Shape, option: str, first: str, words: Any) -> None:
    match option:
        case "--uid":
            shape.uid = int(first)
        case "--gid":
            shape.gid = int(first)
        case "--hostname":
            shape.hostname = first
        case "--chdir":
            shape.directory = first
            shape.variables.append(f"PWD={first}")
        case "--setenv":
            shape.variables.append(f"{first}={next(words)}")
        case "--symlink":
            shape.links.append([next(words), first])
        case "--ro-bind" | "--bind" | "--dev-bind":
            _bind(shape, option, first, next(words))
        case "--tmpfs":
            shape.mounts.append(_mount(first, "tmpfs", ("nosuid", "noexec", "nodev", "size=4096")))
        case "--proc":
            shape.mounts.append(_mount(first, "proc", ("nosuid", "noexec", "nodev")))
        case "--dev":
            shape.mounts += _dev(first)
        case "--remount-ro":
            _remount(shape, first)
        case _:
            raise ValueError(f"an OCI runtime is not told about bwrap's {option}")


def _bind(shape: Shape, option: str, source: str, target: str) -> None:
    if target == "/":
        shape.root = source
        return
    options = {"--ro-bind": _READ_ONLY, "--bind": _WRITABLE, "--dev-bind": _DEVICE}[option]
    shape.mounts.append(_mount(target, "bind", options, source=source))


def _dev(target: str) -> list[dict[str, Any]]:
    size = f"size={_DEV_BYTES}"
    terminals = ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620")
    return [
        _mount(target, "tmpfs", ("nosuid", "noexec", "strictatime", "mode=755", size)),
        _mount(f"{target}/pts", "devpts", terminals),
    ]


def _remount(shape: Shape, target: str) -> None:
    """The root is always read-only; a mount of its own is told so."""
    for mount in shape.mounts:
        if mount["destination"] == target:
            mount["options"].append("ro")


def _mount(
    target: str, kind: str, options: Iterable[str], source: str | None = None
) -> dict[str, Any]:
    return {
        "destination": target,
        "type": kind,
        "source": source or kind,
        "options": list(options),
    }


def _allowed(devices: tuple[DeviceNode, ...]) -> list[dict[str, object]]:
    return [
        {
            "allow": True,
            "type": "b" if node.block else "c",
            "major": node.major,
            "minor": node.minor,
            "access": "rw",
        }
        for node in devices
    ]
