"""What is offered: what the owner asks for and the machine keeps, and nothing else."""

import logging
from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest
from assay_node.protocol.offer import Slot
from assay_node.protocol.units import MIB
from assay_provider.isolation import offered
from assay_provider.runtime.sandbox import Grade
from assay_provider.supply import Supply
from tests.fakes.sandbox import a_report
from tests.unit.provider_agent.world import HARDWARE, OPERATOR

ENFORCED, WEAK, FAILED = Grade.ENFORCED, Grade.WEAK, Grade.FAILED


@pytest.mark.parametrize(
    ("wanted", "found", "tiers"),
    [
        ((), {"t1": ENFORCED}, ("t1",)),
        ((), {"t0": ENFORCED, "t1": ENFORCED, "t2": ENFORCED}, ("t0", "t1", "t2")),
        ((), {"t0": FAILED, "t1": ENFORCED, "t2": FAILED}, ("t1",)),
        (("t1",), {"t0": ENFORCED, "t1": ENFORCED, "t2": ENFORCED}, ("t1",)),
        (("t2",), {"t0": ENFORCED, "t1": WEAK, "t2": ENFORCED}, ("t2",)),
        (("t0",), {"t0": ENFORCED, "t1": ENFORCED}, ("t0",)),
    ],
)
def test_it_offers_what_is_asked_for_and_kept(
    wanted: tuple[str, ...], found: dict[str, Grade], tiers: tuple[str, ...]
) -> None:
    assert _offered(wanted, found).tiers == tiers


@pytest.mark.parametrize(
    ("wanted", "found", "said"),
    [
        ((), {"t0": ENFORCED, "t1": FAILED, "t2": ENFORCED}, "tier t1 promises"),
        ((), {"t1": WEAK}, "mount a memory cgroup"),
        ((), {}, "tier t1, which was not tried"),
        (("t1", "t2"), {"t1": ENFORCED, "t2": FAILED}, "tier t2 promises"),
        (("t2",), {"t1": ENFORCED}, "tier t2, which was not tried"),
    ],
)
def test_it_refuses_to_serve_when_one_that_was_asked_for_fails(
    wanted: tuple[str, ...], found: dict[str, Grade], said: str
) -> None:
    with pytest.raises(LocalError, match=said):
        _offered(wanted, found)


def test_weak_limits_do_on_a_local_chain_alone_and_say_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert _offered((), {"t0": WEAK, "t1": WEAK}, allow_weak_isolation=True).tiers == ("t1",)
    assert "mount a memory cgroup" in caplog.text
    with pytest.raises(LocalError):
        _offered((), {"t1": FAILED}, allow_weak_isolation=True)


@pytest.mark.parametrize(
    ("wanted", "runtimes"),
    [
        ((), ("host-python", "environment", "wasm")),
        (("t1",), ("host-python", "environment")),
        (("t0",), ("wasm",)),
        (("t0", "t2"), ("host-python", "environment", "wasm")),
    ],
)
def test_modules_go_with_the_tier_that_runs_them(
    wanted: tuple[str, ...], runtimes: tuple[str, ...]
) -> None:
    found = {"t0": ENFORCED, "t1": ENFORCED, "t2": ENFORCED}
    assert _offered(wanted, found).runtimes == runtimes


def _offered(
    wanted: tuple[str, ...], found: dict[str, Grade], *, allow_weak_isolation: bool = False
) -> Supply:
    supply = Supply(
        operator=OPERATOR,
        hardware_class=HARDWARE,
        cpu_model="Test CPU",
        tiers=wanted,
        runtimes=("host-python", "environment"),
        software_digest=Digest(bytes(32)),
        slots=1,
        slot=Slot(
            memory_bytes=MIB,
            cpus_milli=1000,
            scratch_bytes=MIB,
            output_bytes=MIB,
            input_bytes=MIB,
            seconds_max=60,
        ),
        price_microusd_per_second=1,
        bond_max_microusd=1,
        scheduler_bond_min_microusd=1,
        schedulers=(),
        work_directory=Path("unused"),
        allow_weak_isolation=allow_weak_isolation,
    )
    return offered(supply, [a_report(tier, grade) for tier, grade in found.items()])
