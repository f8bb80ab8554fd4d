"""FastAPI application and its server, owned by the scheduler's task group."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from typing import Annotated, Any, Protocol

import uvicorn
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from assay_node.api.schemas import (
    Health,
    JobDetail,
    JobList,
    ProviderList,
)
from assay_node.ports import Head
from assay_node.protocol.errors import AssayError, LocalError, MalformedMessage, Refused
from assay_node.protocol.ids import Address, Digest, address, digest_from_hex
from assay_node.protocol.lease import JobState


class Source(Protocol):
    """What the API shows; the scheduler's queries."""

    async def jobs(self, requester: Address | None) -> Mapping[str, Any]:
        """Return the job list."""
        ...

    async def job(self, job_id: Digest, *, after_event: int = 0) -> Mapping[str, Any]:
        """Return one job."""
        ...

    async def explain(self, job_id: Digest) -> Mapping[str, Any]:
        """Return why a job is where it is."""
        ...

    def providers(self) -> Mapping[str, Any]:
        """Return the providers."""
        ...


Counts = Callable[[], Awaitable[Mapping[JobState, int]]]
ReadHead = Callable[[], Awaitable[Head]]

_JOB = Path(pattern="^0x[0-9a-f]{64}$", description="Job id: 0x and 64 hexadecimal digits.")
_JobPath = Annotated[str, _JOB]


def create_app(source: Source, *, counts: Counts, head: ReadHead, version: str) -> FastAPI:
    """Return the API over these sources."""
    app = FastAPI(
        title="Assay scheduler",
        version=version,
        description="Public, read-only view of a scheduler: jobs, replicas, reasons, providers.",
    )

    @app.exception_handler(AssayError)
    async def refused(_request: Request, error: AssayError) -> JSONResponse:
        status = 404 if isinstance(error, Refused) else 400
        if not isinstance(error, Refused | MalformedMessage):
            status = 503
        return JSONResponse({"detail": str(error)}, status_code=status)

    @app.get("/healthz", response_model=Health)
    async def healthz() -> Health:
        """Return 200 while the store and the chain answer."""
        number = (await head()).number
        await counts()
        return Health(status="ok", version=version, block=number)

    @app.get("/v1/jobs", response_model=JobList)
    async def jobs(
        requester: Annotated[str | None, Query(description="Only this wallet's jobs.")] = None,
    ) -> Any:
        """List the newest jobs."""
        return await source.jobs(None if requester is None else address(requester))

    @app.get("/v1/jobs/{job_id}", response_model=JobDetail)
    async def job(
        job_id: _JobPath,
        after_event: Annotated[int, Query(ge=0, description="Skip events up to this id.")] = 0,
    ) -> Any:
        """Return one job with its replicas, its settlement and its history."""
        return await source.job(digest_from_hex(job_id), after_event=after_event)

    @app.get("/v1/jobs/{job_id}/explain")
    async def explain(job_id: _JobPath) -> dict[str, Any]:
        """Return why a job waits or failed: every provider considered, with its reasons."""
        return dict(await source.explain(digest_from_hex(job_id)))

    @app.get("/v1/providers", response_model=ProviderList)
    async def providers() -> Any:
        """List the providers heard from."""
        return source.providers()

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Return metrics in Prometheus's text format."""
        registry = CollectorRegistry()
        registry.register(_Snapshot(await counts(), source.providers()))
        return PlainTextResponse(
            generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return app


class _Snapshot(Collector):
    """Metrics read from the store at the moment of asking, so a restart loses none."""

    def __init__(self, counts: Mapping[JobState, int], providers: Mapping[str, Any]) -> None:
        self._counts = counts
        self._providers = providers["providers"]

    def collect(self) -> list[Metric]:
        jobs = GaugeMetricFamily("assay_jobs", "Jobs by state.", labels=["state"])
        for state, count in self._counts.items():
            jobs.add_metric([state.value], count)
        known = GaugeMetricFamily("assay_providers", "Providers heard from.", labels=["connected"])
        connected = sum(1 for p in self._providers if p["connected"])
        known.add_metric(["true"], connected)
        known.add_metric(["false"], len(self._providers) - connected)
        slots = GaugeMetricFamily("assay_slots_free", "Free slots of connected providers.")
        slots.add_metric([], sum(p["slots_free"] for p in self._providers if p["connected"]))
        return [jobs, known, slots]


class _Server(uvicorn.Server):
    """Leaves signals to the daemon."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextlib.asynccontextmanager
async def serve(app: FastAPI, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve `app` while the block runs; yields the port (the one given, or a free one for 0).

    Raises:
        LocalError: the address cannot be listened on.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise LocalError(
            f"the HTTP API cannot listen on {host}:{port} ({error.strerror}); "
            "choose another scheduler.api_port"
        ) from None
    server = _Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn sets no event
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()
