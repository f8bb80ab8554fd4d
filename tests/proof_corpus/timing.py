"""Cheats with time, on a virtual clock: nothing here computes, so thousands of rounds are cheap.

A device is a speed; a round takes its operations at that speed, a share for hashing, and the
network. All of it wobbles. What is judged, and how failures add up, is the scheduler's own code.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from assay_node.protocol.hardware_proof import (
    ROUND_TRIPS_MIN,
    WORKS_MAX,
    ProofFigure,
    ProofResult,
    ProofVerdict,
    judged,
    measured,
    sized_part,
)
from assay_node.protocol.ids import Address, Digest
from assay_node.services.proof_schedule import ProofSchedule, ProofTerms
from assay_scheduler.hardware import Hardware, judge

SECONDS = 12.0
CLAIM_MFLOPS = 40_000_000  # 40 TFLOPS, a GPU of the middle class
HASHING = 0.05
"""Share of the computing time that fingerprints take; 3 to 7 % were measured."""
DAY_S = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How a provider's time comes about.

    `speed` is what it has of what it advertises; `wobble` the standard deviation of a round's speed
    around that (never above what the device can do by more than a fifth); `hiccup` the chance that
    something else slows a round to `hiccup_speed`. `latency_s` is one way, on top of the network's.
    """

    name: str
    speed: float = 1.0
    wobble: float = 0.01
    hiccup: float = 0.0
    hiccup_speed: float = 0.7
    latency_s: float = 0.0
    shared_with: int = 1
    """How many adverts the device stands behind, all asked at once."""


HONEST = (
    Behaviour(name="honest, a quiet machine"),
    Behaviour(name="honest, 2 % wobble", wobble=0.02),
    Behaviour(name="honest, 3 % wobble", wobble=0.03),
    Behaviour(name="honest, 5 % wobble", wobble=0.05),
    Behaviour(name="honest, slowed by something else in 1 round of 20", hiccup=0.05),
    Behaviour(name="honest, 300 ms away", latency_s=0.15),
    Behaviour(name="honest, 2 s away (a satellite and more)", latency_s=1.0),
)
CHEATS = (
    Behaviour(name="advertises 5 % more than it has", speed=1 / 1.05),
    Behaviour(name="advertises 10 % more", speed=1 / 1.10),
    Behaviour(name="advertises 20 % more", speed=1 / 1.20),
    Behaviour(name="advertises twice what it has", speed=0.5),
    Behaviour(name="two adverts for one device, asked together", shared_with=2),
    Behaviour(name="five adverts for one device, asked together", shared_with=5),
    Behaviour(name="proxy, 50 ms away, to a machine of 80 %", speed=0.8, latency_s=0.05),
    Behaviour(name="proxy, 500 ms away, to a machine of 95 %", speed=0.95, latency_s=0.5),
)
PROXIES = (
    Behaviour(name="proxy, 50 ms away, to a machine as fast", latency_s=0.05),
    Behaviour(name="proxy, 500 ms away, to a machine as fast", latency_s=0.5),
    Behaviour(name="proxy to a machine as fast, for two adverts asked together", shared_with=2),
)


def one_round(behaviour: Behaviour, draw: random.Random) -> tuple[ProofFigure, ...]:
    """Return what one round measures."""
    part = sized_part(None, CLAIM_MFLOPS, SECONDS)
    round_trip_s = draw.lognormvariate(-2.8, 0.6) + 2 * behaviour.latency_s  # 60 ms, some 200
    # a proxy's way adds to the ping as well, so the round grows with it
    factor = max(1.0, ROUND_TRIPS_MIN * round_trip_s / SECONDS)
    part = replace(part, works=min(WORKS_MAX, round(part.works * factor)))
    speed = behaviour.speed / behaviour.shared_with * min(draw.gauss(1, behaviour.wobble), 1.2)
    if draw.random() < behaviour.hiccup:
        speed *= behaviour.hiccup_speed
    computing_s = part.operations / (CLAIM_MFLOPS * 1e6 * max(speed, 1e-3))
    return measured([part], [CLAIM_MFLOPS], computing_s * (1 + HASHING) + round_trip_s)


def verdicts(behaviour: Behaviour, count: int, *, seed: int) -> list[ProofVerdict]:
    """Return the verdicts of so many rounds."""
    draw = random.Random(f"{seed} {behaviour.name}")
    return [judged(one_round(behaviour, draw))[0] for _ in range(count)]


def disproved_share(behaviour: Behaviour, providers: int, *, rounds: int, seed: int) -> float:
    """Return the share of providers that so many rounds in a row leave disproved at some time."""
    draw = random.Random(f"{seed} standing {behaviour.name}")
    found = 0
    for _ in range(providers):
        results: list[ProofResult] = []
        for number in range(rounds):
            figures = one_round(behaviour, draw)
            results.insert(0, _result(figures, number))
            view = judge(results[:20], {None: CLAIM_MFLOPS}, now=number, age_s_max=DAY_S)
            if view.state is Hardware.DISPROVED:
                found += 1
                break
    return found / providers


def days_until_together(*, providers: int, together: int, seed: int, trials: int) -> list[float]:
    """Return after how many days two operators that share a device were asked in one round."""
    found = []
    for trial in range(trials):
        draw = random.Random(f"{seed} {providers} {together} {trial}")
        terms = ProofTerms(interval_s=DAY_S / 4, together=together)
        schedule = ProofSchedule(terms=terms, draw=draw)
        eligible = {Address(f"0x{n:040x}"): Digest(bytes(32)) for n in range(providers)}
        pair = set(list(eligible)[:2])
        schedule.next_round(eligible, now=0.0)
        for one in eligible:
            schedule.admit(one, now=0.0, asked_before=True)
        now = 0.0
        while True:
            now = max(now, min(schedule._due.values()))
            chosen = schedule.next_round(eligible, now=now)
            for one in chosen:
                schedule.answered(one, now=now, again_soon=False)
            if pair <= set(chosen):
                break
        found.append(now / DAY_S)
    return sorted(found)


def _result(figures: Sequence[ProofFigure], number: int) -> ProofResult:
    verdict, detail = judged(figures)
    return ProofResult(
        verifier=Address("0x" + "22" * 20),
        operator=Address("0x" + "0a" * 20),
        round=Digest(number.to_bytes(32, "big")),
        beacon=Digest(bytes(32)),
        verdict=verdict.value,
        detail=detail,
        figures=tuple(figures),
        milliseconds=0,
        rows=256,
        asked_at=number,
    )
