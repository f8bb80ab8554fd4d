"""Each row of the table: its reason, its sentence, and that it alone failed."""

import pytest

from assay_node.protocol.ids import Digest
from assay_node.protocol.job_spec import Exactness, Resources
from assay_node.protocol.units import GIB, MIB
from assay_scheduler.feasibility import (
    REQUIREMENTS,
    TERMS,
    obstacles,
    size_at_least,
    size_at_most,
)
from assay_scheduler.hardware import NEVER_ASKED, Hardware, HardwareView
from assay_scheduler.plan import Reason
from tests.unit.scheduler.samples import NOW, A, job, provider

ENVIRONMENT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"

DISPROVED = HardwareView(
    state=Hardware.DISPROVED,
    text="its processor showed 50.0 GFLOPS of 145.3 GFLOPS advertised, of which 90% would do",
    asked_at=int(NOW) - 90,
)

ROWS = [
    (
        Reason.ORDER_EXPIRED,
        {"expiry": int(NOW) - 40},
        {},
        "the order expired 40 s ago",
    ),
    (
        Reason.WRONG_CLASS,
        {},
        {"hardware_class": Digest(b"\xab" * 32)},
        "offers hardware class abababababababab; the order asks for 6363636363636363",
    ),
    (
        Reason.TIER_TOO_LOW,
        {},
        {"tiers": ("t\x1b0",)},
        "isolates jobs at 't\\x1b0'; the job needs t1 or t2",
    ),
    (
        Reason.RUNTIME_MISSING,
        {"runtime": ENVIRONMENT},
        {},
        f"does not have the runtime '{ENVIRONMENT[:64]}'",
    ),
    (
        Reason.TIER_TOO_LOW,
        {"tier": "t2"},
        {},
        "isolates jobs at 't1'; the job needs t2",
    ),
    (
        Reason.GPUS_TOO_FEW,
        {"resources": Resources(gpus=2)},
        {"gpus": 1},
        "a slot has 1 GPU; the job asks for 2",
    ),
    (
        Reason.GPU_MEMORY_TOO_SMALL,
        {"resources": Resources(gpus=1, gpu_memory_bytes=20 * GIB)},
        {"gpus": 1, "gpu_memory_bytes": 16 * GIB},
        "its GPUs have 16 GiB of memory; the job asks for 20 GiB",
    ),
    (
        Reason.EXACT_MODE_MISSING,
        {"exact": Exactness.E21},
        {"exact_modes": ()},
        "passed no self-test of exact_torch; the job needs mode E21",
    ),
    (
        Reason.EXACT_MODE_MISSING,
        {"exact": Exactness.E21},
        {"exact_modes": ("E14", "FMA")},
        "runs exact programs in 'E14', 'FMA'; the job needs E21",
    ),
    (
        Reason.MEMORY_TOO_SMALL,
        {"resources": Resources(memory_bytes=4 * GIB)},
        {"memory_bytes": 4 * GIB - 1},
        "a slot has 3.999 GiB of memory; the job asks for 4 GiB",
    ),
    (
        Reason.CPUS_TOO_FEW,
        {"resources": Resources(cpus_milli=1500)},
        {"cpus_milli": 1000},
        "a slot has 1 CPUs; the job asks for 1.5 CPUs",
    ),
    (
        Reason.SCRATCH_TOO_SMALL,
        {},
        {"scratch_bytes": 1000},
        "a slot has 1000 B of scratch space; the job asks for 256 MiB",
    ),
    (
        Reason.OUTPUT_TOO_SMALL,
        {},
        {"output_bytes": 32 * MIB},
        "a slot has 32 MiB of output; the job asks for 64 MiB",
    ),
    (
        Reason.INPUT_TOO_SMALL,
        {},
        {"input_bytes": 128 * MIB},
        "a slot has 128 MiB of input; the job asks for 256 MiB",
    ),
    (
        Reason.SECONDS_TOO_LONG,
        {},
        {"seconds_max": 599},
        "runs jobs for at most 599 s; the order allows 600 s",
    ),
    (
        Reason.PRICE_ABOVE_CAP,
        {},
        {"price_microusd_per_second": 2000},
        "asks $0.002 per second; the order pays at most $0.001",
    ),
    (
        Reason.BOND_TOO_HIGH,
        {},
        {"bond_max_microusd": 999_999},
        "bonds at most $0.999999 for a job; the order asks for $1.00",
    ),
    (
        Reason.STAKE_TOO_LOW,
        {},
        {"stake_free_microusd": 500_000},
        "has $0.50 of stake not promised to other jobs; the order's bond is $1.00",
    ),
    (
        Reason.OFFER_EXPIRED,
        {},
        {"issued_at": int(NOW) - 100, "expires_at": int(NOW)},
        "its offer expired 0 s ago",
    ),
    (
        Reason.OFFLINE,
        {},
        {"connected": False, "last_heard": NOW - 75},
        "not connected; last heard from 75 s ago",
    ),
    (Reason.NO_FREE_SLOT, {}, {"slots_free": 0}, "all 2 slots are taken"),
    (Reason.NO_FREE_SLOT, {}, {"slots": 0, "slots_free": 0}, "its owner lets no new job in now"),
    (
        Reason.HARDWARE_DISPROVED,
        {},
        {"hardware": DISPROVED},
        f"failed the proof of its hardware, 90 s ago: {DISPROVED.text}",
    ),
    (
        Reason.HARDWARE_UNPROVEN,
        {},
        {"hardware": HardwareView(required=True)},
        f"this scheduler gives work to proven hardware alone; the last proof: {NEVER_ASKED.text}",
    ),
    (
        Reason.BEING_PROVEN,
        {},
        {"hardware": HardwareView(being_asked=True)},
        "its hardware is being proven at this moment, which takes some seconds",
    ),
    (Reason.NO_FREE_SLOT, {}, {"slots": 1, "slots_free": 0}, "its only slot is taken"),
]


@pytest.mark.parametrize(("reason", "of_job", "of_provider", "sentence"), ROWS)
def test_one_thing_amiss_is_one_reason_with_its_numbers(reason, of_job, of_provider, sentence):
    assert obstacles(job(**of_job), provider(A, **of_provider), NOW) == ((reason, sentence),)


def test_every_row_has_an_example():
    assert {row.reason for row in REQUIREMENTS} == {reason for reason, *_ in ROWS}


def test_what_just_fits_fits():
    exact = provider(
        A,
        memory_bytes=1 * GIB,
        cpus_milli=1000,
        scratch_bytes=256 * MIB,
        output_bytes=64 * MIB,
        input_bytes=256 * MIB,
        seconds_max=600,
        price_microusd_per_second=1000,
        bond_max_microusd=1_000_000,
        stake_free_microusd=1_000_000,
        slots_free=1,
    )
    assert obstacles(job(), exact, NOW) == ()


def test_all_that_is_amiss_is_said_the_lasting_first():
    both = provider(A, connected=False, price_microusd_per_second=9000, memory_bytes=1)
    assert [reason for reason, _ in obstacles(job(), both, NOW)] == [
        Reason.MEMORY_TOO_SMALL,
        Reason.PRICE_ABOVE_CAP,
        Reason.OFFLINE,
    ]


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [
        (0, "0 B", "0 B"),
        (1023, "1023 B", "1023 B"),
        (2 * GIB, "2 GiB", "2 GiB"),
        (2 * GIB - 1, "1.999 GiB", "2 GiB"),
        (2 * GIB + 1, "2 GiB", "2.001 GiB"),
        (1536 * MIB, "1.5 GiB", "1.5 GiB"),
        (10 * MIB, "10 MiB", "10 MiB"),
    ],
)
def test_sizes_are_rounded_away_from_a_promise(size, low, high):
    assert (size_at_least(size), size_at_most(size)) == (low, high)


def test_softening_a_term_changes_that_term_alone():
    before = job(resources=Resources(gpus=1, gpu_memory_bytes=GIB))
    for term in TERMS:
        after = term.softened(before, 7)
        assert term.asked(after) == 7
        assert [t.asked(after) for t in TERMS if t is not term] == [
            t.asked(before) for t in TERMS if t is not term
        ]
