"""A systemd unit for the daemon: restarted after a crash, stopped politely, and shut in.

What is shut, and what is not, was chosen by what the sandbox needs: it makes namespaces, cgroups,
mounts and loop devices, and hands out device nodes. So these stay off, on purpose:

- ProtectControlGroups: jobs' limits are cgroups below this unit's (Delegate=yes).
- PrivateDevices and ProtectClock, which narrows DevicePolicy as well: loop devices, GPUs.
- ProtectKernelTunables, ProtectKernelLogs, ProtectProc, ProtectHostname: they mount over parts of
  /proc, and the kernel then refuses every sandbox a /proc of its own (mount_too_revealing()).
- RestrictNamespaces, SystemCallFilter, MemoryDenyWriteExecute, RestrictSUIDSGID: namespaces are the
  sandbox; jobs get a list of their own; just-in-time compilers; unpacked environments.

Source: systemd.exec(5), systemd.service(5), systemd.resource-control(5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay_node.private_files import check_private_file
from assay_node.protocol.errors import LocalError

UNIT_NAME: Final = "assay-provider.service"
MARK: Final = "# Written by `assay provider install-unit`, which may replace it.\n"
STOP_S: Final = 60
"""A daemon that leaves needs five seconds to hand jobs back, and moments to end its sandboxes."""
_CAPABILITIES_DROPPED: Final = (
    "CAP_SYS_MODULE", "CAP_SYS_BOOT", "CAP_SYS_TIME", "CAP_SYSLOG", "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE", "CAP_WAKE_ALARM", "CAP_AUDIT_CONTROL",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPlan:
    """What a unit starts. `writable` are folders that it writes into beside /var and /run."""

    command: tuple[str, ...]
    password_file: Path
    writable: tuple[Path, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    for_user: bool = False


def unit_text(plan: UnitPlan) -> str:
    """Return the unit file.

    Raises:
        LocalError: a path or a value cannot be written into one, or others can read the password.
    """
    check_private_file(plan.password_file)
    variables = {**plan.environment, "ASSAY_PASSWORD_FILE": "%d/password"}
    sections = (
        ("Unit", _unit(plan)),
        ("Service", [*_service(plan, variables), *([] if plan.for_user else _shut_in(plan))]),
        ("Install", [f"WantedBy={'default.target' if plan.for_user else 'multi-user.target'}"]),
    )
    parts = [f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections]
    return MARK + "\n".join(parts)


def unit_path(*, for_user: bool, home: Path) -> Path:
    """Return where systemd looks for it; `home` is the user's."""
    if for_user:
        return home / ".config" / "systemd" / "user" / UNIT_NAME
    return Path("/etc/systemd/system") / UNIT_NAME


def install_unit(path: Path, text: str) -> bool:
    """Write a unit file; False when it is there as it should be.

    Raises:
        LocalError: another file has its name, or it cannot be written.
    """
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before == text:
            return False
        if before is not None and not before.startswith(MARK):
            raise LocalError(f"{path} was written by somebody else; move it away first")
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise LocalError(
            f"cannot write {path}: {why.lower()}; as root, or with --user, or use --print"
        ) from None
    return True


def _unit(plan: UnitPlan) -> list[str]:
    network = (
        [] if plan.for_user else ["Wants=network-online.target", "After=network-online.target"]
    )
    return [
        "Description=Assay provider: sells this machine's compute",
        *network,
        # a chain or a network that is away at boot must not end it for good
        "StartLimitIntervalSec=0",
    ]


def _service(plan: UnitPlan, variables: Mapping[str, str]) -> list[str]:
    return [
        "Type=exec",
        *([] if plan.for_user else ["User=root"]),
        "ExecStart=" + " ".join(_quoted(word) for word in plan.command),
        f'LoadCredential="password:{_path(plan.password_file)}"',
        *(f"Environment={_assignment(name, value)}" for name, value in variables.items()),
        "Restart=on-failure",
        "RestartSec=15",
        # 2 is wrong usage: it would be wrong again
        "RestartPreventExitStatus=2",
        # SIGTERM to the daemon alone, which hands its jobs back and ends them itself
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_S}",
        "Delegate=yes",
        # a job that runs out of memory is its own affair
        "OOMPolicy=continue",
        "UMask=0077",
        "LimitNOFILE=65536",
        # keys are in its memory
        "LimitCORE=0",
    ]


def _shut_in(plan: UnitPlan) -> list[str]:
    """Return what only the system's manager can do."""
    return [
        "ProtectSystem=full",
        "ProtectHome=read-only",
        *(f'ReadWritePaths="-{_path(path)}"' for path in plan.writable),
        "PrivateTmp=yes",
        "ProtectKernelModules=yes",
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        "RestrictRealtime=yes",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
        "SystemCallArchitectures=native",
        f"CapabilityBoundingSet=~{' '.join(_CAPABILITIES_DROPPED)}",
    ]


def _path(path: Path) -> str:
    text = str(path)
    if not path.is_absolute() or not text.isprintable() or '"' in text or "\\" in text:
        raise LocalError(f"{text!a} cannot be named in a unit file; choose a plainer path")
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    if not word.isprintable():
        raise LocalError(f"{word!a} cannot be written into a unit file")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _assignment(name: str, value: str) -> str:
    if not value.isprintable():
        raise LocalError(f"{name} cannot be written into a unit file")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    # %d is ours: where systemd puts the password
    escaped = escaped if value.startswith("%d/") else escaped.replace("%", "%%")
    return f'"{name}={escaped}"'
