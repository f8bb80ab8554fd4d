from pathlib import Path

import pytest

from assay_provider.gpus.floors import FLOORS, Component, below_floor, version_number

DRIVER, TOOLKIT = Component.NVIDIA_DRIVER, Component.NVIDIA_TOOLKIT


@pytest.mark.parametrize(
    "version", ["535.309.01", "535.309.02", "580.159.03", "580.173.02", "595.71.05", "600.10"]
)
def test_mended_drivers_pass(version: str) -> None:
    assert below_floor(DRIVER, version) == ""


@pytest.mark.parametrize(
    ("version", "remedy"),
    [
        ("535.309.00", "install 535.309.01 or newer"),
        ("535.54.03", "install 535.309.01 or newer"),
        ("580.95.05", "install 580.159.03 or newer"),
        ("595.58.03", "install 595.71.05 or newer"),
        # mended for an older bulletin only: the branch gets no more fixes
        ("570.211.01", "install 535.309.01 or 580.159.03 or 595.71.05 or newer"),
        ("550.163.01", "install 535.309.01 or 580.159.03 or 595.71.05 or newer"),
        ("590.48.01", "install 535.309.01 or 580.159.03 or 595.71.05 or newer"),
        ("470.256.02", "install 535.309.01 or 580.159.03 or 595.71.05 or newer"),
        ("", "install 535.309.01 or 580.159.03 or 595.71.05 or newer"),
        ("unknown", "install 535.309.01 or 580.159.03 or 595.71.05 or newer"),
    ],
)
def test_older_drivers_are_refused_with_what_to_install(version: str, remedy: str) -> None:
    reason = below_floor(DRIVER, version)

    assert remedy in reason
    if version_number(version):
        assert "CVE-2026-24187" in reason
        assert "https://" in reason


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("NVIDIA Container Toolkit CLI version 1.19.1\ncommit: 0a1b2c\n", True),
        ("NVIDIA Container Toolkit CLI version 1.20.0-rc.1", True),
        ("NVIDIA Container Toolkit CLI version 1.19.0", False),
        ("NVIDIA Container Toolkit CLI version 1.17.8", False),
        ("NVIDIA Container Toolkit CLI version 1.9.9", False),
    ],
)
def test_the_toolkits_answer_is_understood(said: str, passes: bool) -> None:
    assert (below_floor(TOOLKIT, said) == "") is passes


@pytest.mark.parametrize(
    ("version", "cve"),
    [
        ("1.16.1", "CVE-2024-0132"),
        ("1.17.3", "CVE-2025-23359"),
        ("1.17.7", "CVE-2025-23266"),
        ("1.19.0", "CVE-2026-24260"),
    ],
)
def test_each_bulletin_has_a_row_of_its_own(version: str, cve: str) -> None:
    [row] = [floor for floor in FLOORS if cve in floor.cves]

    assert below_floor(TOOLKIT, version, floors=[row])
    assert below_floor(TOOLKIT, row.fixed[0], floors=[row]) == ""


def test_rows_are_complete_and_readable() -> None:
    for floor in FLOORS:
        assert floor.cves
        assert floor.why
        assert floor.bulletin.startswith("https://nvidia.custhelp.com/app/answers/detail/a_id/")
        numbers = [version_number(text) for text in floor.fixed]
        assert numbers == sorted(numbers)
        assert all(cve.startswith("CVE-20") for cve in floor.cves)


def test_the_documented_table_is_this_one() -> None:
    page = (Path(__file__).parents[4] / "docs" / "gpus.md").read_text()
    rows = [line for line in page.splitlines() if "custhelp.com" in line]

    assert len(rows) == len(FLOORS)
    for floor in FLOORS:
        [row] = [row for row in rows if floor.bulletin in row]
        assert f"| {floor.component.value} | {', '.join(floor.fixed)} |" in row
        assert floor.cves[0] in row
