"""What the measurements come to: the part that an offer tells, and the facts it is true of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from assay_node.protocol.benchmark import Benchmark, DeviceBenchmark
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Digest, to_hex


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What a benchmark depends on. `gpus` are as `gpus.facts_of` says."""

    cpu_model: str
    cpus: int
    memory_bytes: int
    library: str
    gpus: tuple[str, ...] = ()

    def differences(self, now: "MachineFacts") -> tuple[str, ...]:
        """Return in sentences what is not as it was then.

        Memory may differ by a hundredth: what the kernel keeps for itself varies.
        """
        found = []
        if (self.cpu_model, self.cpus) != (now.cpu_model, now.cpus):
            found.append(
                f"the processor was {self.cpus} x {self.cpu_model}, now {now.cpus} x "
                f"{now.cpu_model}"
            )
        if abs(self.memory_bytes - now.memory_bytes) > self.memory_bytes / 100:
            found.append(f"memory was {self.memory_bytes} bytes, now {now.memory_bytes}")
        if self.library != now.library:
            found.append(f"the library was {self.library}, now {now.library}")
        if self.gpus != now.gpus:
            before, after = ", ".join(self.gpus) or "none", ", ".join(now.gpus) or "none"
            found.append(f"GPUs were {before}; now {after}")
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run of the benchmark. `names` are for people, in the order of its devices."""

    benchmark: Benchmark
    machine: MachineFacts
    names: tuple[str, ...]
    remarks: tuple[str, ...]
    took_s: float
    quick: bool


def to_document(measured: Measured) -> dict[str, Any]:
    """Return a run as a JSON-serialisable document."""
    document = asdict(measured)
    document["benchmark"]["devices"] = [
        {**asdict(one), "device": None if one.device is None else to_hex(one.device)}
        for one in measured.benchmark.devices
    ]
    return document


def from_document(document: Mapping[str, Any]) -> Measured:
    """Return a run from its document.

    Raises:
        LocalError: it is not one.
    """
    try:
        benchmark, machine = dict(document["benchmark"]), dict(document["machine"])
        devices = tuple(_device(one) for one in benchmark.pop("devices"))
        return Measured(
            benchmark=Benchmark(devices=devices, **benchmark),
            machine=MachineFacts(**{**machine, "gpus": tuple(machine["gpus"])}),
            names=tuple(document["names"]),
            remarks=tuple(document["remarks"]),
            took_s=float(document["took_s"]),
            quick=bool(document["quick"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, MalformedMessage) as error:
        raise LocalError(f"these are no benchmark's figures: {error!r}") from None


def _device(document: Mapping[str, Any]) -> DeviceBenchmark:
    name = document["device"]
    device = None if name is None else Digest(bytes.fromhex(name.removeprefix("0x")))
    return DeviceBenchmark(**{**document, "device": device})
