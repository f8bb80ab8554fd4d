import pytest

from assay_provider.runtime.sandbox import Grade, SelfTestItem
from assay_provider.runtime.self_test import ADVISORY, LIMITS_OF_THE_WHOLE, PROBES, grade_of


def _items(*broken: str) -> list[SelfTestItem]:
    names = {probe.name for probe in PROBES} | ADVISORY
    return [
        SelfTestItem(name=name, enforced=name not in broken, detail="", remedy="")
        for name in sorted(names)
    ]


@pytest.mark.parametrize(
    ("broken", "grade"),
    [
        ((), Grade.ENFORCED),
        (tuple(ADVISORY), Grade.ENFORCED),
        (("memory limit",), Grade.WEAK),
        (("memory limit", "process limit", "cpu limit", "own uid"), Grade.WEAK),
        (("no network",), Grade.FAILED),
        (("memory limit", "system-call filter"), Grade.FAILED),
        (("start",), Grade.FAILED),
    ],
)
def test_the_grade_is_what_is_enforced(broken: tuple[str, ...], grade: Grade) -> None:
    assert grade_of(_items(*broken)) is grade


def test_every_promise_says_what_to_do_when_it_is_broken() -> None:
    assert all(probe.remedy and probe.promise for probe in PROBES)
    assert {probe.name for probe in PROBES} >= LIMITS_OF_THE_WHOLE
