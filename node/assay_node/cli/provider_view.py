"""A provider's state in words and, on a terminal, as a view that is drawn anew each second."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from assay_node.protocol.units import microusd_to_text, size_to_text

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = Mapping[str, Any]

TEMPERATURES_SHOWN: Final = 3
LEASES_VIEWED: Final = 8
"""Ended leases below the running ones; a screen has some 40 lines."""
_BREAK_EVEN_NEVER: Final = "never: a busy second brings no more than its power costs"


def status_lines(document: Document) -> list[str]:
    """Return a status document in words."""
    return [
        *summary_lines(document),
        *scheduler_lines(document),
        *(_lease_line(lease) for lease in document["leases"]),
    ]


def summary_lines(document: Document) -> list[str]:
    """Return everything but the schedulers and the leases."""
    return [
        *_selling(document),
        *_daemon(document),
        *_account(document["account"]),
        *_earned(document),
        *_machine(document["daemon"]),
        *_known(document),
    ]


def scheduler_lines(document: Document) -> list[str]:
    """Return whom the provider works for."""
    daemon = document["daemon"]
    connected = set() if daemon is None else set(daemon["connected"])
    return [
        f"scheduler {contact['scheduler']} "
        + (
            "connected"
            if contact["scheduler"] in connected
            else f"heard {span(contact['heard_s_ago'])} ago"
        )
        for contact in document["schedulers"]
    ] or ["no scheduler was heard yet"]


def status_view(document: Document, *, height: int) -> "RenderableType":
    """Return a status document as a screen of this many lines."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    jobs = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (
        ("job", "left"), ("requester", "left"), ("slot", "right"), ("stage", "left"),
        ("since", "right"), ("limit", "right"), ("earns", "right"),
    ):  # fmt: skip
        jobs.add_column(title, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    daemon = document["daemon"] or {"jobs": []}
    lines = [*summary_lines(document), *scheduler_lines(document)]
    room = max(1, height - len(lines) - 4)
    for job in daemon["jobs"][:room]:
        jobs.add_row(*_job_row(job))
    ended = [lease for lease in document["leases"] if lease["state"] == "closed"]
    left = max(0, room - len(daemon["jobs"]))
    rows = [_lease_line(lease) for lease in ended[: min(LEASES_VIEWED, left)]]
    parts: list[RenderableType] = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
    if daemon["jobs"]:
        parts += [Text(), jobs]
    parts += [Text(row, style="dim", no_wrap=True, overflow="ellipsis") for row in rows]
    return Group(*parts)


def price_lines(price: Document) -> list[str]:
    """Return what a price is worth."""
    per_second = price["price_microusd_per_second"]
    lines = [
        f"price       {_per_second(per_second)} a slot; {price['slots']} slot(s)",
        f"floor       {_per_second(price['floor_microusd_per_second'])} a slot"
        if price["floor_microusd_per_second"]
        else "floor       none: set provider.prices.floor_microusd_per_second",
    ]
    if price["power_is_known"]:
        kwh = microusd_to_text(price["electricity_microusd_per_kwh"])
        hourly = microusd_to_text(price["power_microusd_per_hour"])
        lines.append(
            f"power       {hourly} an hour ({price['power_microusd_per_second']:.3g} micro-USD a "
            f"second) for a busy slot of {price['slot_power_watts']:g} W at {kwh} a kWh"
        )
    else:
        lines.append(
            "power       not known: set provider.prices.slot_power_watts and "
            "provider.prices.electricity_microusd_per_kwh"
        )
    lines.append(
        f"fixed       {microusd_to_text(price['fixed_microusd_per_day'])} a day, idle or not"
    )
    lines.append(f"break-even  {break_even_text(price)}")
    return [*lines, *(_day_line(day) for day in price["days"])]


def _day_line(day: Document) -> str:
    return (
        f"{day['utilisation']:>4.0%} busy   earns {microusd_to_text(day['earns_microusd'])} a "
        f"day, costs {microusd_to_text(day['costs_microusd'])}, leaves "
        f"{microusd_to_text(day['leaves_microusd'])}"
    )


def break_even_text(price: Document) -> str:
    """Return how busy the slots must be."""
    at = price["break_even"]
    if at is None:
        return _BREAK_EVEN_NEVER
    if at == 0:
        return "from the first second"
    beyond = ", which is more than there is" if at > 1 else ""
    return f"when every slot is busy {at:.1%} of the time{beyond}"


def environments_line(found: Document) -> str:
    """Return in words whether jobs may bring their environments, and what is kept of those."""
    from assay_node.protocol.units import size_to_text

    if not found["served"]:
        return f"environments: host-python only, for development ({found['remark']})"
    used, quota = size_to_text(found["used_bytes"]), size_to_text(found["quota_bytes"])
    return (
        f"environments: any by CID, {found['layers']} layer(s) kept in {used} of {quota}; "
        "host-python for development"
    )


def exact_line(support: Document) -> str:
    """Return in words which exact jobs a provider runs."""
    if not support["modes"]:
        return f"exact jobs: none ({support['remark']})"
    passed_over = f" ({support['remark']})" if support["remark"] else ""
    modes = ", ".join(support["modes"])
    return f"exact jobs: {modes}, computed by the engine {support['engine']}{passed_over}"


def span(seconds: float) -> str:
    """Return a span of time as people say it: "45 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"."""
    whole = round(max(0.0, seconds))
    for unit, below, name, lower in ((86_400, 3600, "d", "h"), (3600, 60, "h", "min")):
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit} {name}" + (f" {rest} {lower}" if rest else "")
    if whole >= 60:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole} s"


def _selling(document: Document) -> Iterator[str]:
    price = document["price"]
    yield (
        f"operator {document['operator']} sells {document['hardware_class']} at "
        f"{_per_second(price['price_microusd_per_second'])} a slot"
    )
    yield f"it breaks even {break_even_text(price)}"
    slots = document["slots"]
    yield f"slots: {slots['held']} of {slots['total']} busy; open leases: {document['open_leases']}"


def _daemon(document: Document) -> Iterator[str]:
    daemon = document["daemon"]
    if daemon is None:
        why = document["daemon_silent_for"]
        yield f"daemon: {why}" if why else "daemon: not running; start it with: assay provider run"
        return
    lets_in = daemon["refusing"] or "lets jobs in"
    yield f"daemon: up {span(daemon['up_s'])} (process {daemon['pid']}); {lets_in}"
    drain = daemon["drain"]
    if drain is not None:
        deadline = drain["deadline"]
        until = "" if deadline is None else f", at the latest at {_clock(deadline)}"
        then = "stops" if drain["afterwards"] == "stop" else "stays without jobs"
        yield (
            f"drain: {drain['running']} job(s) run, {drain['unsettled']} wait to be settled; then "
            f"it {then}{until}"
        )
    yield from _schedule(daemon["schedule"])


def _schedule(schedule: Document | None) -> Iterator[str]:
    if schedule is None or not (schedule["has_hours"] or schedule["idle_only"]):
        return
    until = schedule["until"]
    reason = schedule["reason"]
    state = "open" if schedule["is_open"] else f"closed ({reason})" if reason else "closed"
    yield f"schedule: {state}" + ("" if until is None else f" until {_clock(until)}")
    if schedule["idle_only"]:
        signs = ", ".join(schedule["signs"]) or "nothing"
        unknown = f"; {'; '.join(schedule['unknown'])}" if schedule["unknown"] else ""
        yield f"  the owner is seen by: {signs}{unknown}"


def _account(account: Document) -> Iterator[str]:
    if "error" in account:
        yield f"account: unknown ({account['error']})"
        return
    judged = account["wins"] + account["faults"]
    record = f", {account['wins'] / judged:.1%} right" if judged else ""
    yield (
        f"account: {microusd_to_text(account['stake_microusd'])} staked, of which "
        f"{microusd_to_text(account['locked_microusd'])} answer for jobs on chain, "
        f"{microusd_to_text(account['free_microusd'])} free, {account['wins']} won, "
        f"{account['faults']} faults{record}"
    )
    yield (
        f"for appeals the signing key has {microusd_to_text(account['appeals_microusd'])}: "
        f"assay wallet deposit AMOUNT --no-budget --to {account['signer'] or 'the signing key'}"
    )


def _earned(document: Document) -> Iterator[str]:
    earned = document["earned"]
    if earned is not None:
        today, in_all = earned["today"], earned["in_all"]
        far = "" if earned["is_complete"] else f" (up to block {earned['to_block']}, reading on)"
        said = "too many blocks to read" if today is None else _sums(today)
        yield f"the chain paid today: {said}; in all: {_sums(in_all)}{far}"
    yield (
        f"metered on settled jobs: {microusd_to_text(document['metered_microusd'])}, of which "
        f"{microusd_to_text(document['metered_today_microusd'])} today"
    )


def _sums(sums: Document) -> str:
    slashed = sums["slashed_microusd"]
    taken = f", {microusd_to_text(slashed)} slashed" if slashed else ""
    return f"{microusd_to_text(sums['paid_microusd'])} for {sums['jobs_paid']} job(s){taken}"


def _machine(daemon: Document | None) -> Iterator[str]:
    if daemon is None:
        return
    machine = daemon["machine"]
    hottest = [
        f"{sensor['name']} {sensor['celsius']:.0f} °C"
        for sensor in machine["temperatures"][:TEMPERATURES_SHOWN]
    ]
    power = machine["cpu_power_watts"]
    watts = [] if power is None else [f"processor {power:.0f} W"]
    said = ", ".join((*hottest, *watts, *machine["unknown"]))
    if said:
        yield f"machine: {said}"
    for gpu in machine["gpus"]:
        yield f"  {_gpu(gpu)}"


def _gpu(gpu: Document) -> str:
    parts = [f"{gpu['model']} ({gpu['device']})"]
    if gpu["celsius"] is not None:
        parts.append(f"{gpu['celsius']:.0f} °C")
    if gpu["power_watts"] is not None:
        limit = gpu["power_limit_watts"]
        parts.append(f"{gpu['power_watts']:.0f} W" + (f" of {limit:.0f}" if limit else ""))
    if gpu["busy_percent"] is not None:
        parts.append(f"{gpu['busy_percent']:.0f} % busy")
    if gpu["memory_used_bytes"] is not None and gpu["memory_bytes"] is not None:
        used = size_to_text(gpu["memory_used_bytes"])
        parts.append(f"{used} of {size_to_text(gpu['memory_bytes'])}")
    return ", ".join(parts)


def _known(document: Document) -> Iterator[str]:
    """What was found out about this machine: exact jobs, benchmark, the newest proof."""
    if document["exact"] is not None:
        yield exact_line(document["exact"])
    if document["environments"] is not None:
        yield environments_line(document["environments"])
    yield proofs_line(document["proofs"])
    if document["daemon"] is not None:
        yield _benchmark(document["daemon"]["benchmark"])


def proofs_line(proofs: Document) -> str:
    """Return in words what the newest proof of the hardware came to, and what all have cost."""
    if not proofs["results"]:
        return "last proof: none was asked for yet"
    newest = proofs["results"][0]
    why = f" ({newest['detail']})" if newest["detail"] else ""
    return (
        f"last proof: {newest['verdict']} {_clock(newest['asked_at'])}, asked by "
        f"{newest['verifier']}{why}; {proofs['rounds']} so far kept the slots from jobs for "
        f"{span(proofs['busy_seconds'])}"
    )


def _benchmark(benchmark: Document | None) -> str:
    if benchmark is None:
        return "benchmark: none is offered; measure with: assay provider benchmark"
    again = "; measure again: assay provider benchmark" if benchmark["is_old"] else ""
    return f"benchmark: measured {span(benchmark['age_s'])} ago{again}"


def _job_row(job: Document) -> tuple[str, ...]:
    slot = "" if job["slot"] is None else str(job["slot"])
    return (
        job["job"][:14],
        job["requester"][:12],
        slot,
        job["stage"],
        span(job["elapsed_s"]),
        span(job["limit_s"]),
        _per_second(job["rate_microusd"]),
    )


def _lease_line(lease: Document) -> str:
    doing = lease["stage"] or lease["state"]
    ran = f", {lease['seconds']} s {lease['verdict']}" if lease["verdict"] else ""
    why = f": {lease['reason']}" if lease["reason"] else ""
    return f"  {lease['job'][:18]}  {doing}{ran}{why}"


def _per_second(amount: int) -> str:
    return f"{microusd_to_text(amount)} a second ({microusd_to_text(3600 * amount)} an hour)"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%a %H:%M:%S %Z")
