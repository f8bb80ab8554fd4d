"""What is remembered of the self-test, until something changes that it could depend on."""

import asyncio
import dataclasses
from pathlib import Path

import pytest

from assay_node.cli.provider_view import exact_line
from assay_provider.inventory import exact_record
from assay_provider.inventory.exact import ExactSupport
from assay_provider.inventory.exact_record import exact_support, read_status, write_status
from assay_provider.runtime.exact import ExactSetup
from tests.fakes.sandbox import FakeSandbox

SETUP = ExactSetup(engine="auto", threads=2)
PASSED = ExactSupport(
    modes=("E14", "E21"),
    engine="native",
    remark="",
    setup=dataclasses.replace(SETUP, engine="native"),
)


class SelfTests:
    """Stands for the self-test: what it finds, and how often it was run."""

    def __init__(self) -> None:
        self.finds = PASSED
        self.runs = 0

    async def run(self, *_: object, **__: object) -> ExactSupport:
        self.runs += 1
        await asyncio.sleep(0)
        return self.finds


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exact_torch").mkdir()
    (tmp_path / "exact_torch" / "mode.py").write_text("one = 1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(exact_record, "exact_torch_package", lambda: str(tmp_path / "exact_torch"))


@pytest.fixture
def tests(monkeypatch: pytest.MonkeyPatch) -> SelfTests:
    found = SelfTests()
    monkeypatch.setattr(exact_record, "try_exact", found.run)
    return found


async def support(setup: ExactSetup = SETUP) -> ExactSupport:
    return await exact_support(FakeSandbox(), setup, memory_bytes=1 << 30, cpus=1.0)


async def test_what_passed_is_tested_once(tests: SelfTests) -> None:
    assert await support() == PASSED
    assert await support() == PASSED
    assert tests.runs == 1


async def test_daemons_that_start_together_wait_for_one(
    tests: SelfTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_record, "_LOCK_POLL_S", 0)
    assert await asyncio.gather(*(support() for _ in range(4))) == [PASSED] * 4
    assert tests.runs == 1


async def test_another_setup_is_another_test(tests: SelfTests) -> None:
    await support()
    await support(dataclasses.replace(SETUP, threads=1))
    assert tests.runs == 2


async def test_a_changed_package_torch_or_processor_is_tested_again(
    tests: SelfTests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await support()
    (tmp_path / "exact_torch" / "mode.py").write_text("one = 2")
    await support()
    monkeypatch.setattr(exact_record, "_version", lambda name: f"{name} 99")
    await support()
    monkeypatch.setattr(exact_record, "_processor", lambda: {"flags": "avx1024"})
    await support()
    await support()
    assert tests.runs == 4


@pytest.mark.parametrize("remark", ["native: there is no C++ compiler", "torch is not installed"])
async def test_what_could_be_better_is_tried_again(tests: SelfTests, remark: str) -> None:
    modes = ("E21",) if remark.startswith("native") else ()
    tests.finds = ExactSupport(modes=modes, engine="float64", remark=remark)
    await support()
    tests.finds = PASSED
    assert await support() == PASSED
    assert tests.runs == 2


async def test_a_torn_memory_is_none(tests: SelfTests, tmp_path: Path) -> None:
    await support()
    for path in (tmp_path / "cache").rglob("self-test-*.json"):
        path.write_text("{")
    assert await support() == PASSED
    assert tests.runs == 2


def test_what_counts_is_shown_by_the_status(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    write_status(tmp_path, ExactSupport(remark="torch is not installed"))
    found = read_status(tmp_path)
    assert found is not None
    assert exact_line(found) == "exact jobs: none (torch is not installed)"
    write_status(tmp_path, PASSED)
    found = read_status(tmp_path)
    assert found is not None
    assert exact_line(found) == "exact jobs: E14, E21, computed by the engine native"
