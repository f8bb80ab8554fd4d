"""Clearing through CUDA's library, in a process of its own, over a made-up libcuda."""

from dataclasses import replace

import pytest

from assay_node.protocol.units import MIB
from assay_provider.gpus.clearing import CudaClearer, least_bytes
from assay_provider.gpus.device import GpuDevice
from tests.fakes.gpus import A100_MIG, H100
from tests.unit.provider_agent.gpus.conftest import Compile

SMALL = GpuDevice(facts=replace(H100, memory_bytes=600 * MIB, memory_reserved_bytes=20 * MIB))
"""Of whose memory 58 MiB have to be had."""


def _clearer(compile_library: Compile, fault: str, **options: float) -> CudaClearer:
    name = f"libcuda-{fault or 'good'}.so.1"
    library = compile_library("fake_cuda.c", name, f'FAKE_CUDA="{fault}"')
    return CudaClearer(library=str(library), **options)


async def test_a_device_is_cleared_and_checked(compile_library: Compile) -> None:
    done = await _clearer(compile_library, "").clear(SMALL)

    assert done.fault == ""
    assert done.cleared_bytes == 64 * MIB
    assert done.read_bytes > 0


async def test_an_instance_is_cleared_as_itself(compile_library: Compile) -> None:
    part = replace(A100_MIG.instances[0], memory_bytes=550 * MIB, memory_reserved_bytes=0)
    device = GpuDevice(facts=A100_MIG, instance=part)

    done = await _clearer(compile_library, "").clear(device)

    assert done.fault == ""


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("held", "another program holds the rest"),
        ("forgetful", "does not hold what was written"),
        ("no-device", "cuInit failed: CUDA_ERROR_NO_DEVICE"),
        ("other", "00000000-0000-0000-0000-000000000000 in place of GPU-1111"),
        ("two", "CUDA shows 2 devices"),
        ("crash", "ended with status -6"),
    ],
)
async def test_what_is_wrong_is_said(compile_library: Compile, fault: str, words: str) -> None:
    done = await _clearer(compile_library, fault).clear(SMALL)

    assert words in done.fault


async def test_a_driver_that_hangs_is_killed(compile_library: Compile) -> None:
    done = await _clearer(compile_library, "hang", seconds_max=0.5).clear(SMALL)

    assert "did not end within 0.5 s" in done.fault


async def test_without_the_library_nothing_is_cleared() -> None:
    done = await CudaClearer(library="libthere-is-no-such.so.1").clear(SMALL)

    assert "cannot be loaded" in done.fault


def test_what_the_owner_may_hold_is_not_asked_for() -> None:
    whole = GpuDevice(facts=H100)

    assert least_bytes(whole) > 0.97 * whole.usable_bytes
    assert least_bytes(whole, held_bytes=300 * MIB) == least_bytes(whole) - 300 * MIB
    assert least_bytes(whole, held_bytes=whole.usable_bytes) == 0
