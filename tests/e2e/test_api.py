"""The scheduler's HTTP API, as a script or Prometheus uses it."""

import httpx
import pytest

from tests.e2e.following import ended, submit
from tests.e2e.test_jobs import HELLO

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_every_endpoint_answers_and_is_described(market, requester, job):
    (id_,) = await submit(market, requester, job(HELLO, name="api"))
    await ended(market, id_)
    async with httpx.AsyncClient(base_url=market.api_url, timeout=10) as http:
        described = (await http.get("/openapi.json")).json()["paths"]
        assert sorted(described) == [
            "/healthz", "/metrics", "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/explain",
            "/v1/providers",
        ]  # fmt: skip
        assert (await http.get("/healthz")).json()["status"] == "ok"
        assert id_ in [line["job"] for line in (await http.get("/v1/jobs")).json()["jobs"]]
        shown = (await http.get(f"/v1/jobs/{id_}")).json()
        after = shown["events"][-1]["id"]
        newer = (await http.get(f"/v1/jobs/{id_}?after_event={after}")).json()
        assert newer["events"] == []
        why = (await http.get(f"/v1/jobs/{id_}/explain")).json()
        assert why["why"] == "a quorum agreed and was paid"
        providers = (await http.get("/v1/providers")).json()["providers"]
        assert len(providers) == market.settings.providers
        metrics = (await http.get("/metrics")).text
        assert 'assay_jobs{state="settled"}' in metrics
        assert f'assay_providers{{connected="true"}} {len(providers)}.0' in metrics


async def test_what_is_not_there_or_malformed_is_said(market):
    async with httpx.AsyncClient(base_url=market.api_url, timeout=10) as http:
        missing = await http.get("/v1/jobs/0x" + "00" * 32)
        assert missing.status_code == 404
        assert "no job" in missing.json()["detail"]
        assert (await http.get("/v1/jobs/nonsense")).status_code == 422
        assert (await http.get("/v1/jobs?requester=nobody")).status_code == 400
        assert (await http.post("/v1/jobs")).status_code == 405
