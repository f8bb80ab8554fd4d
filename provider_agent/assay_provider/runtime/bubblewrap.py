"""Tier T1: runs jobs with bubblewrap, each slot under a uid of its own, with cgroups around it.

Root's daemon gives every slot a host uid; an ordinary user's runs jobs under its own. Which limits
hold on a machine is found out, not assumed: ask `self_test`.
"""

import asyncio
import contextlib
import logging
import os
import platform
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.job_spec import Tier
from assay_provider.runtime import cgroups, environment, job_socket, verdict
from assay_provider.runtime.arguments import (
    SANDBOX_PIDS,
    bubblewrap_arguments,
    check_variables,
    limited_per_process,
)
from assay_provider.runtime.device_rules import rules_for
from assay_provider.runtime.exact import elsewhere, under_mode, variables_under_mode
from assay_provider.runtime.gpu_variables import variables_with_gpus
from assay_provider.runtime.launch_messages import (
    Collected,
    ContainerSpec,
    LaunchExit,
    LaunchSpec,
    Staging,
)
from assay_provider.runtime.launcher_client import LaunchedJob, Launcher
from assay_provider.runtime.memory_budget import (
    check_limits,
    memory_reserved_bytes,
    output_tmpfs_bytes,
    scratch_tmpfs_bytes,
)
from assay_provider.runtime.memory_samples import MemorySamples, sampled
from assay_provider.runtime.mounted_environments import MountedEnvironments
from assay_provider.runtime.oci_runtimes import OciRuntime
from assay_provider.runtime.oci_tier import container_of
from assay_provider.runtime.preparation import SandboxSettings, find_parts
from assay_provider.runtime.sandbox import (
    EnvironmentRoot,
    RunMeter,
    RunRequest,
    RunResult,
    SandboxUnavailable,
    SelfTestReport,
    Verdict,
)
from assay_provider.runtime.self_test import run_self_test

logger = logging.getLogger(__name__)

_GPU_TABLES: Final = Path("/proc/driver/nvidia")
"""What the driver tells of every card, with its UUID: nothing for a job that was granted none."""

_MACHINE_MEMORY_BYTES: Final = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def open_sandbox(settings: SandboxSettings) -> AsyncIterator["BubblewrapSandbox"]:
    """Find out what this machine has, clean up after a killed daemon, and serve runs.

    Raises:
        SandboxUnavailable: bubblewrap or libseccomp is missing, or namespaces are refused.
    """
    sandbox = await asyncio.to_thread(BubblewrapSandbox, settings)
    try:
        yield sandbox
    finally:
        await asyncio.to_thread(sandbox.close)


class BubblewrapSandbox:
    """Implements `Sandbox`; open it with `open_sandbox`."""

    def __init__(self, settings: SandboxSettings) -> None:
        self.settings = settings
        self.parts = find_parts(settings)
        self._names = cgroups.CgroupNames()
        self._busy: set[int] = set()
        self._restarting = threading.Lock()
        try:
            self.groups_cleaned = self.clean_leftovers()
            self._start_launcher()
        except (SandboxUnavailable, OSError):
            self._forget_groups()
            raise

    async def run(self, request: RunRequest, slot: int) -> RunResult:
        """See `Sandbox`."""
        self._check(request, slot)
        self._busy.add(slot)
        try:
            return await self._run(request, slot)
        finally:
            self._busy.discard(slot)

    async def self_test(self) -> tuple[SelfTestReport, ...]:
        """See `Sandbox`."""
        return (await run_self_test(self, self.parts),)

    def clean_leftovers(self) -> int:
        """Remove cgroups that killed daemons of this instance left; return how many."""
        driver = self.parts.detection.driver
        count = cgroups.clean_leftovers(driver) if driver else 0
        if count:
            logger.warning("removed cgroups a killed daemon left", extra={"count": count})
        return count

    def check_environments(self) -> None:
        """Refuse to run anything in an environment where that cannot work.

        Raises:
            LocalError: with what to do.
        """
        if os.getuid() != 0:
            raise LocalError(
                "environments are mounted, which only root may: run the daemon as root"
            )
        if self.parts.detection.driver is None:
            reasons = "; ".join(self.parts.detection.reasons)
            raise LocalError(f"environments need limits by cgroups, and there are none: {reasons}")

    def mount(self, root: EnvironmentRoot) -> None:
        """Mount an environment that no job has, to see whether that goes. Blocks.

        Raises:
            SandboxUnavailable: what the kernel says.
        """
        self._launcher.mount(root)

    def unmount(self, root: EnvironmentRoot) -> None:
        """Take it away again. Blocks."""
        self._launcher.unmount(root)

    def close(self) -> None:
        """End the launcher and every job. Blocks."""
        self._launcher.stop()
        self._forget_groups()

    def host_uid(self, slot: int) -> int:
        """Return the host uid a slot's jobs run under."""
        return self.settings.uid_first + slot if os.getuid() == 0 else os.getuid()

    def _start_launcher(self) -> None:
        self._launcher = Launcher.start(self.parts.launcher_config)
        self._environments = MountedEnvironments(self._launcher)

    def _forget_groups(self) -> None:
        if self.parts.detection.driver:
            self.parts.detection.driver.forget()

    def _check(self, request: RunRequest, slot: int) -> None:
        if not 0 <= slot < self.settings.slots_max:
            raise LocalError(f"slot {slot} is not one of the {self.settings.slots_max} slots")
        if slot in self._busy:
            raise LocalError(f"slot {slot} runs another job; wait for it or use another slot")
        if request.root is not None:
            self.check_environments()
        elif request.runtime != environment.HOST_PYTHON:
            raise LocalError(
                f"there is no environment {request.runtime[:64]!r} here, only "
                f"{environment.HOST_PYTHON!r}"
            )
        if request.exact is not None and self.parts.launcher_config.exact_torch is None:
            raise LocalError("exact_torch is not installed beside assay; install assay again")
        if request.tier == Tier.T2 and self.parts.oci is None:
            raise LocalError(f"this machine has no tier t2: {self.parts.no_oci}")
        check_limits(request.limits, machine_memory_bytes=_MACHINE_MEMORY_BYTES)
        check_variables(request.environment)
        if not request.command or any("\0" in word for word in request.command):
            raise LocalError("the command needs at least one word, and none with a NUL byte")

    async def _run(self, request: RunRequest, slot: int) -> RunResult:
        await asyncio.to_thread(self._prepare, request)
        async with (
            self._environments.held(request.root),
            self._listening(request, slot) as path,
        ):
            # Starting blocks the loop for a millisecond or two, and in return has no half-way state
            # in which a cancellation could lose a job.
            job, group = self._start(request, slot, path)
            try:
                return await self._follow(job, group, request)
            finally:
                # Shielded: a second cancellation must not leave processes or groups behind.
                await asyncio.shield(asyncio.to_thread(_tear_down, job, group))

    @asynccontextmanager
    async def _listening(self, request: RunRequest, slot: int) -> AsyncIterator[Path | None]:
        """Hear what the job says of its progress. A module at T0 says nothing."""
        if request.tell is None or request.tier == Tier.T0:
            yield None
            return
        folder = tempfile.TemporaryDirectory(
            dir=request.output_directory.parent, prefix="socket-", ignore_cleanup_errors=True
        )
        with folder:
            async with job_socket.listening(
                Path(folder.name),
                uid=self.host_uid(slot),
                wall_seconds=request.limits.wall_seconds,
                tell=request.tell,
            ) as path:
                yield path

    def _prepare(self, request: RunRequest) -> None:
        environment.readable_for_all(request.input_directory)
        with self._restarting:
            if not self._launcher.is_alive():
                logger.warning("the sandbox launcher is gone; starting it anew")
                self._launcher.stop()
                self._start_launcher()

    def _start(
        self, request: RunRequest, slot: int, path: Path | None
    ) -> tuple[LaunchedJob, cgroups.Cgroup | None]:
        group = self._create_group(request, self._oci(request))
        try:
            return self._launcher.launch(self._spec(request, slot, group, path)), group
        except BaseException:
            if group is not None:
                group.remove()
            raise

    def _create_group(
        self, request: RunRequest, runtime: OciRuntime | None
    ) -> cgroups.Cgroup | None:
        driver, limits = self.parts.detection.driver, request.limits
        if driver is None:
            return None
        wanted = cgroups.CgroupLimits(
            memory_bytes=memory_reserved_bytes(limits)
            + (runtime.extra_memory_bytes if runtime else 0),
            pids_max=limits.pids_max + (runtime.extra_pids if runtime else 0) + SANDBOX_PIDS,
            cpus=limits.cpus,
            devices=rules_for(request.gpus.nodes if request.gpus else ()),
        )
        try:
            return driver.create(self._names.next(), wanted)
        except OSError as error:
            raise SandboxUnavailable(f"the job's cgroup cannot be made: {error}") from error

    def _spec(
        self, request: RunRequest, slot: int, group: cgroups.Cgroup | None, path: Path | None
    ) -> LaunchSpec:
        root = os.getuid() == 0
        uid = self.host_uid(slot)
        limits = request.limits
        arguments = self._arguments(request)
        command = self._command(request, limited=group is not None)
        return LaunchSpec(
            uid=uid,
            gid=uid if root else os.getgid(),
            drop_privileges=root,
            cgroup_procs=group.procs_files() if group else [],
            arguments=arguments,
            command=command,
            input_directory=str(request.input_directory.absolute()),
            output_directory=str(request.output_directory.absolute()),
            scratch_tmpfs_bytes=scratch_tmpfs_bytes(limits),
            output_tmpfs_bytes=output_tmpfs_bytes(limits),
            output_bytes=limits.output_bytes,
            output_files_max=limits.output_files_max,
            wall_seconds=limits.wall_seconds,
            log_bytes=limits.log_bytes,
            socket=str(path.absolute()) if path else "",
            container=self._container(request, arguments, command, group, uid),
        )

    def _oci(self, request: RunRequest) -> OciRuntime | None:
        return self.parts.oci if request.tier == Tier.T2 else None

    def _container(
        self,
        request: RunRequest,
        arguments: list[str],
        command: list[str],
        group: cgroups.Cgroup | None,
        uid: int,
    ) -> ContainerSpec | None:
        runtime = self._oci(request)
        if runtime is None:
            return None
        if group is None:
            raise SandboxUnavailable("tier t2 needs cgroups, and none can be made here")
        return container_of(
            arguments,
            command=command,
            runtime=runtime,
            config=self.parts.launcher_config,
            group=group,
            uid=uid,
            uid_of_setter_up=self.settings.uid_first + self.settings.slots_max + 1,
            devices=request.gpus.nodes if request.gpus else (),
        )

    def _arguments(self, request: RunRequest) -> list[str]:
        config = self.parts.launcher_config
        staging = Staging(root=Path(config.staging_point))
        return bubblewrap_arguments(
            root=environment.system_root(),
            staging=staging,
            python_bound=config.python_base is not None,
            exact_torch_bound=config.exact_torch is not None,
            wasm_bound=request.tier == Tier.T0,
            socket_bound=request.tell is not None and request.tier != Tier.T0,
            environment=_variables(request),
            gpus=request.gpus,
            mounted=staging.mounted(request.root.digest) if request.root else None,
            hidden=() if request.gpus or not _GPU_TABLES.is_dir() else (str(_GPU_TABLES),),
        )

    def _command(self, request: RunRequest, *, limited: bool) -> list[str]:
        exact = request.exact
        command = under_mode(request.command, exact.mode) if exact else request.command
        if limited or self.parts.prlimit is None:
            return list(command)
        return limited_per_process(
            command,
            memory_bytes=request.limits.memory_bytes,
            pids_max=request.limits.pids_max,
            prlimit=self.parts.prlimit,
        )

    async def _follow(
        self, job: LaunchedJob, group: cgroups.Cgroup | None, request: RunRequest
    ) -> RunResult:
        async with sampled(group) as samples:
            exited = await job.exited()
        usage = await asyncio.to_thread(_final_usage, group) if group else None
        if exited.setup_failure and not (usage and usage.oom_kills):
            raise SandboxUnavailable(f"the sandbox did not start: {exited.setup_failure}")
        decision = verdict.decide(_observation(exited, usage), request.limits)
        if decision.verdict is Verdict.OK:
            decision = _judge_output(await job.collect()) or decision
        meter = self._meter(exited, usage, samples)
        return _result(decision, exited, usage, job.log_tail(), meter)

    def _meter(
        self, exited: LaunchExit, usage: cgroups.CgroupUsage | None, samples: MemorySamples
    ) -> RunMeter:
        driver = self.parts.detection.driver
        return RunMeter(
            source=f"cgroup {driver.version}" if driver else "processes",
            started_ns=exited.started_ns,
            exited_ns=exited.exited_ns,
            memory_anonymous_bytes=samples.largest_bytes,
            oom_kills=usage.oom_kills if usage else None,
            pids_refused=usage.pids_refused if usage else None,
        )


def _variables(request: RunRequest) -> dict[str, str]:
    machine = platform.machine()
    if request.root is None:
        defaults = environment.default_variables(machine)
    else:
        defaults = environment.variables_inside(request.root.variables, machine)
    if request.exact is None:
        variables = {**defaults, **request.environment}
    else:
        setup = request.exact.setup
        variables = variables_under_mode(
            defaults,
            request.environment,
            setup if request.root is None else elsewhere(setup),
            machine=machine,
            cpus=request.limits.cpus,
        )
    return variables_with_gpus(variables, request.gpus) if request.gpus else variables


def _final_usage(group: cgroups.Cgroup) -> cgroups.CgroupUsage | None:
    """Read the counters; None where runc removed the group with a job that it could not start."""
    try:
        group.kill()
        return group.usage()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SandboxUnavailable(f"the job's cgroup is broken: {error}") from error


def _observation(exited: LaunchExit, usage: cgroups.CgroupUsage | None) -> verdict.Observation:
    return verdict.Observation(
        exit_code=exited.exit_code,
        timed_out=exited.timed_out,
        oom_kills=usage.oom_kills if usage else 0,
        scratch_full=exited.scratch_full,
        output_full=exited.output_full,
    )


def _judge_output(collected: Collected) -> verdict.Decision | None:
    """Return what is wrong with the output of a run that went well, None when nothing is."""
    if collected.failed:
        raise SandboxUnavailable(f"the output could not be taken over: {collected.failed}")
    if collected.too_large:
        return verdict.Decision(verdict=Verdict.OUTPUT_TOO_LARGE, detail=collected.too_large)
    if collected.refused:
        return verdict.Decision(verdict=Verdict.ERROR, detail=collected.refused)
    return None


def _result(
    decision: verdict.Decision,
    exited: LaunchExit,
    usage: cgroups.CgroupUsage | None,
    log_tail: bytes,
    meter: RunMeter,
) -> RunResult:
    cpu_seconds = usage.cpu_seconds if usage and usage.cpu_seconds is not None else None
    return RunResult(
        verdict=decision.verdict,
        exit_code=exited.exit_code,
        detail=decision.detail,
        wall_seconds=exited.wall_seconds,
        cpu_seconds=exited.cpu_seconds if cpu_seconds is None else cpu_seconds,
        memory_peak_bytes=usage.memory_peak_bytes if usage else exited.memory_peak_bytes,
        log_tail=log_tail,
        meter=meter,
    )


def _tear_down(job: LaunchedJob, group: cgroups.Cgroup | None) -> None:
    job.close()
    if group is None:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            group.kill()
        group.remove()
    except OSError:
        # Whatever became of the job is known by now; the next daemon of this instance tries again.
        logger.exception("a job's cgroup could not be removed")
