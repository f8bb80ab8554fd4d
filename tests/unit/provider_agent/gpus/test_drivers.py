"""What every driver does: the fake, NVML and ROCm, the latter two over made-up libraries."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType

import pytest

from assay_provider.gpus.driver import (
    GpuDriver,
    GpuDriverError,
    GpuProcess,
    NoGpuDriver,
    ProcessKind,
)
from assay_provider.gpus.nvml import open_nvml
from assay_provider.gpus.rocm import open_rocm
from tests.fakes.gpus import A100_MIG, H100, MI300X, MIB, FakeGpuDriver, idle
from tests.unit.provider_agent.gpus.conftest import Compile


@pytest.fixture
def pynvml(compile_library: Compile, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package, talking to a library of ours instead of the driver's."""
    module = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    library = ctypes.CDLL(str(compile_library("fake_nvml.c", "libnvidia-ml-made-up.so.1")))
    monkeypatch.setattr(module, "nvmlLib", library)
    monkeypatch.setattr(module, "_nvmlGetFunctionPointer_cache", {})
    return module


@pytest.fixture
def nvml(pynvml: ModuleType) -> Iterator[GpuDriver]:
    driver = open_nvml()
    yield driver
    driver.close()


@pytest.fixture
def rocm(compile_library: Compile) -> Iterator[GpuDriver]:
    driver = open_rocm((str(compile_library("fake_rocm.c", "librocm_smi64-made-up.so")),))
    yield driver
    driver.close()


@pytest.fixture
def fake() -> GpuDriver:
    return FakeGpuDriver((A100_MIG, H100))


@pytest.fixture(params=["fake", "nvml"])
def nvidia(request: pytest.FixtureRequest) -> GpuDriver:
    return request.getfixturevalue(request.param)


def test_facts_are_complete_and_ordered_by_their_place(nvidia: GpuDriver) -> None:
    assert nvidia.gpus() == (H100, A100_MIG)
    assert nvidia.gpus() == nvidia.gpus()


def test_an_idle_card_says_so(nvidia: GpuDriver) -> None:
    assert nvidia.state(H100.uuid) == idle(H100)


def test_an_instance_has_memory_of_its_own(nvidia: GpuDriver) -> None:
    part = A100_MIG.instances[1]
    state = nvidia.state(part.uuid)

    assert state.memory_free_bytes == idle(part).memory_free_bytes
    assert state.temperature_c == 35
    assert state.power_mw == 70_000


def test_a_stranger_among_devices_is_an_error_with_its_name(nvidia: GpuDriver) -> None:
    with pytest.raises(GpuDriverError, match="GPU-unknown"):
        nvidia.state("GPU-unknown")


def test_processes_are_told_with_their_memory(
    nvml: GpuDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = A100_MIG.instances[0]
    monkeypatch.setenv("FAKE_NVML_BUSY", part.uuid)

    assert nvml.state(part.uuid).processes == (
        GpuProcess(pid=4242, kind=ProcessKind.COMPUTE, memory_bytes=900 * MIB, gpu_instance=1),
    )
    assert nvml.state(A100_MIG.instances[1].uuid).processes == ()
    monkeypatch.setenv("FAKE_NVML_BUSY", H100.uuid)
    assert [p.gpu_instance for p in nvml.state(H100.uuid).processes] == [None]


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (9, NoGpuDriver, "modprobe nvidia"),
        (18, GpuDriverError, "reboot"),
        (15, GpuDriverError, "a made-up failure|lost|GPU"),
    ],
)
def test_a_driver_that_does_not_start_says_what_to_do(
    pynvml: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[GpuDriverError],
    words: str,
) -> None:
    monkeypatch.setenv("FAKE_NVML_INIT", str(code))

    with pytest.raises(kind, match=words) as raised:
        open_nvml()
    assert type(raised.value) is kind


def test_no_library_is_the_ordinary_case(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    monkeypatch.setattr(module, "nvmlLib", None)

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(module, "CDLL", missing)
    with pytest.raises(NoGpuDriver, match="no NVIDIA driver is installed"):
        open_nvml()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(GpuDriverError, match="install assay again"):
        open_nvml()


def test_amds_card_is_told_in_the_same_words(rocm: GpuDriver) -> None:
    assert rocm.gpus() == (MI300X,)
    assert rocm.state(MI300X.uuid) == replace(
        idle(MI300X), memory_free_bytes=MI300X.memory_bytes - 4 * MIB
    )
    with pytest.raises(GpuDriverError, match="GPU-unknown"):
        rocm.state("GPU-unknown")


def test_amds_processes_are_those_of_the_card(
    rocm: GpuDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ROCM_BUSY", "1")

    [process] = rocm.state(MI300X.uuid).processes
    assert (process.pid, process.memory_bytes) == (4242, 900 * MIB)


def test_a_machine_without_rocm_or_without_its_card_has_no_driver(
    compile_library: Callable[[str, str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoGpuDriver, match="no ROCm is installed"):
        open_rocm(("libthere-is-no-such.so",))
    monkeypatch.setenv("FAKE_ROCM_NONE", "1")
    with pytest.raises(NoGpuDriver, match="amdgpu"):
        open_rocm((str(compile_library("fake_rocm.c", "librocm_smi64-made-up.so")),))
