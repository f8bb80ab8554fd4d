"""Which tiers a daemon offers: what its owner asks for, as far as the machine was found to keep it.

Pure. An offer that names a tier is a promise to every requester, so nothing is offered that its
self-test did not pass, and a tier that the owner asked for by name is never left out silently.
"""

import dataclasses
import logging
from collections.abc import Sequence

from assay_node.protocol.errors import LocalError
from assay_node.protocol.job_spec import WASM, Tier
from assay_provider.runtime.sandbox import Grade, SelfTestReport
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)


def offered(supply: Supply, reports: Sequence[SelfTestReport]) -> Supply:
    """Return the supply with the tiers, and the runtimes, that this machine may offer.

    Args:
        supply: its `tiers` are those the owner asks for; () asks for every tier that passes, and
            for T1 at least.
        reports: of the self-test, one for each tier that could be tried.

    Raises:
        LocalError: a tier that was asked for fails; with what failed and the remedy for each.
    """
    found = {report.tier: report for report in reports}
    for tier in supply.tiers or (Tier.T1.value,):
        _check(tier, found.get(tier), allow_weak=supply.allow_weak_isolation)
    tiers = supply.tiers or tuple(
        sorted({Tier.T1.value} | {r.tier for r in reports if r.grade is Grade.ENFORCED})
    )
    for report in reports:
        if report.tier not in tiers:
            logger.info("tier %s is not offered: %s", report.tier, faults(report) or "as set")
    return dataclasses.replace(supply, tiers=tiers, runtimes=_runtimes(supply.runtimes, tiers))


def faults(report: SelfTestReport) -> str:
    """Return what failed and what to do about it, for people; empty when nothing did."""
    return "; ".join(f"{item.name}: {item.detail}. {item.remedy}" for item in report.failures)


def _check(tier: str, report: SelfTestReport | None, *, allow_weak: bool) -> None:
    if report is None:
        raise LocalError(
            f"provider.sandbox.tiers asks for tier {tier}, which was not tried here; see "
            "`assay doctor`"
        )
    if report.grade is Grade.ENFORCED:
        return
    if report.grade is Grade.WEAK and allow_weak:
        logger.warning("jobs are isolated weakly, which a local chain may do: %s", faults(report))
        return
    raise LocalError(
        f"this machine does not keep what tier {tier} promises ({report.means}), so it serves "
        f"none: {faults(report) or 'see assay doctor'}"
    )


def _runtimes(runtimes: tuple[str, ...], tiers: tuple[str, ...]) -> tuple[str, ...]:
    """A module needs T0 and nothing else does."""
    native = tuple(name for name in runtimes if name != WASM) if tiers != (Tier.T0.value,) else ()
    return (*native, WASM) if Tier.T0.value in tiers else native
