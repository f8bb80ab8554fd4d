"""Tries every promise of the sandbox on this machine, by running a job that breaks it."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from assay_node.protocol.job_spec import Tier
from assay_node.protocol.units import MIB
from assay_provider.runtime.cgroup_detection import Detection
from assay_provider.runtime.environment import HOST_PYTHON
from assay_provider.runtime.sandbox import (
    Grade,
    RunLimits,
    RunRequest,
    RunResult,
    SandboxUnavailable,
    SelfTestItem,
    SelfTestReport,
    Verdict,
)

LIMITS: Final = RunLimits(
    memory_bytes=64 * MIB,
    cpus=1.0,
    pids_max=24,
    scratch_bytes=4 * MIB,
    output_bytes=MIB,
    output_files_max=16,
    wall_seconds=20,
    log_bytes=4096,
)

LIMITS_OF_THE_WHOLE: Final = frozenset({"memory limit", "process limit", "cpu limit"})
"""Without one of these a job can hurt the machine's other work: development only."""

ADVISORY: Final = frozenset({"own uid", "device limit", "swap limit"})
"""A second wall behind another one: worth knowing, no reason to refuse."""

_PYTHON_MEMORY_BYTES: Final = 512 * MIB
_CPU_SHARE: Final = 0.2
_CPU_SHARE_SEEN_MAX: Final = 0.5
_CGROUP_REMEDY: Final = (
    "run the daemon as root, or under systemd with Delegate=yes, so that it may make cgroups"
)


class ProbedSandbox(Protocol):
    """What the self-test needs of the sandbox it tries."""

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        """See `Sandbox`."""
        ...

    def host_uid(self, slot: int) -> int:
        """The host uid a slot's jobs run under."""
        ...


class Parts(Protocol):
    """What was found on this machine."""

    @property
    def detection(self) -> Detection:
        """The cgroup driver."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A shell script that tries to break one promise, and how to see that it failed to."""

    name: str
    script: str
    kept: Callable[[RunResult], bool]
    promise: str
    """What is true when it was kept."""
    remedy: str
    limits: RunLimits = LIMITS
    needs_cgroup: bool = False
    """Not even tried without one: a machine that is busy elsewhere would seem to keep it."""


PROBES: Final = (
    Probe(
        name="start",
        script="true",
        kept=lambda result: result.verdict is Verdict.OK,
        promise="jobs start in namespaces of their own",
        remedy="allow user namespaces: sysctl user.max_user_namespaces, and AppArmor's "
        "kernel.apparmor_restrict_unprivileged_userns=0 or a profile for bwrap",
    ),
    Probe(
        name="processes hidden",
        script="test $(ls -d /proc/[0-9]* | wc -l) -le 5",
        kept=lambda result: result.verdict is Verdict.OK,
        promise="jobs see no process but their own",
        remedy="a PID namespace is missing: use a kernel with CONFIG_PID_NS",
    ),
    Probe(
        name="no capabilities",
        # gVisor's kernel does not name them all.
        script="grep -q '^CapPrm:' /proc/self/status && ! grep -E"
        " '^(Cap.*:[[:space:]]*0*[1-9a-f]|NoNewPrivs:[[:space:]]*0)' /proc/self/status",
        kept=lambda result: result.verdict is Verdict.OK,
        promise="jobs hold no capability and can gain none",
        remedy="use an unmodified bubblewrap 0.8 or newer",
    ),
    Probe(
        name="system-call filter",
        script="set -e; grep -q '^Seccomp:[[:space:]]*2' /proc/self/status;"
        " ! unshare --user true 2>/dev/null",
        kept=lambda result: result.verdict is Verdict.OK,
        promise="only reviewed system calls pass",
        remedy="use a kernel with CONFIG_SECCOMP_FILTER",
    ),
    Probe(
        name="no network",
        script="test \"$(tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ')\" = lo",
        kept=lambda result: result.verdict is Verdict.OK,
        promise="jobs have a loopback of their own and nothing else",
        remedy="a network namespace is missing: use a kernel with CONFIG_NET_NS",
    ),
    Probe(
        name="read-only system",
        script="for d in / /usr /etc /dev /input /opt /opt/environment; do"
        " touch $d/probe 2>/dev/null && exit 1; done; exit 0",
        kept=lambda result: result.verdict is Verdict.OK,
        promise="jobs write only to /tmp, /dev/shm and /output",
        remedy="use an unmodified bubblewrap 0.8 or newer",
    ),
    Probe(
        name="wall-clock limit",
        script="trap '' TERM; setsid sleep 30 & sleep 30",
        kept=lambda result: result.verdict is Verdict.TIMEOUT,
        promise="a job and all it started end at its time limit",
        remedy="the kernel lacks /proc/PID/task/TID/children (CONFIG_PROC_CHILDREN)",
        limits=replace(LIMITS, wall_seconds=1),
    ),
    Probe(
        name="scratch limit",
        script="head -c 8M /dev/zero > /tmp/probe",
        kept=lambda result: result.verdict is Verdict.DISK_FULL,
        promise="scratch space is bounded",
        remedy="the kernel does not bound tmpfs: use one with CONFIG_TMPFS",
    ),
    Probe(
        name="output limit",
        script="head -c 8M /dev/zero > /output/probe",
        kept=lambda result: result.verdict is Verdict.OUTPUT_TOO_LARGE,
        promise="output is bounded and cannot fill a disk",
        remedy="the kernel does not bound tmpfs: use one with CONFIG_TMPFS",
    ),
    Probe(
        name="python",
        script="python -c 'import sys, hashlib, ssl; sys.exit(sys.version_info < (3, 11))'",
        kept=lambda result: result.verdict is Verdict.OK,
        promise="the host's Python runs inside",
        remedy="make the daemon's Python and its packages readable for all (chmod -R a+rX)",
        limits=replace(LIMITS, memory_bytes=_PYTHON_MEMORY_BYTES),
    ),
    Probe(
        name="memory limit",
        script="head -c 500M /dev/zero | tail -c 400M > /dev/null; true",
        kept=lambda result: result.verdict is Verdict.OUT_OF_MEMORY,
        promise="the memory of a job as a whole is bounded, and its excess is noticed",
        remedy=_CGROUP_REMEDY,
        needs_cgroup=True,
    ),
    Probe(
        name="process limit",
        script="i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; exit 0",
        kept=lambda result: result.verdict is Verdict.ERROR,
        promise="the number of a job's processes is bounded",
        remedy=_CGROUP_REMEDY,
    ),
    Probe(
        name="cpu limit",
        script="timeout 0.6 sh -c 'while :; do :; done'; true",
        kept=lambda result: result.cpu_seconds < _CPU_SHARE_SEEN_MAX * result.wall_seconds,
        promise="a job gets no more CPU time than its order names",
        remedy=_CGROUP_REMEDY,
        limits=replace(LIMITS, cpus=_CPU_SHARE),
        needs_cgroup=True,
    ),
)


async def run_self_test(
    sandbox: ProbedSandbox, parts: Parts, *, tier: str = Tier.T1.value, means: str = "bubblewrap"
) -> SelfTestReport:
    """Run every probe in slot 0 at one tier, and say what this machine enforces."""
    items: list[SelfTestItem] = []
    with tempfile.TemporaryDirectory(prefix="assay-self-test-") as folder:
        for number, probe in enumerate(PROBES):
            if probe.needs_cgroup and parts.detection.driver is None:
                items.append(_without_cgroup(probe, parts.detection))
            else:
                items.append(await _try(sandbox, probe, Path(folder) / str(number), tier))
            if not items[0].enforced:
                break
    items += (_own_uid(sandbox), _device_limit(parts.detection), _swap_limit(parts.detection))
    driver = parts.detection.driver
    return SelfTestReport(
        tier=tier,
        grade=grade_of(items),
        means=f"{means}, {f'cgroup {driver.version}' if driver else 'no cgroups'}",
        items=tuple(items),
    )


def grade_of(items: list[SelfTestItem]) -> Grade:
    """Return the grade that a list of findings amounts to. Pure."""
    broken = {item.name for item in items if not item.enforced} - ADVISORY
    if not broken:
        return Grade.ENFORCED
    return Grade.WEAK if broken <= LIMITS_OF_THE_WHOLE else Grade.FAILED


async def _try(sandbox: ProbedSandbox, probe: Probe, folder: Path, tier: str) -> SelfTestItem:
    for name in ("input", "output"):
        (folder / name).mkdir(parents=True)
    request = RunRequest(
        command=("/bin/sh", "-c", probe.script),
        environment={},
        input_directory=folder / "input",
        output_directory=folder / "output",
        limits=probe.limits,
        runtime=HOST_PYTHON,
        tier=tier,
    )
    try:
        result = await sandbox.run(request, 0)
    except SandboxUnavailable as error:
        return _item(probe.name, enforced=False, detail=str(error), remedy=probe.remedy)
    if probe.kept(result):
        return _item(probe.name, enforced=True, detail=probe.promise, remedy="")
    detail = f"not so: {probe.promise} (a probe ended with {result.verdict}: {result.detail})"
    return _item(probe.name, enforced=False, detail=detail, remedy=probe.remedy)


def _without_cgroup(probe: Probe, detection: Detection) -> SelfTestItem:
    detail = f"per process at best: no cgroup can be written ({'; '.join(detection.reasons)})"
    return _item(probe.name, enforced=False, detail=detail, remedy=probe.remedy)


def _own_uid(sandbox: ProbedSandbox) -> SelfTestItem:
    return _item(
        "own uid",
        enforced=sandbox.host_uid(0) != os.getuid(),
        detail="each slot's jobs run under a host uid of their own"
        if sandbox.host_uid(0) != os.getuid()
        else "jobs run under the daemon's own uid: an escape reaches the daemon's files and keys",
        remedy="run the daemon as root, which gives its jobs uids of their own",
    )


def _device_limit(detection: Detection) -> SelfTestItem:
    enforced = detection.driver is not None and detection.driver.limits_devices
    return _item(
        "device limit",
        enforced=enforced,
        detail=f"device numbers are limited by cgroup {detection.driver.version}"
        if enforced and detection.driver
        else "devices are kept away by the sandbox's /dev and nodev mounts alone",
        remedy="run the daemon as root: rules for device numbers need cgroup v1's controller "
        "`devices` or the right to load BPF programs",
    )


def _swap_limit(detection: Detection) -> SelfTestItem:
    no_swap = len(Path("/proc/swaps").read_text(encoding="utf-8").splitlines()) < 2
    enforced = no_swap or (detection.driver is not None and detection.driver.counts_swap)
    return _item(
        "swap limit",
        enforced=enforced,
        detail="memory limits hold with swap"
        if enforced
        else "a job may use swap beyond its limit",
        remedy="boot with swapaccount=1, or switch swap off",
    )


def _item(name: str, *, enforced: bool, detail: str, remedy: str) -> SelfTestItem:
    return SelfTestItem(
        name=name, enforced=enforced, detail=detail, remedy="" if enforced else remedy
    )
