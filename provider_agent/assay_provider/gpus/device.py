"""What is given to one tenant at a time: a whole GPU, or one MIG instance. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from assay_node.protocol.hardware_class import gpu_class_name
from assay_node.protocol.ids import Digest
from assay_node.protocol.offer import NAME_CHARACTERS_MAX, Gpu
from assay_provider.gpus.driver import GpuFacts, MigInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """A GPU, or an instance of one."""

    facts: GpuFacts
    instance: MigInstance | None = None

    @property
    def uuid(self) -> str:
        """The driver's name of it."""
        return self.instance.uuid if self.instance else self.facts.uuid

    @property
    def name(self) -> Digest:
        """What an offer calls it."""
        return device_name(self.uuid)

    @property
    def model(self) -> str:
        """For people, and what its class is called after."""
        return self.instance.model if self.instance else self.facts.model

    @property
    def hardware_class(self) -> str:
        """Devices of one class are alike."""
        return gpu_class_name(self.model)

    @property
    def memory_bytes(self) -> int:
        """All of its memory."""
        return self.instance.memory_bytes if self.instance else self.facts.memory_bytes

    @property
    def usable_bytes(self) -> int:
        """What is left of it beside what the driver reserves."""
        whole = self.instance or self.facts
        return whole.memory_bytes - whole.memory_reserved_bytes

    @property
    def offered(self) -> Gpu:
        """How an offer describes it."""
        return Gpu(
            device=self.name,
            model=self.model[:NAME_CHARACTERS_MAX],
            memory_bytes=self.memory_bytes,
            driver=self.facts.driver[:NAME_CHARACTERS_MAX],
        )


def device_name(uuid: str) -> Digest:
    """Return the SHA-256 of a driver's UUID: the same device shows, its UUID does not."""
    return Digest(hashlib.sha256(uuid.encode()).digest())


def devices_of(gpus: Iterable[GpuFacts]) -> tuple[GpuDevice, ...]:
    """Return what can be given to tenants: of a GPU in MIG mode its instances, else the GPU."""
    return tuple(
        GpuDevice(facts=facts, instance=instance)
        for facts in gpus
        for instance in (facts.instances if facts.mig else (None,))
    )
