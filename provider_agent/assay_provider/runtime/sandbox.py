"""The seam between the provider daemon and whatever runs a stranger's command under limits.

One seam runs jobs, whatever the isolation: the daemon hands a `RunRequest` and a slot to a
`Sandbox`, and gets a `RunResult`. Behind it stand the tiers of this machine (`tiers`), one member
for each. Another place to run jobs, such as an owner's cluster, would be one more `Sandbox`. This
is the whole of what one implements:

1. `run` shows the command what `RunRequest` says and nothing else of the machine, holds it to every
   field of `RunLimits`, and returns when no process of the job is left.
2. Its verdict is one of `Verdict`, by what was measured and not by exit codes alone (`verdict`
   has the order of causes). The output is handed over only when the verdict is `OK`: plain files
   and directories of the provider, without links (`output`).
3. What is the machine's fault raises `SandboxUnavailable` and is never a verdict. What cannot be
   run as it is asked for raises `LocalError`. Cancelling `run` ends the job first.
4. `self_test` tries every promise by breaking it, and reports for each tier what held. The daemon
   offers nothing else. A machine far away counts as one that keeps nothing until it has been tried.
5. A slot runs one job at a time, and a killed daemon's jobs end with it: whoever opens the sandbox
   again under the same name cleans up what was left.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from assay_node.protocol.errors import LocalError
from assay_provider.runtime.exact import ExactRun


class SandboxUnavailable(LocalError):
    """This machine could not run the job; nothing is known about the job itself.

    Never a verdict: a provider must not report a job as failed for a fault of its own machine.
    """

    code = "sandbox_unavailable"


class Verdict(StrEnum):
    """How a run ended. The values are wire strings."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    DISK_FULL = "disk_full"
    OUTPUT_TOO_LARGE = "output_too_large"
    KILLED_BY_OWNER = "killed_by_owner"


class Grade(StrEnum):
    """How much of a tier's promises a machine was found to keep."""

    ENFORCED = "enforced"
    """All that isolates the job and limits it as a whole."""
    WEAK = "weak"
    """Of T1 only: memory and processes are limited one by one or not at all. Development only."""
    FAILED = "failed"
    """Serve no jobs at this tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What one run may use. Every field is enforced while the job runs."""

    memory_bytes: int
    """Anonymous memory and page cache of all the job's processes, swap included."""
    cpus: float
    """CPU seconds per wall second, over all processes."""
    pids_max: int
    """Processes and threads alive at once."""
    scratch_bytes: int
    """Total size of /tmp and /dev/shm, which share one tmpfs."""
    output_bytes: int
    """Sum of the sizes of all files under /output; sparse files count in full."""
    output_files_max: int
    """Files and directories under /output."""
    wall_seconds: int
    log_bytes: int
    """How much of the end of stdout and stderr is kept; the rest is read and dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRoot:
    """The root file system of an environment: its verified layers, in the daemon's cache.

    `layers` are squashfs images, the lowest first; they are mounted read-only, above each other,
    and stay in the cache while a run holds them. `digest` is that of the environment's manifest.
    `variables` are the environment's own, below the job's.
    """

    digest: str
    layers: tuple[Path, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A device node to show in the sandbox under the path it has on the host."""

    path: Path
    major: int
    minor: int
    block: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuGrant:
    """GPUs given to one run: exactly these nodes and files, and nothing else of the driver's.

    `mounts` maps host paths of the driver's libraries and tools to paths inside, read-only.
    """

    nodes: tuple[DeviceNode, ...]
    mounts: tuple[tuple[Path, str], ...]
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """One command to run.

    Inside, /input is read-only, /output is empty and writable, /tmp is scratch, the working
    directory and HOME; everything else is read-only or absent, and there is no network.
    """

    command: tuple[str, ...]
    """Argument vector; the program is looked up in the sandbox's PATH."""
    environment: Mapping[str, str]
    """The job's own variables; they override the environment's defaults."""
    input_directory: Path
    """Verified content, made readable for all (not writable) before the run."""
    output_directory: Path
    """An empty directory; holds /output afterwards, only when the verdict is `OK`."""
    limits: RunLimits
    runtime: str
    """Name of the software environment, such as "host-python"."""
    tier: str = "t1"
    """The tier to run it at, and no other: by the value of `job_spec.Tier`."""
    root: EnvironmentRoot | None = None
    """The environment `runtime` names by its CID; None for "host-python" and "wasm"."""
    gpus: GpuGrant | None = None
    exact: ExactRun | None = None
    """Runs the command, a Python script's, under a mode of exact_torch; None runs it as it is."""
    tell: Callable[[str], None] | None = None
    """Is given what the job says of its progress, cut and escaped; None where nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeter:
    """What a run's figures were read off, for the metering log."""

    source: str
    """What counted: a version of cgroups, or "processes" where a machine has none."""
    started_ns: int
    exited_ns: int
    """Of one monotonic clock: the sandbox program's start and its exit."""
    memory_anonymous_bytes: int | None
    """The most seen without page cache and files in memory; None where nobody looked."""
    oom_kills: int | None
    pids_refused: int | None
    """How often the kernel killed for memory or refused a process; None without cgroups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What became of one run."""

    verdict: Verdict
    exit_code: int | None
    """None when the job was killed from outside or ran into its wall-clock limit."""
    detail: str
    """One sentence for the requester; holds nothing the job wrote, unescaped."""
    wall_seconds: float
    """Monotonic, from the start of the sandbox program to its exit."""
    cpu_seconds: float
    memory_peak_bytes: int
    """Peak charge of the job, with scratch, output and page cache; where the grade is `WEAK`, of
    its largest process."""
    log_tail: bytes
    meter: RunMeter | None = None
    """None of a runtime that meters nothing but the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestItem:
    """One promise of the sandbox, tried out on this machine."""

    name: str
    enforced: bool
    detail: str
    """What was seen."""
    remedy: str
    """What the owner can do; empty when enforced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTestReport:
    """What this machine really enforces at one tier, item by item."""

    tier: str
    """By the value of `job_spec.Tier`."""
    grade: Grade
    means: str
    """What isolates the jobs here, in a few words: "bubblewrap, cgroup v2"."""
    items: tuple[SelfTestItem, ...]

    @property
    def failures(self) -> tuple[SelfTestItem, ...]:
        """The promises this machine does not keep."""
        return tuple(item for item in self.items if not item.enforced)


class Sandbox(Protocol):
    """Runs one job per slot at a time."""

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        """Run a command under its limits and return what became of it.

        Cancelling the call kills every process of the job before it returns.

        Raises:
            LocalError: the request cannot be run as it stands (slot busy, unknown runtime or tier,
                impossible limits).
            SandboxUnavailable: the machine failed, not the job.
        """
        ...

    async def self_test(self) -> tuple[SelfTestReport, ...]:
        """Try every promise on this machine, and report on each tier that runs here.

        Takes seconds; needs a free slot 0.
        """
        ...
