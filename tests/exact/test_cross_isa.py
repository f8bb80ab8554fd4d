"""The C++ kernels on another processor: aarch64 under qemu-user gives the bits of this machine."""

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from exact_torch.native import build

HERE = Path(__file__).parent / "cross"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
FLOATS = 61 * 301 + 301 * 83 + 2 * 20_000


def compiled(compiler: str, flags: tuple[str, ...], work: Path) -> Path:
    program = work / f"driver-{compiler}"
    sources = ["-I", str(build.SOURCES), str(HERE / "driver.cpp"), "-o", str(program)]
    subprocess.run([compiler, *flags, *sources], check=True, timeout=240)
    return program


def results(command: list[str], work: Path) -> bytes:
    out = work / "results"
    subprocess.run([*command, str(work / "inputs"), str(out)], check=True, timeout=240)
    return out.read_bytes()


def test_aarch64_gives_the_same_bits(tmp_path: Path) -> None:
    if platform.machine() != "x86_64" or not shutil.which(COMPILER) or not shutil.which(EMULATOR):
        pytest.skip("install g++-aarch64-linux-gnu and qemu-user on an x86-64 machine to compare")
    x = torch.randn(FLOATS, generator=torch.Generator().manual_seed(1)) * 3
    x[-300:] *= 30  # where exponentials overflow and vanish
    (tmp_path / "inputs").write_bytes(x.numpy().tobytes())
    plain = tuple(flag for flag in build.FLAGS if flag != "-fPIC")
    theirs = results(
        [EMULATOR, str(compiled(COMPILER, (*plain, "-O1", "-static"), tmp_path))], tmp_path
    )
    for isa in ("baseline", build.chosen_isa()):
        program = compiled("g++", (*plain, *build.ISAS[isa]), tmp_path)
        ours = results([str(program)], tmp_path)
        assert len(ours) > 4 * 400_000
        assert ours == theirs
