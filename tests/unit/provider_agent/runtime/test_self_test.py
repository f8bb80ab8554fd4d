import pytest

from assay_provider.runtime.sandbox import SelfTestItem, Tier
from assay_provider.runtime.self_test import ADVISORY, PROBES, REQUIRED_FOR_T1, tier_of


def _items(*broken: str) -> list[SelfTestItem]:
    names = {probe.name for probe in PROBES} | ADVISORY
    return [
        SelfTestItem(name=name, enforced=name not in broken, detail="", remedy="")
        for name in sorted(names)
    ]


@pytest.mark.parametrize(
    ("broken", "tier"),
    [
        ((), Tier.T1),
        (tuple(ADVISORY), Tier.T1),
        (("memory limit",), Tier.T1_WEAK),
        (("memory limit", "process limit", "cpu limit", "own uid"), Tier.T1_WEAK),
        (("no network",), Tier.NONE),
        (("memory limit", "system-call filter"), Tier.NONE),
        (("start",), Tier.NONE),
    ],
)
def test_the_tier_is_what_is_enforced(broken: tuple[str, ...], tier: Tier) -> None:
    assert tier_of(_items(*broken)) is tier


def test_every_promise_says_what_to_do_when_it_is_broken() -> None:
    assert all(probe.remedy and probe.promise for probe in PROBES)
    assert {probe.name for probe in PROBES} >= REQUIRED_FOR_T1
