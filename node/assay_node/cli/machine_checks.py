"""What each role needs of its machine: one check, one finding, one sentence with the remedy."""

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from assay_node.protocol.errors import AssayError
from assay_node.protocol.units import GIB, size_to_text

if TYPE_CHECKING:
    from assay_node.settings import Settings

PYTHON_MIN: Final = (3, 11)
NODE_MAJOR_MIN: Final = 20
DISK_FREE_BYTES_MIN: Final = 2 * GIB
"""A market in a box writes some 0.3 GB; below this a job's inputs may not fit either."""

CLOCK_AHEAD_S_MAX: Final = 15
"""A block cannot come from the future by more than this: Ethereum's own tolerance."""

CHAIN_BEHIND_S_MAX: Final = 120
"""A chain whose newest block is older than this stands still, or our clock is ahead."""

_TOOL_TIMEOUT_S: Final = 15.0


class Role(StrEnum):
    """Whom a machine is to serve."""

    REQUESTER = "requester"
    PROVIDER = "provider"
    SCHEDULER = "scheduler"
    DEVELOPER = "developer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One look at the machine. `remedy` is for when it is not ok."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""
    required: bool = True


Check = Callable[["Settings"], Awaitable[list[Finding]]]


def checks_for(role: Role) -> tuple[Check, ...]:
    """Return what a role needs, quickest first."""
    everybody: tuple[Check, ...] = (python, disk, home)
    match role:
        case Role.REQUESTER:
            return (*everybody, chain)
        case Role.SCHEDULER:
            return (*everybody, ports, chain)
        case Role.PROVIDER:
            return (*everybody, ports, chain, environments, sandbox)
        case Role.DEVELOPER:
            return (*everybody, tools, postgresql, environments, sandbox_for_development)


async def python(_: "Settings") -> list[Finding]:
    """Check the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, PYTHON_MIN))
    return [
        Finding(
            name="python",
            ok=sys.version_info >= PYTHON_MIN,
            seen=version,
            remedy=f"install Python {wanted} or newer and set Assay up again with it",
        )
    ]


async def disk(settings: "Settings") -> list[Finding]:
    """Check the room where jobs and databases go."""
    from assay_node.settings import assay_home

    del settings
    existing = next(path for path in (assay_home(), *assay_home().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return [
        Finding(
            name="disk",
            ok=free >= DISK_FREE_BYTES_MIN,
            seen=f"{size_to_text(free)} free at {existing}",
            remedy=f"make room: {size_to_text(DISK_FREE_BYTES_MIN)} are needed, "
            "or set ASSAY_HOME to a larger disk",
        )
    ]


async def home(settings: "Settings") -> list[Finding]:
    """Check that nobody else can read keys, passwords or databases."""
    from assay_node.settings import assay_home

    homes = (assay_home(), settings.requester.home, settings.scheduler.home, settings.provider.home)
    exposed = [str(place) for place in homes if _open_to_others(place)]
    return [
        Finding(
            name="home",
            ok=not exposed,
            seen=f"{assay_home()}, {'open to others' if exposed else 'yours alone'}",
            remedy=f"others can read your keys and data; run: chmod 700 {' '.join(exposed)}",
        )
    ]


async def ports(settings: "Settings") -> list[Finding]:
    """Check that the fixed TCP ports of the settings are free, or that Assay itself has them."""
    return [
        Finding(
            name=f"port {port}",
            ok=_can_bind(host, port),
            seen=f"{key} is {'free' if _can_bind(host, port) else 'taken'}",
            remedy=f"stop whatever listens on {host}:{port}, or set {key} to another port",
            required=False,  # a daemon of ours that runs already is no fault
        )
        for key, host, port in _fixed_ports(settings)
    ]


async def chain(settings: "Settings") -> list[Finding]:
    """Check the RPC endpoint, that it serves the deployment's chain, and the clock by it."""
    from assay_node.chain import deployment as deployments
    from assay_node.chain.client import ChainSettings, open_reader

    try:
        where = ChainSettings(
            rpc_url=settings.chain.rpc_url, deployment=deployments.load(settings.chain.deployment)
        )
        async with open_reader(where) as reader:
            head = await reader.head()
    except AssayError as error:
        return [Finding(name="chain", ok=False, seen="not usable", remedy=str(error))]
    age_s = time.time() - head.timestamp
    seen = f"chain {where.deployment.chain_id}, block {head.number}"
    return [Finding(name="chain", ok=True, seen=seen), _clock(age_s)]


async def tools(_: "Settings") -> list[Finding]:
    """Check the contract tools of a checkout."""
    from assay_node.devnet.anvil import contracts_folder, find_anvil

    findings = [_node()]
    try:
        findings.append(Finding(name="anvil", ok=True, seen=str(find_anvil())))
    except AssayError as error:
        findings.append(Finding(name="anvil", ok=False, seen="missing", remedy=str(error)))
    for name in ("forge", "solc"):
        wrapper = contracts_folder() / name
        said = await asyncio.to_thread(_version, str(wrapper))
        findings.append(
            Finding(
                name=name,
                ok=said is not None,
                seen=said or "does not start",
                remedy="run `make setup` in a checkout of the repository",
            )
        )
    return findings


async def postgresql(_: "Settings") -> list[Finding]:
    """Check for a PostgreSQL server's programs, which only tests need."""
    found = shutil.which("initdb") or await asyncio.to_thread(_debian_initdb)
    return [
        Finding(
            name="postgresql",
            ok=found is not None,
            seen=found or "missing",
            remedy="install the package postgresql to run the tests that need it",
            required=False,
        )
    ]


async def environments(_: "Settings") -> list[Finding]:
    """Check what packing the environments of jobs needs; without it host-python is left."""
    from assay_provider.environments.availability import find_packer

    try:
        seen, remedy = find_packer(uid=0).mksquashfs, ""
        if os.getuid() != 0:
            seen, remedy = "not as an ordinary user", "run the provider as root, which may mount"
    except AssayError as error:
        seen, remedy = "host-python only, for development", str(error)
    return [Finding(name="environments", ok=not remedy, seen=seen, remedy=remedy, required=False)]


async def sandbox(settings: "Settings") -> list[Finding]:
    """Try every promise of the sandbox; the tier must be the one that offers name."""
    return await _sandbox(settings, weak_is_enough=False)


async def sandbox_for_development(settings: "Settings") -> list[Finding]:
    """As `sandbox`; on one's own machine, with one's own jobs, weak limits do."""
    return await _sandbox(settings, weak_is_enough=True)


async def _sandbox(settings: "Settings", *, weak_is_enough: bool) -> list[Finding]:
    from assay_provider.runtime.bubblewrap import open_sandbox
    from assay_provider.runtime.preparation import SandboxSettings
    from assay_provider.runtime.sandbox import Tier

    mine = SandboxSettings(instance="doctor", uid_first=settings.provider.uid_first)
    try:
        async with open_sandbox(mine) as opened:
            report = await opened.self_test()
            driver = opened.parts.detection.driver
    except AssayError as error:
        return [Finding(name="sandbox", ok=False, seen="not usable", remedy=str(error))]
    enough = report.tier is Tier.T1 or (weak_is_enough and report.tier is Tier.T1_WEAK)
    limits = "no cgroups" if driver is None else type(driver).__name__.removesuffix("Driver")
    faults = [
        Finding(
            name=f"sandbox: {item.name}",
            ok=False,
            seen=item.detail,
            remedy=item.remedy,
            required=not enough,
        )
        for item in report.failures
    ]
    remedy = "no jobs can be run until the points below are mended"
    overall = Finding(
        name="sandbox",
        ok=enough,
        seen=f"tier {report.tier}, limits by {limits}",
        remedy="" if enough else remedy,
    )
    return [overall, *faults]


def _clock(age_s: float) -> Finding:
    ahead, behind = age_s < -CLOCK_AHEAD_S_MAX, age_s > CHAIN_BEHIND_S_MAX
    remedy = ""
    if ahead:
        remedy = "this machine's clock is behind; switch time synchronisation on"
    elif behind:
        remedy = "the chain stands still or this machine's clock is ahead; check both"
    return Finding(
        name="clock",
        ok=not (ahead or behind),
        seen=f"the newest block is {age_s:.0f} s old",
        remedy=remedy,
    )


def _node() -> Finding:
    """Only a note: `solc` runs on Node.js, and says itself whether it found one."""
    said = _version(
        shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    )
    major = (said or "").removeprefix("v").split(".")[0]
    return Finding(
        name="node",
        ok=major.isdecimal() and int(major) >= NODE_MAJOR_MIN,
        seen=said or "missing",
        remedy=f"install Node.js {NODE_MAJOR_MIN} or newer, or run `make setup`",
        required=False,
    )


def _debian_initdb() -> str | None:
    """Debian and Ubuntu keep server programs out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1]) if found else None


def _version(program: str | None) -> str | None:
    """Return the last line a program prints about its version, None if it does not start."""
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            timeout=_TOOL_TIMEOUT_S,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    lines = done.stdout.split("\n")
    return next((line.strip() for line in lines if any(c.isdigit() for c in line)), "")


def _open_to_others(place: Path) -> bool:
    """A private folder shuts others out of all that lies below it."""
    return place.exists() and bool(stat.S_IMODE(place.stat().st_mode) & 0o077)


def _fixed_ports(settings: "Settings") -> Iterator[tuple[str, str, int]]:
    if settings.scheduler.api_port:
        yield "scheduler.api_port", settings.scheduler.api_host, settings.scheduler.api_port
    for multiaddr in settings.network.listen:
        match multiaddr.split("/"):
            case ["", "ip4" | "ip6", host, "tcp", port, *_] if port.isdecimal() and int(port):
                yield "network.listen", host, int(port)


def _can_bind(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
