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
    from assay_provider.runtime.sandbox import SelfTestReport

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
            return (*everybody, ports, chain, leftovers, environments, sandbox, gpus)
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


async def leftovers(settings: "Settings") -> list[Finding]:
    """Look for what a killed daemon left, and tell what the last start removed."""
    from assay_provider.claims import home_is_held
    from assay_provider.compose import territory_of
    from assay_provider.runtime import leftovers as traces

    mine = settings.provider
    report = traces.read_report(mine.home)
    removed = [f"{one['kind']} {one['what']}" for one in report["found"]] if report else []
    last = f"the last start removed {len(removed)} ({', '.join(removed[:5])})" if removed else ""
    if home_is_held(mine.home):
        seen = "; ".join(filter(None, ("a provider is running", last)))
        return [Finding(name="leftovers", ok=True, seen=seen)]
    found = await asyncio.to_thread(traces.find, territory_of(mine))
    names = ", ".join(f"{one.kind} {one.what}" for one in found[:5])
    return [
        Finding(
            name="leftovers",
            ok=not found,
            seen=f"{len(found)} of a killed provider ({names})" if found else last or "none",
            remedy="`assay provider run` removes them when it starts",
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
    """Try every promise of every tier; those that offers name must keep theirs."""
    return await _sandbox(settings, weak_is_enough=False)


async def sandbox_for_development(settings: "Settings") -> list[Finding]:
    """As `sandbox`; on one's own machine, with one's own jobs, weak limits do."""
    return await _sandbox(settings, weak_is_enough=True)


async def gpus(settings: "Settings") -> list[Finding]:
    """Say which GPUs are offered and why the others are not: selling without is no fault."""
    from assay_provider.gpus.finding import NONE
    from assay_provider.gpus.opening import shown_gpus

    found = await asyncio.to_thread(shown_gpus, settings.provider)
    offered, refused = found.assignment.devices, found.assignment.refused
    none_wanted = not found.gpus or settings.provider.gpus.use == (NONE,)
    why = "; ".join(found.absent) if not found.gpus else ""
    overall = Finding(
        name="gpus",
        ok=not refused and (bool(offered) or none_wanted),
        seen=f"{len(offered)} of {len(found.gpus)} offered" + (f" ({why})" if why else ""),
        remedy=refused or "assay provider gpus shows each with the reason",
        required=False,
    )
    return [
        overall,
        *(
            Finding(
                name=f"gpu {gpu.device.facts.pci_bus}",
                ok=False,
                seen=f"{gpu.device.model} is not offered",
                remedy="; ".join(gpu.reasons),
                required=False,
            )
            for gpu in found.gpus
            if gpu.reasons
        ),
    ]


async def _sandbox(settings: "Settings", *, weak_is_enough: bool) -> list[Finding]:
    from assay_node.protocol.job_spec import Tier
    from assay_provider.runtime.preparation import SandboxSettings
    from assay_provider.runtime.tiers import open_tiers

    mine = SandboxSettings(
        instance="doctor",
        uid_first=settings.provider.uid_first,
        oci_runtime=settings.provider.sandbox.oci_runtime,
    )
    wanted = settings.provider.sandbox.tiers or (Tier.T1.value,)
    try:
        async with open_tiers(mine) as opened:
            reports = await opened.self_test()
    except AssayError as error:
        return [Finding(name="sandbox", ok=False, seen="not usable", remedy=str(error))]
    return [
        finding
        for report in reports
        for finding in _tier(report, required=report.tier in wanted, weak_is_enough=weak_is_enough)
    ]


def _tier(report: "SelfTestReport", *, required: bool, weak_is_enough: bool) -> list[Finding]:
    from assay_provider.runtime.sandbox import Grade

    enough = report.grade is Grade.ENFORCED or (weak_is_enough and report.grade is Grade.WEAK)
    overall = Finding(
        name=f"tier {report.tier}",
        ok=enough,
        seen=f"{report.grade}, {report.means}",
        remedy="" if enough else "no jobs are run at it until the points below are mended",
        required=required,
    )
    faults = (
        Finding(
            name=f"tier {report.tier}: {item.name}",
            ok=False,
            seen=item.detail,
            remedy=item.remedy,
            required=required and not enough,
        )
        for item in report.failures
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
