"""`job.toml`: a job described in a file, with the command line's flags on top."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.hardware_class import hardware_class_digest
from assay_node.protocol.ids import Digest
from assay_node.protocol.job_spec import (
    HOST_PYTHON,
    WASM,
    Comparison,
    Exactness,
    Resources,
    Tier,
    check_exactness,
    check_runtime,
)
from assay_node.protocol.units import parse_size, usd_to_microusd
from assay_node.services.requesting import JobRequest

FILE_NAME: Final = "job.toml"
TICKETS_PER_REPLICA: Final = 4
"""Default freedom of the scheduler: enough to pass over busy providers and repeated operators."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ResourceTable(_Strict):
    """`[resources]`: hard limits of one run. Sizes are written as 512M or 2G."""

    memory: str = Field("1G", description="Memory, including what is written to /tmp and /output.")
    cpus: float = Field(1.0, gt=0, le=1024, description="Processor cores.")
    pids: int = Field(128, ge=1, le=100_000, description="Processes and threads.")
    scratch: str = Field("256M", description="Space in /tmp.")
    output: str = Field("64M", description="Space in /output.")
    output_files: int = Field(1000, ge=1, le=10_000, description="Files in /output.")
    inputs: str = Field("256M", description="Size of the job's directory.")
    gpus: int = Field(0, ge=0, le=64, description="GPUs, each to this job alone.")
    gpu_memory: str = Field("0", description="Memory of each GPU.")


class JobFile(_Strict):
    """Everything a job can say about itself."""

    name: str | None = Field(None, description="A label; the directory's name by default.")
    command: list[str] = Field(description="What to run; the directory is mounted at /input.")
    environment: dict[str, str] = Field({}, description="Environment variables of the job.")
    runtime: str | None = Field(
        None,
        description="CID of an environment (`assay env build`); by default the provider's own "
        "Python, `host-python`, or for tier t0 `wasm`.",
    )
    tier: Tier = Field(
        Tier.T1,
        description="The weakest isolation that will do: t0 (a WebAssembly module), t1, t2.",
    )
    exact: Exactness | None = Field(
        None, description="E21, E14 or FMA: run under exact_torch; as-is: exact anyway."
    )
    comparison: Comparison | None = Field(
        None, description="exact or class; exact by default if `exact` is set, else class."
    )
    hardware_class: str | None = Field(None, description="Hardware class; the CPU's by default.")
    max_price: str = Field("0.01", description="Most to pay per second and replica, in dollars.")
    timeout_s: int = Field(300, ge=1, description="Longest a run may take, in seconds.")
    replicas: int = Field(3, ge=1, le=8, description="How many providers run the job.")
    quorum: int | None = Field(None, description="How many must agree; a majority by default.")
    max_ticket: int | None = Field(None, ge=0, le=255, description="Last ticket of the draw.")
    bond: str = Field("10", description="What each provider stakes on its answer, in dollars.")
    commit_window_s: int = Field(120, ge=1, description="Time to fetch and commit beside the run.")
    reveal_window_s: int = Field(60, ge=1, description="Time to reveal.")
    expires_in_s: int = Field(3600, ge=1, description="When an unsettled order becomes void.")
    audit_percent: float = Field(
        0, ge=0, le=100, description="Chance that the settled job is audited by fresh providers."
    )
    escalate: bool = Field(
        False, description="Whether to pay for a panel of fresh providers if no quorum forms."
    )
    resources: ResourceTable = Field(
        default_factory=ResourceTable, description="Limits of one run."
    )


def read_job(directory: Path, overrides: Mapping[str, Any], *, default_class: str) -> JobRequest:
    """Return the job in a directory.

    Args:
        directory: the job's files, with or without a `job.toml` among them.
        overrides: what flags say; keys as in `JobFile`, with "resources" a table of its own.
        default_class: the class of a job that names none.

    Raises:
        LocalError: naming the file and the key that is wrong.
    """
    if not directory.is_dir():
        raise LocalError(f"{directory} is not a directory; give the directory with the job's files")
    path = directory / FILE_NAME
    table = _read_table(path)
    resources = {**table.get("resources", {}), **overrides.get("resources", {})}
    merged = {**table, **overrides, "resources": resources}
    if "command" not in merged:
        raise LocalError(
            f"what is to be run? Write a command into {path}, or pass it with --command"
        )
    try:
        job = JobFile.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise LocalError(f"{path}: {key}: {first['msg']}") from None
    comparison = job.comparison or (Comparison.CLASS if job.exact is None else Comparison.EXACT)
    runtime = job.runtime or (WASM if job.tier is Tier.T0 else HOST_PYTHON)
    try:
        limits = _resources(job.resources)
        check_exactness(tuple(job.command), comparison, job.exact)
        check_runtime(job.tier, runtime, limits)
    except MalformedMessage as error:
        raise LocalError(f"{path}: {error}") from None
    hardware_class = hardware_class_digest(job.hardware_class or default_class)
    job = job.model_copy(update={"runtime": runtime, "comparison": comparison})
    return _request(directory, job, limits, hardware_class)


def _resources(table: ResourceTable) -> Resources:
    return Resources(
        memory_bytes=parse_size(table.memory),
        cpus_milli=max(1, round(table.cpus * 1000)),
        pids_max=table.pids,
        scratch_bytes=parse_size(table.scratch),
        output_bytes=parse_size(table.output),
        output_files_max=table.output_files,
        input_bytes=parse_size(table.inputs),
        gpus=table.gpus,
        gpu_memory_bytes=parse_size(table.gpu_memory),
    )


def _read_table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LocalError(f"{path} is not TOML: {error}") from None


def _request(
    directory: Path, job: JobFile, limits: Resources, hardware_class: Digest
) -> JobRequest:
    assert job.runtime is not None, "read_job has filled it in"
    assert job.comparison is not None, "read_job has filled it in"
    quorum = job.quorum if job.quorum is not None else job.replicas // 2 + 1
    if not job.replicas < 2 * quorum <= 2 * job.replicas:
        raise LocalError(
            f"a quorum of {quorum} is not more than half of {job.replicas} replicas, or more than "
            "all; change --quorum or --replicas"
        )
    return JobRequest(
        directory=directory,
        name=job.name or directory.resolve().name,
        command=tuple(job.command),
        environment=job.environment,
        resources=limits,
        runtime=job.runtime,
        tier=job.tier.value,
        comparison=job.comparison,
        exact=job.exact,
        hardware_class=hardware_class,
        max_rate_microusd=usd_to_microusd(job.max_price),
        max_seconds=job.timeout_s,
        replicas=job.replicas,
        quorum=quorum,
        max_ticket=(
            job.max_ticket
            if job.max_ticket is not None
            else min(255, TICKETS_PER_REPLICA * job.replicas)
        ),
        bond_microusd=usd_to_microusd(job.bond),
        commit_window_s=job.commit_window_s,
        reveal_window_s=job.reveal_window_s,
        expires_in_s=job.expires_in_s,
        audit_bps=round(job.audit_percent * 100),
        escalate=job.escalate,
    )
