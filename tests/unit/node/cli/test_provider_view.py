"""A provider's state in words and as a screen."""

import io
from typing import Any

import pytest
from rich.console import Console

from assay_node.cli.provider_view import price_lines, span, status_lines, status_view
from assay_provider.break_even import Costs
from assay_provider.status import price_document

EARNED = {"paid_microusd": 1_500_000, "slashed_microusd": 0, "jobs_paid": 3, "jobs_slashed": 0}


def a_daemon(**changes: Any) -> dict[str, Any]:
    return {
        "pid": 7,
        "up_s": 3700.0,
        "refusing": None,
        "slots": {"total": 2, "held": 1, "free": 1},
        "jobs": [a_job()],
        "connected": ["0xscheduler"],
        "drain": None,
        "schedule": a_schedule(),
        "machine": {
            "temperatures": [{"name": "x86_pkg_temp", "celsius": 61.4}],
            "cpu_power_watts": 44.6,
            "gpus": [],
            "unknown": [],
        },
        "requesters_last_day": {},
        "benchmark": None,
        **changes,
    }


def a_job(**changes: Any) -> dict[str, Any]:
    return {
        "job": "0x" + "ab" * 32,
        "requester": "0x" + "11" * 20,
        "scheduler": "0xscheduler",
        "slot": 1,
        "stage": "running",
        "elapsed_s": 65.0,
        "limit_s": 600,
        "rate_microusd": 100,
        "expires_at": 0,
        **changes,
    }


def a_schedule(**changes: Any) -> dict[str, Any]:
    return {
        "is_open": True,
        "reason": "",
        "until": None,
        "has_hours": False,
        "idle_only": False,
        "signs": [],
        "unknown": [],
        **changes,
    }


def a_status(**changes: Any) -> dict[str, Any]:
    return {
        "operator": "0xoperator",
        "hardware_class": "cpu-x86_64",
        "price": price_document(Costs(slots=2, price_microusd_per_second=100)),
        "slots": {"total": 2, "held": 1},
        "daemon": a_daemon(),
        "daemon_silent_for": "",
        "open_leases": 1,
        "leases": [
            {
                "job": "0x" + "cd" * 32,
                "state": "closed",
                "stage": "",
                "verdict": "ok",
                "seconds": 5,
                "reason": "settled",
            }
        ],
        "schedulers": [{"scheduler": "0xscheduler", "heard_s_ago": 3.0}],
        "exact": None,
        "environments": None,
        "proofs": {"rounds": 0, "busy_seconds": 0.0, "results": []},
        "metered_microusd": 2_000_000,
        "metered_today_microusd": 1_600_000,
        "account": {"error": "the chain does not answer"},
        "earned": {"today": EARNED, "in_all": EARNED, "to_block": 9, "is_complete": True},
        **changes,
    }


def said(**changes: Any) -> str:
    return "\n".join(status_lines(a_status(**changes)))


def test_a_running_daemon_in_words() -> None:
    shown = said()
    assert "sells cpu-x86_64 at $0.0001 a second ($0.36 an hour) a slot\n" in shown
    assert "it breaks even from the first second" in shown
    assert "daemon: up 1 h 1 min (process 7); lets jobs in" in shown
    assert "the chain paid today: $1.50 for 3 job(s); in all: $1.50 for 3 job(s)" in shown
    assert "metered on settled jobs: $2.00, of which $1.60 today" in shown
    assert "machine: x86_pkg_temp 61 °C, processor 45 W" in shown
    assert "last proof: none was asked for yet" in shown
    assert "benchmark: none is offered" in shown
    assert "scheduler 0xscheduler connected" in shown
    assert "closed, 5 s ok: settled" in shown
    assert "schedule:" not in shown


def test_without_a_daemon_or_with_a_silent_one() -> None:
    assert "daemon: not running; start it with: assay provider run" in said(daemon=None)
    silent = said(daemon=None, daemon_silent_for="it does not answer")
    assert "daemon: it does not answer" in silent
    assert "scheduler 0xscheduler heard 3 s ago" in silent


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"drain": {"running": 1, "unsettled": 2, "deadline": None, "afterwards": "stop"}},
            "drain: 1 job(s) run, 2 wait to be settled; then it stops",
        ),
        (
            {"drain": {"running": 0, "unsettled": 0, "deadline": 0.0, "afterwards": "stay"}},
            "then it stays without jobs, at the latest at ",
        ),
        ({"refusing": "this provider is draining"}, "(process 7); this provider is draining"),
        (
            {"schedule": a_schedule(is_open=False, has_hours=True, reason="outside", until=0.0)},
            "schedule: closed (outside) until ",
        ),
        ({"schedule": a_schedule(has_hours=True)}, "schedule: open"),
        (
            {"schedule": a_schedule(idle_only=True, signs=["input"], unknown=["no desktop"])},
            "  the owner is seen by: input; no desktop",
        ),
        ({"benchmark": {"age_s": 7200.0, "is_old": False}}, "benchmark: measured 2 h ago"),
        (
            {"benchmark": {"age_s": 40 * 86_400.0, "is_old": True}},
            "benchmark: measured 40 d ago; measure again: assay provider benchmark",
        ),
    ],
)
def test_what_the_daemon_is_in_the_middle_of(changes: dict[str, Any], line: str) -> None:
    assert line in said(daemon=a_daemon(**changes))


def test_the_newest_proof_and_what_all_have_cost() -> None:
    proof = {"verdict": "slow", "asked_at": 0, "verifier": "0xs", "detail": "89 % of it"}
    shown = said(proofs={"rounds": 3, "busy_seconds": 65.0, "results": [proof]})
    assert "last proof: slow " in shown
    assert "asked by 0xs (89 % of it); 3 so far kept the slots from jobs for 1 min 5 s" in shown


def test_gpus_show_what_their_driver_says() -> None:
    full = {
        "device": "GPU-1",
        "model": "RTX 4090",
        "celsius": 55.0,
        "power_watts": 300.4,
        "power_limit_watts": 450.0,
        "busy_percent": 99.0,
        "memory_used_bytes": 1 << 30,
        "memory_bytes": 24 << 30,
    }
    silent = {**dict.fromkeys(full), "device": "GPU-2", "model": "RTX 3090"}
    machine = {"temperatures": [], "cpu_power_watts": None, "gpus": [full, silent], "unknown": []}
    shown = said(daemon=a_daemon(machine=machine))
    assert "RTX 4090 (GPU-1), 55 °C, 300 W of 450, 99 % busy, 1 GiB of 24 GiB" in shown
    assert "  RTX 3090 (GPU-2)" in shown


def test_earnings_that_are_not_read_to_the_end_say_so() -> None:
    earned = {"today": None, "in_all": EARNED, "to_block": 9, "is_complete": False}
    shown = said(earned=earned)
    assert "today: too many blocks to read; in all: $1.50" in shown
    assert "(up to block 9, reading on)" in shown
    assert "the chain paid" not in said(earned=None)


def screen(document: dict[str, Any], *, height: int, width: int = 120) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=False)
    console.print(status_view(document, height=height))
    return out.getvalue().splitlines()


def test_the_screen_has_a_row_a_job_and_fits() -> None:
    jobs = [a_job(job=f"0x{n:064x}", slot=None if n else 0) for n in range(100)]
    shown = screen(a_status(daemon=a_daemon(jobs=jobs)), height=30)
    assert len(shown) <= 30
    assert any(line.startswith("job ") and "limit" in line for line in shown)
    assert any("running" in line and "1 min 5 s" in line and "10 min" in line for line in shown)
    assert len(screen(a_status(daemon=a_daemon(jobs=jobs)), height=5, width=40)) < 30


def test_the_screen_without_jobs_shows_the_last_ones() -> None:
    shown = screen(a_status(daemon=a_daemon(jobs=[])), height=40)
    assert any("closed, 5 s ok: settled" in line for line in shown)
    assert screen(a_status(daemon=None), height=40)


def test_what_strangers_name_is_no_markup() -> None:
    shown = screen(a_status(operator="[red]x[/red]"), height=40)
    assert any("[red]x[/red]" in line for line in shown)


def test_prices_in_words() -> None:
    rig = Costs(
        slots=1,
        price_microusd_per_second=100,
        floor_microusd_per_second=50,
        slot_milliwatts=300_000,
        electricity_microusd_per_kwh=300_000,
        purchase_microusd=1_095_000_000,
    )
    shown = "\n".join(price_lines(price_document(rig)))
    assert "floor       $0.00005 a second ($0.18 an hour) a slot" in shown
    assert "$0.09 an hour (25 micro-USD a second) for a busy slot of 300 W at $0.30 a kWh" in shown
    assert "fixed       $1.00 a day, idle or not" in shown
    assert "break-even  when every slot is busy 15.4% of the time" in shown
    assert "100% busy   earns $8.64 a day, costs $3.16, leaves $5.48" in shown
    unknown = "\n".join(price_lines(price_document(Costs(slots=1, price_microusd_per_second=1))))
    assert "power       not known: set provider.prices.slot_power_watts" in unknown
    assert "floor       none" in unknown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (100 * 3600, "4 d 4 h"),
        (-5, "0 s"),
    ],
)
def test_spans_of_time(seconds: float, text: str) -> None:
    assert span(seconds) == text
