"""What a provider must satisfy to run a replica: one table, read by verdicts and relaxations.

A row knows its reason, its test, and the sentence that tells a person why the test failed, with the
numbers on both sides. Rows about the machine stand before rows about the moment, so a verdict's
first reason is the one that lasts longest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from assay_node.protocol.job_spec import Resources, runtime_kind, tiers_accepted
from assay_node.protocol.units import GIB, KIB, MIB, microusd_to_text
from assay_scheduler.hardware import Hardware, HardwareView
from assay_scheduler.plan import Reason
from assay_scheduler.snapshot import JobView, ProviderView

QUOTED_CHARACTERS_MAX: Final = 64
"""Longest quotation of a name somebody else chose, so that a sentence stays a sentence."""

Obstacle = tuple[Reason, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A number a requester may soften in a new order.

    `asked` is the order's value, `reach` the value nearest to it at which a provider's limits would
    do. `softened` returns the job with another value and raises `MalformedMessage` when no order
    can say that. `phrase` gets the new and the old value.
    """

    asked: Callable[[JobView], int]
    reach: Callable[[ProviderView], int]
    softened: Callable[[JobView, int], JobView]
    phrase: Callable[[int, int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One row. `met` and `sentence` get the job, the provider and the time in Unix seconds."""

    reason: Reason
    met: Callable[[JobView, ProviderView, float], bool]
    sentence: Callable[[JobView, ProviderView, float], str]
    term: Term | None = None


def obstacles(job: JobView, provider: ProviderView, now: float) -> tuple[Obstacle, ...]:
    """Return every row a provider fails for a job, in the table's order; empty when it fits."""
    return tuple(
        [
            (row.reason, row.sentence(job, provider, now))
            for row in REQUIREMENTS
            if not row.met(job, provider, now)
        ]
    )


def size_at_least(size: int) -> str:
    """Return bytes as people read them, never overstated: 2 GiB less a byte is "1.999 GiB"."""
    return _size(size, rounding=0)


def size_at_most(size: int) -> str:
    """Return bytes as people read them, never understated: 2 GiB and a byte is "2.001 GiB"."""
    return _size(size, rounding=1)


def _size(size: int, *, rounding: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            thousandths = (size * 1000 + rounding * (unit - 1)) // unit
            whole, rest = divmod(thousandths, 1000)
            return f"{whole}.{rest:03d}".rstrip("0").rstrip(".") + f" {name}"
    return f"{size} B"


def _cpus(milli: int) -> str:
    return f"{milli / 1000:g} CPUs"


def _ago(seconds: float) -> str:
    return f"{max(0, round(seconds))} s ago"


def _asked(hardware: HardwareView, now: float) -> str:
    return "" if hardware.asked_at is None else f", {_ago(now - hardware.asked_at)}"


def _quoted(text: str) -> str:
    return ascii(text[:QUOTED_CHARACTERS_MAX])


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_quoted(name) for name in names)


def _with_resources(job: JobView, resources: Resources) -> JobView:
    return replace(job, spec=replace(job.spec, resources=resources))


CAP: Final = Term(
    asked=lambda j: j.order.max_rate_microusd,
    reach=lambda p: p.offer.price_microusd_per_second,
    softened=lambda j, v: replace(j, order=replace(j.order, max_rate_microusd=v)),
    phrase=lambda new, _: f"at a cap of {microusd_to_text(new)} per second",
)
BOND: Final = Term(
    asked=lambda j: j.order.bond_microusd,
    reach=lambda p: min(p.offer.bond_max_microusd, p.stake_free_microusd),
    softened=lambda j, v: replace(j, order=replace(j.order, bond_microusd=v)),
    phrase=lambda new, old: (
        f"with a bond of {microusd_to_text(new)} instead of {microusd_to_text(old)}"
    ),
)
SECONDS: Final = Term(
    asked=lambda j: j.order.max_seconds,
    reach=lambda p: p.offer.slot.seconds_max,
    softened=lambda j, v: replace(j, order=replace(j.order, max_seconds=v)),
    phrase=lambda new, old: f"with runs of at most {new} s instead of {old} s",
)
CPUS: Final = Term(
    asked=lambda j: j.spec.resources.cpus_milli,
    reach=lambda p: p.offer.slot.cpus_milli,
    softened=lambda j, v: _with_resources(j, replace(j.spec.resources, cpus_milli=v)),
    phrase=lambda new, old: f"with {_cpus(new)} instead of {_cpus(old)}",
)


def _size_term(
    noun: str,
    asked: Callable[[Resources], int],
    reach: Callable[[ProviderView], int],
    softened: Callable[[Resources, int], Resources],
) -> Term:
    return Term(
        asked=lambda j: asked(j.spec.resources),
        reach=reach,
        softened=lambda j, v: _with_resources(j, softened(j.spec.resources, v)),
        phrase=lambda new, old: (
            f"with {size_at_least(new)} of {noun} instead of {size_at_most(old)}"
        ),
    )


MEMORY: Final = _size_term(
    "memory",
    lambda r: r.memory_bytes,
    lambda p: p.offer.slot.memory_bytes,
    lambda r, v: replace(r, memory_bytes=v),
)
SCRATCH: Final = _size_term(
    "scratch space",
    lambda r: r.scratch_bytes,
    lambda p: p.offer.slot.scratch_bytes,
    lambda r, v: replace(r, scratch_bytes=v),
)
OUTPUT: Final = _size_term(
    "output",
    lambda r: r.output_bytes,
    lambda p: p.offer.slot.output_bytes,
    lambda r, v: replace(r, output_bytes=v),
)
INPUT: Final = _size_term(
    "input",
    lambda r: r.input_bytes,
    lambda p: p.offer.slot.input_bytes,
    lambda r, v: replace(r, input_bytes=v),
)
GPU_MEMORY: Final = _size_term(
    "memory on each GPU",
    lambda r: r.gpu_memory_bytes,
    lambda p: p.offer.slot.gpu_memory_bytes,
    lambda r, v: replace(r, gpu_memory_bytes=v),
)
GPUS: Final = Term(
    asked=lambda j: j.spec.resources.gpus,
    reach=lambda p: p.offer.slot.gpus,
    softened=lambda j, v: _with_resources(j, _with_gpus(j.spec.resources, v)),
    phrase=lambda new, old: f"with {_gpus(new)} instead of {old}",
)

TERMS: Final = (CAP, BOND, SECONDS, CPUS, MEMORY, SCRATCH, OUTPUT, INPUT, GPUS, GPU_MEMORY)


def _with_gpus(resources: Resources, gpus: int) -> Resources:
    memory_bytes = resources.gpu_memory_bytes if gpus else 0
    return replace(resources, gpus=gpus, gpu_memory_bytes=memory_bytes)


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _no_free_slot(slots: int) -> str:
    if slots == 0:
        return "its owner lets no new job in now"
    return "its only slot is taken" if slots == 1 else f"all {slots} slots are taken"


def _size_row(reason: Reason, term: Term, noun: str) -> Requirement:
    return Requirement(
        reason=reason,
        met=lambda j, p, _: term.reach(p) >= term.asked(j),
        sentence=lambda j, p, _: (
            f"a slot has {size_at_least(term.reach(p))} of {noun}; "
            f"the job asks for {size_at_most(term.asked(j))}"
        ),
        term=term,
    )


REQUIREMENTS: Final = (
    Requirement(
        reason=Reason.ORDER_EXPIRED,
        met=lambda j, _, now: now < j.order.expiry,
        sentence=lambda j, _, now: f"the order expired {_ago(now - j.order.expiry)}",
    ),
    Requirement(
        reason=Reason.WRONG_CLASS,
        met=lambda j, p, _: p.offer.hardware_class == j.order.hardware_class,
        sentence=lambda j, p, _: (
            f"offers hardware class {p.offer.hardware_class.hex()[:16]}; "
            f"the order asks for {j.order.hardware_class.hex()[:16]}"
        ),
    ),
    Requirement(
        reason=Reason.TIER_TOO_LOW,
        met=lambda j, p, _: any(tier in p.offer.tiers for tier in tiers_accepted(j.spec.tier)),
        sentence=lambda j, p, _: (
            f"isolates jobs at {_listed(p.offer.tiers) or 'no tier'}; "
            f"the job needs {' or '.join(tiers_accepted(j.spec.tier))}"
        ),
    ),
    Requirement(
        reason=Reason.RUNTIME_MISSING,
        met=lambda j, p, _: runtime_kind(j.spec.runtime) in p.offer.runtimes,
        sentence=lambda j, _p, _: f"does not have the runtime {_quoted(j.spec.runtime)}",
    ),
    Requirement(
        reason=Reason.EXACT_MODE_MISSING,
        met=lambda j, p, _: j.spec.mode is None or j.spec.mode in p.offer.exact_modes,
        sentence=lambda j, p, _: (
            f"runs exact programs in {_listed(p.offer.exact_modes)}; the job needs {j.spec.mode}"
            if p.offer.exact_modes
            else f"passed no self-test of exact_torch; the job needs mode {j.spec.mode}"
        ),
    ),
    _size_row(Reason.MEMORY_TOO_SMALL, MEMORY, "memory"),
    Requirement(
        reason=Reason.CPUS_TOO_FEW,
        met=lambda j, p, _: p.offer.slot.cpus_milli >= j.spec.resources.cpus_milli,
        sentence=lambda j, p, _: (
            f"a slot has {_cpus(p.offer.slot.cpus_milli)}; "
            f"the job asks for {_cpus(j.spec.resources.cpus_milli)}"
        ),
        term=CPUS,
    ),
    _size_row(Reason.SCRATCH_TOO_SMALL, SCRATCH, "scratch space"),
    _size_row(Reason.OUTPUT_TOO_SMALL, OUTPUT, "output"),
    _size_row(Reason.INPUT_TOO_SMALL, INPUT, "input"),
    Requirement(
        reason=Reason.GPUS_TOO_FEW,
        met=lambda j, p, _: p.offer.slot.gpus >= j.spec.resources.gpus,
        sentence=lambda j, p, _: (
            f"a slot has {_gpus(p.offer.slot.gpus)}; the job asks for {j.spec.resources.gpus}"
        ),
        term=GPUS,
    ),
    Requirement(
        reason=Reason.GPU_MEMORY_TOO_SMALL,
        met=lambda j, p, _: (
            p.offer.slot.gpus < j.spec.resources.gpus  # one reason is enough
            or GPU_MEMORY.reach(p) >= GPU_MEMORY.asked(j)
        ),
        sentence=lambda j, p, _: (
            f"its GPUs have {size_at_least(GPU_MEMORY.reach(p))} of memory; "
            f"the job asks for {size_at_most(GPU_MEMORY.asked(j))}"
        ),
        term=GPU_MEMORY,
    ),
    Requirement(
        reason=Reason.HARDWARE_DISPROVED,
        met=lambda _j, p, _: p.hardware.state is not Hardware.DISPROVED,
        sentence=lambda _j, p, now: (
            f"failed the proof of its hardware{_asked(p.hardware, now)}: {p.hardware.text}"
        ),
    ),
    Requirement(
        reason=Reason.HARDWARE_UNPROVEN,
        met=lambda _j, p, _: not p.hardware.required or p.hardware.state is not Hardware.UNPROVEN,
        sentence=lambda _j, p, now: (
            "this scheduler gives work to proven hardware alone; the last proof"
            f"{_asked(p.hardware, now)}: {p.hardware.text}"
        ),
    ),
    Requirement(
        reason=Reason.SECONDS_TOO_LONG,
        met=lambda j, p, _: p.offer.slot.seconds_max >= j.order.max_seconds,
        sentence=lambda j, p, _: (
            f"runs jobs for at most {p.offer.slot.seconds_max} s; "
            f"the order allows {j.order.max_seconds} s"
        ),
        term=SECONDS,
    ),
    Requirement(
        reason=Reason.PRICE_ABOVE_CAP,
        met=lambda j, p, _: p.offer.price_microusd_per_second <= j.order.max_rate_microusd,
        sentence=lambda j, p, _: (
            f"asks {microusd_to_text(p.offer.price_microusd_per_second)} per second; "
            f"the order pays at most {microusd_to_text(j.order.max_rate_microusd)}"
        ),
        term=CAP,
    ),
    Requirement(
        reason=Reason.BOND_TOO_HIGH,
        met=lambda j, p, _: p.offer.bond_max_microusd >= j.order.bond_microusd,
        sentence=lambda j, p, _: (
            f"bonds at most {microusd_to_text(p.offer.bond_max_microusd)} for a job; "
            f"the order asks for {microusd_to_text(j.order.bond_microusd)}"
        ),
        term=BOND,
    ),
    Requirement(
        reason=Reason.STAKE_TOO_LOW,
        met=lambda j, p, _: p.stake_free_microusd >= j.order.bond_microusd,
        sentence=lambda j, p, _: (
            f"has {microusd_to_text(p.stake_free_microusd)} of stake not promised to other jobs; "
            f"the order's bond is {microusd_to_text(j.order.bond_microusd)}"
        ),
        term=BOND,
    ),
    Requirement(
        reason=Reason.OFFER_EXPIRED,
        met=lambda _, p, now: now < p.offer.expires_at,
        sentence=lambda _, p, now: f"its offer expired {_ago(now - p.offer.expires_at)}",
    ),
    Requirement(
        reason=Reason.OFFLINE,
        met=lambda _j, p, _: p.connected,
        sentence=lambda _, p, now: f"not connected; last heard from {_ago(now - p.last_heard)}",
    ),
    Requirement(
        reason=Reason.NO_FREE_SLOT,
        met=lambda _j, p, _: p.slots_free >= 1,
        sentence=lambda _j, p, _: _no_free_slot(p.offer.slots),
    ),
    Requirement(
        reason=Reason.BEING_PROVEN,
        met=lambda _j, p, _: not p.hardware.being_asked,
        sentence=lambda _j, _p, _: (
            "its hardware is being proven at this moment, which takes some seconds"
        ),
    ),
)
