"""GPUs that are not there: facts of real cards, and a driver that says what it is told."""

from dataclasses import dataclass, field, replace

from assay_provider.gpus.driver import (
    ComputeMode,
    GpuDriverError,
    GpuFacts,
    GpuState,
    MigInstance,
    Vendor,
)
from assay_provider.gpus.host import HostNode

MIB = 1 << 20

H100 = GpuFacts(
    vendor=Vendor.NVIDIA,
    uuid="GPU-11111111-2222-3333-4444-555555555555",
    model="NVIDIA H100 80GB HBM3",
    memory_bytes=81_559 * MIB,
    memory_reserved_bytes=551 * MIB,
    driver="580.159.03",
    pci_bus="0000:1b:00.0",
    minor=0,
    ecc=True,
    pcie_generation=5,
    pcie_width=16,
    power_limit_mw=700_000,
    compute_mode=ComputeMode.EXCLUSIVE,
)

A100_MIG = GpuFacts(
    vendor=Vendor.NVIDIA,
    uuid="GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    model="NVIDIA A100-SXM4-40GB",
    memory_bytes=40_960 * MIB,
    memory_reserved_bytes=571 * MIB,
    driver="580.159.03",
    pci_bus="0000:65:00.0",
    minor=1,
    ecc=True,
    pcie_generation=4,
    pcie_width=16,
    power_limit_mw=400_000,
    compute_mode=ComputeMode.SHARED,
    mig=True,
    instances=(
        MigInstance(
            uuid="MIG-00000000-0000-0000-0000-000000000001",
            model="NVIDIA A100-SXM4-40GB MIG 3g.20gb",
            memory_bytes=20_096 * MIB,
            memory_reserved_bytes=59 * MIB,
            gpu_instance=1,
            compute_instance=0,
        ),
        MigInstance(
            uuid="MIG-00000000-0000-0000-0000-000000000002",
            model="NVIDIA A100-SXM4-40GB MIG 3g.20gb",
            memory_bytes=20_096 * MIB,
            memory_reserved_bytes=59 * MIB,
            gpu_instance=2,
            compute_instance=0,
        ),
    ),
)

MI300X = GpuFacts(
    vendor=Vendor.AMD,
    uuid="GPU-00c0ffee00c0ffee",
    model="AMD Instinct MI300X",
    memory_bytes=196_592 * MIB,
    memory_reserved_bytes=0,
    driver="6.12.12",
    pci_bus="0000:c1:00.0",
    minor=None,
    power_limit_mw=750_000,
)


def several(count: int, facts: GpuFacts = H100) -> tuple[GpuFacts, ...]:
    """Return cards like one, each in a place of its own."""
    return tuple(
        replace(
            facts, uuid=f"{facts.uuid[:-4]}{n:04d}", pci_bus=f"0000:{0x10 + n:02x}:00.0", minor=n
        )
        for n in range(count)
    )


def idle(facts: GpuFacts | MigInstance) -> GpuState:
    """Return the state of a card that nobody uses."""
    usable = facts.memory_bytes - facts.memory_reserved_bytes
    return GpuState(
        memory_used_bytes=4 * MIB,
        memory_free_bytes=usable - 4 * MIB,
        temperature_c=35,
        power_mw=70_000,
        utilisation_percent=0,
    )


@dataclass(slots=True)
class FakeGpuDriver:
    """Implements `GpuDriver`; what is not in `states` is idle. `fault` makes every call fail."""

    facts: tuple[GpuFacts, ...]
    states: dict[str, GpuState] = field(default_factory=dict)
    fault: str = ""
    closed: bool = False

    def gpus(self) -> tuple[GpuFacts, ...]:
        if self.fault:
            raise GpuDriverError(self.fault)
        return tuple(sorted(self.facts, key=lambda facts: facts.pci_bus))

    def state(self, uuid: str) -> GpuState:
        if self.fault:
            raise GpuDriverError(self.fault)
        parts = [part for facts in self.facts for part in (facts, *facts.instances)]
        known = next((part for part in parts if part.uuid == uuid), None)
        if known is None:
            raise GpuDriverError(f"no device {uuid}")
        return self.states.get(uuid, idle(known))

    def close(self) -> None:
        self.closed = True


LIBRARY_FOLDER = "/usr/lib/x86_64-linux-gnu"
PROC_DEVICES = """\
Character devices:
  1 mem
195 nvidia
195 nvidiactl
236 nvidia-caps
510 nvidia-uvm

Block devices:
  8 sd
  9 nvidia
"""


@dataclass(slots=True)
class FakeHost:
    """Implements `Host` from tables."""

    nodes: dict[str, HostNode] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """Path to where it really is."""
    sonames: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    loader: tuple[str, ...] = ()
    running: tuple[str, ...] = ("systemd", "python3")
    outputs: dict[tuple[str, ...], str] = field(default_factory=dict)

    def node(self, path: str) -> HostNode | None:
        return self.nodes.get(path)

    def real_path(self, path: str) -> str | None:
        return self.files.get(path)

    def soname(self, path: str) -> str | None:
        return self.sonames.get(path)

    def text(self, path: str) -> str | None:
        return self.texts.get(path)

    def libraries(self) -> tuple[str, ...]:
        return self.loader

    def commands(self) -> tuple[str, ...]:
        return self.running

    def output(self, *command: str) -> str | None:
        return self.outputs.get(command)


def host_with(*cards: GpuFacts) -> FakeHost:
    """Return a machine set up as NVIDIA's packages do, for some cards."""
    host = FakeHost(texts={"/proc/devices": PROC_DEVICES})
    numbers = {"/dev/nvidiactl": (195, 255), "/dev/nvidia-uvm": (510, 0)}
    numbers["/dev/nvidia-uvm-tools"] = (510, 1)
    for card in cards:
        if card.minor is None:
            continue
        numbers[f"/dev/nvidia{card.minor}"] = (195, card.minor)
        folder = f"/proc/driver/nvidia/capabilities/gpu{card.minor}/mig"
        for part in card.instances:
            gi = f"{folder}/gi{part.gpu_instance}"
            places = (f"{gi}/access", f"{gi}/ci{part.compute_instance}/access")
            for offset, place in enumerate(places):
                minor = 10 * part.gpu_instance + offset
                host.texts[place] = f"DeviceFileMinor: {minor}\nDeviceFileMode: 292\n"
                numbers[f"/dev/nvidia-caps/nvidia-cap{minor}"] = (236, minor)
    for path, (major, minor) in numbers.items():
        host.nodes[path] = HostNode(major=major, minor=minor, block=False, open_to_all=True)
    for stem in ("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler", "libGLX_nvidia"):
        add_library(host, stem)
    host.files["/usr/bin/nvidia-smi"] = "/usr/bin/nvidia-smi"
    return host


def add_library(host: FakeHost, stem: str, version: str = "580.159.03") -> str:
    """Install a library as distributions do: a file with its version, and a link the loader has."""
    real, link = f"{LIBRARY_FOLDER}/{stem}.so.{version}", f"{LIBRARY_FOLDER}/{stem}.so.1"
    host.files |= {real: real, link: real}
    host.sonames[real] = f"{stem}.so.1"
    host.loader = (*host.loader, link)
    return real
