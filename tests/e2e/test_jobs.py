"""Jobs that end as they should: settled with the right money, or with a reason."""

import json

import pytest

from assay_node.protocol.errors import AssayError
from tests.builders.wheels import write_wheel
from tests.e2e.conftest import LIARS_CLASS
from tests.e2e.following import ended, kinds, paid, submit

pytestmark = pytest.mark.asyncio(loop_scope="session")

HELLO = """
    from pathlib import Path
    Path("/output/hello.txt").write_text("hello\\n")
"""

EXACT = """
    import torch
    x = ((torch.arange(64 * 48) * 37 % 101).float() / 101 - 0.5).reshape(64, 48)
    w = (((torch.arange(48 * 10) * 53 % 97).float() / 97 - 0.5)).reshape(48, 10).requires_grad_()
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(x @ w, torch.arange(64) % 10)
        (gradient,) = torch.autograd.grad(loss, w)
        w = (w - gradient).detach().requires_grad_()
    open("/output/w", "wb").write(w.detach().numpy().tobytes())
"""


async def balance(market, home):
    return await market.run_json("wallet", "balance", home=home)


async def test_a_job_is_run_by_three_settled_and_its_result_verified(
    market, requester, job, tmp_path
):
    before = await balance(market, requester)
    (id_,) = await submit(market, requester, job(HELLO))
    document = await ended(market, id_)
    assert (document["state"], document["verdict"]) == ("settled", "ok")
    for kind in ("admitted", "drawn", "placed", "accepted", "committed", "commit_set", "revealed",
                 "receipt", "settled"):  # fmt: skip
        assert kind in kinds(document)
    replicas = document["replica_records"]
    assert len({r["operator"] for r in replicas}) == 3
    expected = {
        r["operator"]: r["rate_microusd"] * document["settlement"]["seconds"] for r in replicas
    }
    assert paid(document) == expected
    cost = document["settlement"]["cost_microusd"]
    assert cost == sum(expected.values()) + document["fee_microusd"]
    after = await balance(market, requester)
    assert before["budget_microusd"] - after["budget_microusd"] == cost
    target = tmp_path / "result"
    result = await market.run_json("result", id_, "-o", str(target), home=requester)
    assert result["verified"] is True
    assert (target / "hello.txt").read_text() == "hello\n"
    assert [path.name for path in target.iterdir()] == ["hello.txt"]


async def test_an_exact_job_is_settled_by_machines_that_compute_differently(market, requester, job):
    pytest.importorskip("torch")
    folder = job(EXACT, name="exact", exact="E21", resources={"memory": "1G"})
    (id_,) = await submit(market, requester, folder)
    document = await ended(market, id_)
    assert (document["state"], document["verdict"]) == ("settled", "ok"), document["reason"]
    assert (document["comparison"], document["exact"]) == ("exact", "E21")
    assert len({replica["output"] for replica in document["replica_records"]}) == 1
    assert document["settlement"]["agreed"]
    listed = (await market.get("/v1/providers"))["providers"]
    assert {tuple(provider["exact_modes"]) for provider in listed} == {("E14", "E21", "FMA")}


WITH_SOFTWARE = """
    import os, sys, greeting
    text = f"{greeting.TEXT} {sys.prefix} {os.path.exists('/usr/bin/apt-get')}\\n"
    open("/output/said", "w").write(text)
"""


async def test_a_job_brings_its_software_to_providers_that_differ(market, requester, job, tmp_path):
    """Built, handed to the scheduler, fetched, packed and mounted by three, compared by class."""
    listed = (await market.get("/v1/providers"))["providers"]
    if any("environment" not in provider["runtimes"] for provider in listed):
        pytest.skip("environments need root, cgroups, loop devices and squashfs-tools")
    wheel = write_wheel(tmp_path / "index", "greeting", {"greeting.py": b"TEXT = 'hello'\n"})
    asked = tmp_path / "requirements.txt"
    asked.write_text(f"--no-index\n--find-links {wheel.parent}\ngreeting\n")
    built = await market.run_json("env", "build", "--requirements", str(asked), home=requester)
    folder = job(WITH_SOFTWARE, name="software", runtime=built["cid"], exact=None)
    (id_,) = await submit(market, requester, folder)
    document = await ended(market, id_)
    assert (document["state"], document["verdict"]) == ("settled", "ok"), document["reason"]
    assert document["comparison"] == "class"
    target = tmp_path / "result"
    await market.run_json("result", id_, "-o", str(target), home=requester)
    assert (target / "said").read_text() == "hello /opt/environment False\n"
    shown = await market.run_json("env", "list", home=requester)
    assert [one["cid"] for one in shown["environments"]] == [built["cid"]]


async def test_a_job_without_a_reason_to_be_exact_is_refused_before_it_is_signed(
    market, requester, job
):
    with pytest.raises(AssayError, match='comparison = "class"'):
        await submit(market, requester, job(HELLO, exact=None, comparison="exact"))
    with pytest.raises(AssayError, match="write the command as"):
        await submit(market, requester, job(HELLO, exact="E21", command=["cat", "/input/main.py"]))


async def test_the_same_job_is_listed_followed_and_explained(market, requester, job):
    (id_,) = await submit(market, requester, job(HELLO, name="listed"), flags=("--wait",))
    listed = await market.run_json("jobs", home=requester)
    assert listed["jobs"][0]["job"] == id_
    assert "settled" in await market.run("status", id_[:12], home=requester)
    why = await market.run_json("explain", id_[:12], home=requester)
    assert len(why["decision"]["providers"]) >= 4
    assert sum(p["chosen"] for p in why["decision"]["providers"]) == 3
    assert all(p["reasons"] for p in why["decision"]["providers"] if not p["chosen"])


async def test_without_a_quorum_the_effort_is_paid_and_the_rest_stays(market, requester, job):
    before = await balance(market, requester)
    folder = job(HELLO, name="disputed", hardware_class=LIARS_CLASS)
    (id_,) = await submit(market, requester, folder)
    document = await ended(market, id_)
    assert document["state"] == "no_quorum"
    assert document["settlement"]["slashed"] == []
    rates = {r["operator"]: (r["rate_microusd"], r["seconds"]) for r in document["replica_records"]}
    assert paid(document) == {o: rate * seconds // 4 for o, (rate, seconds) in rates.items()}
    cost = sum(paid(document).values())
    assert document["settlement"]["cost_microusd"] == cost
    after = await balance(market, requester)
    assert before["budget_microusd"] - after["budget_microusd"] == cost
    why = await market.run("explain", id_, home=requester)
    assert "3 different outputs" in why
    with pytest.raises(Exception, match="no result"):
        await market.run("result", id_, home=requester)


SMALL = {"memory": "256M", "scratch": "16M", "output": "1M"}
FILL = "with open('{}', 'wb') as f:\n    while True: f.write(bytes(1 << 16))"
LIMITS = {
    "out_of_memory": "data = bytearray(400 << 20)",
    "disk_full": FILL.format("/tmp/full"),
    "output_too_large": FILL.format("/output/full"),
    "timeout": "import time; time.sleep(600)",
}


async def test_jobs_that_exceed_a_limit_end_with_its_name_and_honest_runs_are_paid(
    market, requester, job, tmp_path
):
    folders = [
        job(program, name=verdict.replace("_", "-"), timeout_s=5, resources=SMALL)
        for verdict, program in LIMITS.items()
    ]
    ids = await submit(market, requester, *folders)
    for verdict, id_ in zip(LIMITS, ids, strict=True):
        document = await ended(market, id_)
        assert (document["state"], document["verdict"]) == ("settled", verdict)
        assert len(paid(document)) == 3
        target = tmp_path / f"failure-{verdict}"
        await market.run("result", id_, "-o", str(target), home=requester)
        assert json.loads((target / "failure.json").read_text())["verdict"] == verdict


async def test_a_job_that_fails_by_itself_says_with_what_exit_code(
    market, requester, job, tmp_path
):
    (id_,) = await submit(market, requester, job("raise SystemExit(7)", name="failing"))
    document = await ended(market, id_)
    assert (document["state"], document["verdict"]) == ("settled", "error")
    await market.run("result", id_, "-o", str(tmp_path / "why"), home=requester)
    assert json.loads((tmp_path / "why" / "failure.json").read_text())["exit_code"] == 7


async def test_a_job_nobody_can_run_says_why_and_what_would_help(market, requester, job):
    folder = job(HELLO, name="too-cheap", max_price="0.0001", expires_in_s=3600)
    (id_,) = await submit(market, requester, folder)
    from tests.e2e.following import until

    await until(market, id_, lambda d: "waiting" in kinds(d))
    why = await market.run_json("explain", id_, home=requester)
    codes = {r["code"] for p in why["decision"]["providers"] for r in p["reasons"]}
    assert "price_above_cap" in codes
    assert why["decision"]["relaxations"]
