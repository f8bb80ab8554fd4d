"""What a tenant of one device is given: nodes and driver files; and the grant made of several."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from assay_provider.gpus.cdi import CdiEdits, CdiRefused, CdiSpec
from assay_provider.gpus.cdi_edits import take_edits
from assay_provider.gpus.cdi_files import CdiFile
from assay_provider.gpus.device import GpuDevice
from assay_provider.gpus.device_nodes import find_nodes, is_own_node
from assay_provider.gpus.driver_files import NEEDED, DriverFiles, files_of_loader
from assay_provider.gpus.host import Host
from assay_provider.runtime.sandbox import DeviceNode, GpuGrant


@dataclass(frozen=True, slots=True, kw_only=True)
class Equipment:
    """One device's nodes and files. With `faults` it cannot be given to anybody."""

    device: GpuDevice
    nodes: tuple[DeviceNode, ...]
    files: DriverFiles
    source: str
    """Where the list of files is from: a CDI file, or the host's loader."""
    faults: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    """CDI files that were passed over, and why."""


def equip(device: GpuDevice, host: Host, cdi_files: Iterable[CdiFile]) -> Equipment:
    """Find what a tenant of a device needs; a CDI file is believed only about files."""
    found = find_nodes(device, host)
    remarks: list[str] = []
    for file in cdi_files:
        try:
            files = _of_cdi(file, device, found.nodes, host)
        except CdiRefused as error:
            remarks.append(f"{file.path} is not used: {error}")
            continue
        if files is not None:
            return Equipment(
                device=device,
                nodes=found.nodes,
                files=files,
                source=str(file.path),
                faults=found.faults,
                remarks=tuple(remarks),
            )
    files = files_of_loader(host)
    missing = f"{NEEDED} is not installed: install the driver's compute libraries"
    return Equipment(
        device=device,
        nodes=found.nodes,
        files=files,
        source="the host's loader",
        faults=found.faults if files.complete else (*found.faults, missing),
        remarks=tuple(remarks),
    )


def grant(equipment: Iterable[Equipment]) -> GpuGrant:
    """Return what a job on some devices of one machine gets."""
    several = list(equipment)
    assert several, "a grant is of at least one device"
    nodes = dict.fromkeys(node for one in several for node in one.nodes)
    files = several[0].files  # the machine has one driver
    variables = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    parts = [one.device.uuid for one in several if one.device.instance]
    if parts:
        # CUDA takes the first instance it can open; a program that looks for its own finds it so.
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(parts)
    return GpuGrant(
        nodes=tuple(nodes),
        mounts=tuple((Path(source), inside) for source, inside in files.mounts),
        variables=variables,
    )


def _of_cdi(
    file: CdiFile, device: GpuDevice, nodes: tuple[DeviceNode, ...], host: Host
) -> DriverFiles | None:
    """Return the files that a CDI file gives for a device, None where it knows none such."""
    if file.spec is None:
        raise CdiRefused(file.refused)
    own = file.spec.devices.get(device.uuid) or _by_nodes(file.spec, nodes)
    return None if own is None else take_edits(file.spec.common + own, nodes, host)


def _by_nodes(spec: CdiSpec, nodes: tuple[DeviceNode, ...]) -> CdiEdits | None:
    """Return the device of a file that gives what is one device's own, and no other card.

    Its name may be a number, and whose count that is depends on the generator's version.
    """
    wanted = {str(node.path) for node in nodes if is_own_node(str(node.path))}
    for name in sorted(spec.devices):
        given = {node.path for node in spec.devices[name].nodes if is_own_node(node.path)}
        if wanted and given == wanted:
            return spec.devices[name]
    return None
