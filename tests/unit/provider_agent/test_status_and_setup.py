"""What `assay provider status` says, and the checks before a provider starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay_node.cli.provider_view import status_lines
from assay_node.keys import SCRYPT_N_DEVELOPMENT, create_key, save_keystore
from assay_node.protocol.errors import LocalError
from assay_node.protocol.order import job_id
from assay_node.settings import ProviderSettings, Settings, SlotSettings
from assay_provider.compose import check_machine
from assay_provider.inventory.machine import Machine
from assay_provider.keystores import load_or_create, load_signer, operator_of
from assay_provider.status import status_document
from tests.unit.provider_agent.world import DOMAIN, OPERATOR, World, read_tree

GIB = 1 << 30


def machine(**changes: Any) -> Machine:
    fields: dict[str, Any] = {
        "hardware_class": "cpu-x86_64",
        "architecture": "x86_64",
        "cpu_model": "some CPU",
        "cpus": 2,
        "memory_bytes": 8 * GIB,
        "memory_available_bytes": 4 * GIB,
        "disk_free_bytes": 100 * GIB,
    }
    return Machine(**{**fields, **changes})


def provider(home: Path, **changes: Any) -> ProviderSettings:
    return ProviderSettings(home=home, hardware_class="cpu-x86_64", **changes)


def the_password(path: Path, choosing: bool) -> str:
    return "a password"


def test_selling_more_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    slot = SlotSettings(memory_bytes=4 * GIB)
    check_machine(provider(tmp_path, slots=2, slot=slot), machine())
    with pytest.raises(LocalError, match=r"lower provider\.slots"):
        check_machine(provider(tmp_path, slots=3, slot=slot), machine())


def test_selling_more_cpus_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"lower provider\.slot\.cpus_milli"):
        check_machine(provider(tmp_path, slot=SlotSettings(cpus_milli=2001)), machine())


def test_selling_another_class_is_said_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check_machine(provider(tmp_path), machine(hardware_class="cpu-aarch64"))
    assert "looks like cpu-aarch64" in caplog.text


def test_the_operator_is_configured_or_owns_the_wallet_in_the_home(tmp_path: Path) -> None:
    home = tmp_path / "provider"
    assert operator_of(provider(home, operator=OPERATOR)) == OPERATOR
    with pytest.raises(LocalError, match="assay provider init"):
        operator_of(provider(home))
    wallet, made = load_or_create(home / "wallet.json", the_password, chain_id=31337)
    assert made
    assert operator_of(provider(home)) == wallet.address
    again, made = load_or_create(home / "wallet.json", the_password, chain_id=31337)
    assert (again, made) == (wallet, False)


def test_a_provider_without_a_signing_key_is_told_to_set_up(tmp_path: Path) -> None:
    home = tmp_path / "provider"
    with pytest.raises(LocalError, match="assay provider init"):
        load_signer(provider(home), the_password)
    key = create_key()
    save_keystore(home / "signer.json", key, "a password", scrypt_n=SCRYPT_N_DEVELOPMENT)
    assert load_signer(provider(home), the_password) == key


async def test_status_before_the_first_start_says_so(tmp_path: Path) -> None:
    settings = Settings(provider=provider(tmp_path, operator=OPERATOR))
    with pytest.raises(LocalError, match="assay provider run"):
        await status_document(settings)
    assert read_tree(tmp_path) == {}


async def test_status_beside_a_running_daemon(world: World) -> None:
    world.sandbox.gate.set()
    settings = Settings(
        provider=provider(world.directory, operator=OPERATOR, slots=2),
        chain={"deployment": world.directory / "none.json"},
    )
    async with world.daemon():
        await world.scheduler.until(lambda: world.scheduler.heartbeats)
        done = world.signed_order()
        job = job_id(done.order, DOMAIN)
        await world.scheduler.lease(done)
        commit = await world.scheduler.committed()
        await world.scheduler.reveal(world.commit_set(commit))
        await world.scheduler.release(job, "settled")
        world.clock.time += 1
        world.sandbox.gate.clear()
        running = world.signed_order()
        await world.scheduler.lease(running)
        await world.until_lease(
            job_id(running.order, DOMAIN), lambda lease: lease.stage == "running"
        )
        document = json.loads(json.dumps(await status_document(settings)))
    assert document["slots"] == {"total": 2, "held": 1}
    assert document["metered_microusd"] == 2 * 400
    newest, oldest = document["leases"]
    assert (newest["state"], newest["stage"]) == ("running", "running")
    assert (oldest["state"], oldest["reason"], oldest["seconds"]) == ("closed", "settled", 2)
    assert document["schedulers"][0]["multiaddr"] == world.supply.schedulers[0]
    assert "none.json" in document["account"]["error"]
    shown = "\n".join(status_lines(document))
    assert "slots: 1 of 2 busy" in shown
    assert "metered on settled jobs: $0.0008" in shown
    assert "closed, 2 s ok: settled" in shown
    document["account"] = {
        "free_microusd": 0,
        "stake_microusd": 500_000_000,
        "locked_microusd": 10_000_000,
        "wins": 1,
        "faults": 0,
        "signer": OPERATOR,
        "appeals_microusd": 2_000_000,
    }
    shown = "\n".join(status_lines(document))
    assert "$500.00 staked, of which $10.00 answer for jobs on chain" in shown
    assert f"has $2.00: assay wallet deposit AMOUNT --no-budget --to {OPERATOR}" in shown
