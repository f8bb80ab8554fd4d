"""What an owner is shown: `assay provider gpus` and `assay doctor`."""

import json
from dataclasses import replace

import pytest

from assay_node.cli import machine_checks
from assay_node.protocol.errors import LocalError
from assay_node.settings import load_settings
from assay_provider.gpus import opening
from assay_provider.gpus.finding import GpuDrivers, GpuTerms, Machine, find_gpus
from assay_provider.gpus.report import gpus_document, gpus_lines
from tests.fakes.gpus import H100, MI300X, FakeGpuDriver, FakeHost, host_with
from tests.unit.node.cli.conftest import Assay, assay, home

__all__ = ["assay", "home"]

OLD = replace(H100, uuid="GPU-old", driver="535.54.03", pci_bus="0000:99:00.0", minor=1)


def _machine(*cards: object) -> Machine:
    driver = FakeGpuDriver(cards)
    absent = () if cards else ("no NVIDIA driver is installed",)
    return Machine(
        drivers=GpuDrivers([driver], absent),
        host=host_with(*cards) if cards else FakeHost(),
        held=lambda _: frozenset(),
    )


def _document(*cards: object) -> dict[str, object]:
    document = gpus_document(find_gpus(GpuTerms(), _machine(*cards), for_daemon=False))
    return json.loads(json.dumps(document))


def test_the_document_has_what_is_offered_and_why_the_rest_is_not() -> None:
    document = _document(H100, OLD, MI300X)

    assert document["hardware_class"] == "nvidia-h100-80gb-hbm3"
    assert document["gpus_per_slot"] == 1
    first, second, third = document["gpus"]
    assert (first["slot"], first["temperature_c"], first["power_mw"]) == (0, 35, 70_000)
    assert first["reasons"] == []
    assert (second["slot"], third["slot"]) == (None, None)
    assert "535.309.01" in second["reasons"][0]
    assert third["vendor"] == "amd"


def test_in_words_every_device_has_its_line_and_every_no_its_reason() -> None:
    text = "\n".join(gpus_lines(_document(H100, OLD)))

    assert f"NVIDIA H100 80GB HBM3 ({H100.uuid}): slot 0" in text
    assert "driver 580.159.03, PCIe 5.0 x16, 35 °C, 70 W of 700 W, 0 % busy" in text
    assert "not offered: NVIDIA driver 535.54.03 has known holes" in text
    assert "each slot has 1 of class nvidia-h100-80gb-hbm3" in text


def test_a_machine_without_any_says_why() -> None:
    assert gpus_lines(_document()) == ["no GPU was found", "no NVIDIA driver is installed"]


def test_what_a_card_does_not_know_is_not_said() -> None:
    [line] = [line for line in gpus_lines(_document(MI300X)) if line.startswith("  192")]

    assert "PCIe" not in line
    assert "None" not in line


def test_the_command_shows_them(assay: Assay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "this_machine", lambda: _machine(H100))

    assert f"({H100.uuid}): slot 0" in assay("provider", "gpus").out.replace("\n", "")
    assert json.loads(assay("provider", "gpus", "--json").out)["gpus"][0]["uuid"] == H100.uuid


def test_settings_that_fit_no_device_still_show_what_there_is(
    assay: Assay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "this_machine", lambda: _machine(H100))
    monkeypatch.setenv("ASSAY_PROVIDER__GPUS__USE", "GPU-elsewhere")

    document = json.loads(assay("provider", "gpus", "--json").out)
    assert "GPU-elsewhere" in document["refused"]
    assert [gpu["uuid"] for gpu in document["gpus"]] == [H100.uuid]
    with pytest.raises(LocalError, match="GPU-elsewhere"):
        opening.offered_gpus(load_settings().provider)


async def test_the_doctor_notes_what_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "this_machine", lambda: _machine(H100, OLD))
    overall, old = await machine_checks.gpus(load_settings())

    assert (overall.ok, overall.seen) == (True, "1 of 2 offered")
    assert (old.ok, old.required, old.name) == (False, False, "gpu 0000:99:00.0")
    assert "535.309.01" in old.remedy


async def test_the_doctor_takes_no_offence_at_a_machine_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(opening, "this_machine", _machine)
    [overall] = await machine_checks.gpus(load_settings())
    assert overall.ok
    assert "no NVIDIA driver is installed" in overall.seen

    monkeypatch.setattr(opening, "this_machine", lambda: _machine(OLD))
    overall, _ = await machine_checks.gpus(load_settings())
    assert (overall.ok, overall.required) == (False, False)
    named = load_settings(flags={"provider.gpus.use": "GPU-elsewhere"})
    overall, _ = await machine_checks.gpus(named)
    assert "GPU-elsewhere" in overall.remedy
