"""GPUs in words and in JSON, for the owner. Pure."""

from collections.abc import Mapping
from typing import Any

from assay_node.protocol.units import size_to_text
from assay_provider.gpus.driver import GpuState
from assay_provider.gpus.finding import FoundGpu, FoundGpus


def gpus_document(found: FoundGpus) -> dict[str, Any]:
    """Return what was found as a JSON-serialisable document.

    `slot` is the number of the slot that owns a device, None for one that is not offered. `reasons`
    say why not; where they are empty, the document's `refused` does.
    """
    slots = {
        device.uuid: number
        for number, devices in enumerate(found.assignment.slots)
        for device in devices
    }
    return {
        "hardware_class": found.hardware_class,
        "gpus_per_slot": found.assignment.per_slot,
        "refused": found.assignment.refused,
        "absent": list(found.absent),
        "gpus": [_gpu(gpu, slots.get(gpu.device.uuid)) for gpu in found.gpus],
    }


def gpus_lines(document: Mapping[str, Any]) -> list[str]:
    """Return such a document in words."""
    lines: list[str] = []
    for gpu in document["gpus"]:
        lines += _lines(gpu)
    if not document["gpus"]:
        lines.append("no GPU was found")
    if document["refused"]:
        lines.append(f"none is offered: {document['refused']}")
    if document["hardware_class"]:
        per_slot = document["gpus_per_slot"]
        lines.append(f"each slot has {per_slot} of class {document['hardware_class']}")
    return [*lines, *document["absent"]]


def _gpu(found: FoundGpu, slot: int | None) -> dict[str, Any]:
    device, facts, state = found.device, found.device.facts, found.state
    return {
        "uuid": device.uuid,
        "device": device.name.hex(),
        "vendor": facts.vendor.value,
        "model": device.model,
        "hardware_class": device.hardware_class,
        "memory_bytes": device.memory_bytes,
        "usable_bytes": device.usable_bytes,
        "driver": facts.driver,
        "pci_bus": facts.pci_bus,
        "pcie_generation": facts.pcie_generation,
        "pcie_width": facts.pcie_width,
        "ecc": facts.ecc,
        "compute_mode": facts.compute_mode.value,
        "display": facts.display,
        "mig_instance": device.instance is not None,
        "power_limit_mw": facts.power_limit_mw,
        **_state(state),
        "slot": slot,
        "files_from": found.equipment.source,
        "reasons": list(found.reasons),
        "remarks": list(found.remarks),
    }


def _state(state: GpuState | None) -> dict[str, Any]:
    if state is None:
        return {"memory_used_bytes": None, "processes": []}
    return {
        "memory_used_bytes": state.memory_used_bytes,
        "temperature_c": state.temperature_c,
        "power_mw": state.power_mw,
        "utilisation_percent": state.utilisation_percent,
        "processes": [
            {"pid": process.pid, "kind": process.kind.value, "memory_bytes": process.memory_bytes}
            for process in state.processes
        ],
    }


def _lines(gpu: Mapping[str, Any]) -> list[str]:
    facts = [
        size_to_text(gpu["memory_bytes"]),
        f"driver {gpu['driver']}",
        _if(gpu["pcie_generation"], "PCIe {}.0") + _if(gpu["pcie_width"], " x{}"),
        _if(gpu.get("temperature_c"), "{} °C"),
        _power(gpu),
        _if(gpu.get("utilisation_percent"), "{} % busy"),
    ]
    slot = "not offered" if gpu["slot"] is None else f"slot {gpu['slot']}"
    lines = [f"{gpu['model']} ({gpu['uuid']}): {slot}"]
    lines.append("  " + ", ".join(fact for fact in facts if fact))
    lines += [f"  not offered: {reason}" for reason in gpu["reasons"]]
    return lines + [f"  note: {remark}" for remark in gpu["remarks"]]


def _power(gpu: Mapping[str, Any]) -> str:
    draw, limit = gpu.get("power_mw"), gpu["power_limit_mw"]
    if draw is None:
        return ""
    return f"{draw / 1000:.0f} W" + ("" if limit is None else f" of {limit / 1000:.0f} W")


def _if(value: object, words: str) -> str:
    return "" if value is None else words.format(value)
