"""Compiles the kernels for a GPU with NVRTC, once.

NVRTC comes with PyTorch's CUDA wheels, so neither nvcc nor CUDA's headers are needed.
"""

import ctypes
import functools
import hashlib
import itertools
import os
import sys
import tempfile
from contextlib import suppress
from ctypes import byref, c_char_p, c_size_t, c_void_p
from pathlib import Path
from typing import Final

import torch

from exact_torch.errors import EngineRefused

SOURCES: Final = Path(__file__).parent / "sources"
INCLUDES: Final = (SOURCES, Path(__file__).parents[1] / "native" / "kernels")
FLAGS: Final = (
    "--std=c++17",
    # what the definitions forbid: contraction, flushing subnormals, approximate operations
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
)


@functools.cache
def binary(architecture: str) -> bytes:
    """Return the kernels' machine code ("sm_90"), from the user's cache where it is kept.

    Raises:
        EngineRefused: NVRTC is missing or failed.
    """
    compiler = _Compiler()
    digest = hashlib.sha256(f"{architecture} {compiler.version} {FLAGS}".encode())
    for folder in INCLUDES:
        for path in sorted(folder.iterdir()):
            digest.update(path.read_bytes() if path.is_file() else b"")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exact-torch"
    kept = cache / f"exact-{architecture}-{digest.hexdigest()[:16]}.cubin"
    if kept.is_file():
        return kept.read_bytes()
    sys.stderr.write(f"exact_torch: compiling CUDA kernels for {architecture}, once ...\n")
    code = compiler.compiled(architecture)
    with suppress(OSError):  # where it cannot be kept, it is compiled again the next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as copy:
            copy.write(code)
        Path(copy.name).replace(kept)
    return code


class _Compiler:
    """NVRTC (docs.nvidia.com/cuda/nvrtc)."""

    def __init__(self) -> None:
        self._library = _nvrtc()
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(byref(major), byref(minor)))
        self.version = f"{major.value}.{minor.value}"

    def compiled(self, architecture: str) -> bytes:
        """Return machine code for an architecture.

        Raises:
            EngineRefused: with the compiler's messages.
        """
        library, program = self._library, c_void_p()
        source = (SOURCES / "program.cu").read_bytes()
        options = [f"--gpu-architecture={architecture}", *FLAGS]
        options += [f"--include-path={folder}" for folder in INCLUDES]
        array = (c_char_p * len(options))(*(option.encode() for option in options))
        created = library.nvrtcCreateProgram(byref(program), source, b"program.cu", 0, None, None)
        self._check(created)
        try:
            if library.nvrtcCompileProgram(program, len(options), array):
                log = self._read(program, "ProgramLog").decode(errors="replace")
                raise EngineRefused(f"its CUDA kernels cannot be compiled: {log.strip()[-800:]}")
            return self._read(program, "CUBIN")
        finally:
            library.nvrtcDestroyProgram(byref(program))

    def _read(self, program: c_void_p, what: str) -> bytes:
        size = c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, byref(size)))
        text = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, text))
        return text.raw

    def _check(self, status: int) -> None:
        if status:
            raise EngineRefused(f"NVRTC, which compiles its CUDA kernels, fails: status {status}")


def _nvrtc() -> ctypes.CDLL:
    """Load the NVRTC that PyTorch was built with: from its wheels, else from the system."""
    major = (torch.version.cuda or "").partition(".")[0]
    name = f"libnvrtc.so.{major}" if major else "libnvrtc.so.[0-9]*"
    wheels = (Path(folder, "nvidia") for folder in sys.path if folder)
    found = itertools.chain.from_iterable(sorted(w.glob(f"*/lib/{name}")) for w in wheels)
    for path in (*map(str, found), name, "libnvrtc.so"):
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise EngineRefused(
        "NVRTC, which compiles its CUDA kernels, is not installed; PyTorch's CUDA wheels bring it "
        "(nvidia-cuda-nvrtc)"
    )
