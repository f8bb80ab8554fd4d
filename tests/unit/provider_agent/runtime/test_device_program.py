import itertools
from pathlib import Path

import pytest

from assay_provider.runtime.device_program import TYPE_BLOCK, TYPE_CHARACTER, assemble
from assay_provider.runtime.device_rules import ACCESS, EVERY_JOB, DeviceRule, rules_for
from assay_provider.runtime.sandbox import DeviceNode
from tests.unit.provider_agent.runtime.ebpf import allows

READ_WRITE = ACCESS["r"] | ACCESS["w"]
MAKE = ACCESS["m"]


def _by_the_rules(
    rules: tuple[DeviceRule, ...], *, access: int, kind: int, major: int, minor: int
) -> bool:
    """What cgroup v1 would say: one rule has to give all that is asked for."""
    return any(
        rule.block == (kind == TYPE_BLOCK)
        and rule.major == major
        and rule.minor in (None, minor)
        and access & ~sum(ACCESS[letter] for letter in rule.access) == 0
        for rule in rules
    )


def test_a_rule_is_written_as_cgroup_v1_reads_it() -> None:
    assert str(DeviceRule(major=1, minor=3)) == "c 1:3 rwm"
    assert str(DeviceRule(major=136, minor=None, access="rw")) == "c 136:* rw"
    assert str(DeviceRule(major=7, minor=0, block=True, access="r")) == "b 7:0 r"


def test_a_grant_adds_its_nodes_to_be_opened_and_not_made() -> None:
    rules = rules_for([DeviceNode(path=Path("/dev/nvidia3"), major=195, minor=3)])

    assert rules[: len(EVERY_JOB)] == EVERY_JOB
    assert [str(rule) for rule in rules[len(EVERY_JOB) :]] == ["c 195:3 rw"]


@pytest.mark.parametrize(
    "rules",
    [
        (),
        EVERY_JOB,
        (DeviceRule(major=195, minor=0, access="rw"),),
        (DeviceRule(major=7, minor=2, block=True, access="r"), DeviceRule(major=7, minor=2)),
        (
            DeviceRule(major=195, minor=1, access="r"),
            DeviceRule(major=195, minor=1, access="w"),
            DeviceRule(major=195, minor=None, access="m"),
        ),
    ],
)
def test_the_program_decides_as_the_rules_do(rules: tuple[DeviceRule, ...]) -> None:
    program = assemble(rules)
    majors = {0, 1, 7, 8, 195, 196, 4095} | {rule.major for rule in rules}
    minors = {0, 1, 2, 3, 255, 1_048_575} | {rule.minor or 0 for rule in rules}

    for kind, major, minor, access in itertools.product(
        (TYPE_BLOCK, TYPE_CHARACTER), sorted(majors), sorted(minors), range(8)
    ):
        asked = {"access": access, "kind": kind, "major": major, "minor": minor}
        assert allows(program, **asked) == _by_the_rules(rules, **asked), asked


def test_nothing_is_allowed_but_what_is_listed() -> None:
    program = assemble(rules_for([DeviceNode(path=Path("/dev/nvidia0"), major=195, minor=0)]))
    asked = {"kind": TYPE_CHARACTER, "major": 195, "access": READ_WRITE}

    assert allows(program, minor=0, **asked)
    assert not allows(program, minor=1, **asked)
    assert not allows(program, **{**asked, "access": MAKE}, minor=0)
    assert not allows(program, **{**asked, "kind": TYPE_BLOCK}, minor=0)


def test_sixty_four_gpus_fit_into_a_program() -> None:
    nodes = [DeviceNode(path=Path(f"/dev/nvidia{n}"), major=195, minor=n) for n in range(64)]
    program = assemble(rules_for(nodes))

    asked = {"kind": TYPE_CHARACTER, "major": 195, "access": READ_WRITE}
    assert all(allows(program, minor=n, **asked) == (n < 64) for n in range(66))
