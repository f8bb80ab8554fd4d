"""Launches the kernels through the CUDA driver.

Only C interfaces are called that have not changed since CUDA 11: PyTorch's own wrapper around them
is private and younger than the oldest tested release.
"""

import ctypes
from collections.abc import Iterable, Sequence
from ctypes import byref, c_char_p, c_double, c_int64, c_void_p
from typing import Final, Protocol

import torch

from exact_torch.cuda.compiler import binary
from exact_torch.errors import EngineRefused

THREADS: Final = 256
BLOCKS_MAX: Final = 1 << 16
"""Blocks of kernels that walk through elements or rows: some rounds on the largest GPU."""

GRID_YZ_MAX: Final = 65_535
"""CUDA's limit for blocks along y and z."""

Argument = torch.Tensor | int | float | None
"""What kernels take: pointers (None is null), int64 and float64."""

Blocks = tuple[int, int, int]


class Program(Protocol):
    """Launches kernels by name on the tensors of one device type."""

    device_type: str

    def launch(
        self, name: str, blocks: Blocks, threads: int, arguments: Sequence[Argument]
    ) -> None:
        """Launch a kernel on the current stream of its tensors' device.

        Args:
            name: the kernel's.
            blocks: how many, along x, y and z.
            threads: of each block, a multiple of 32.
            arguments: as the kernel's signature has them; one at least is a tensor.
        """


class CudaProgram:
    """The kernels on CUDA devices, compiled for each kind of device that comes up.

    Raises:
        EngineRefused: there is no GPU, NVRTC or driver, or the compiler failed.
    """

    device_type = "cuda"

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise EngineRefused("there is no CUDA device, or this PyTorch was built without CUDA")
        self._driver = _Driver()
        self._modules: dict[int, _Module] = {}

    def launch(
        self, name: str, blocks: Blocks, threads: int, arguments: Sequence[Argument]
    ) -> None:
        """See `Program.launch`."""
        device = next(a.device for a in arguments if isinstance(a, torch.Tensor)).index
        module = self._modules.get(device)
        if module is None:
            architecture = "sm_{}{}".format(*torch.cuda.get_device_capability(device))
            module = self._modules[device] = _Module(self._driver, device, binary(architecture))
        stream = torch.cuda.current_stream(device).cuda_stream
        module.launch(name, blocks, threads, packed(arguments), stream)


def packed(arguments: Iterable[Argument]) -> "ctypes.Array[c_void_p]":
    """Return the array of pointers to arguments that a launch takes; it keeps them alive."""
    values = [_value(argument) for argument in arguments]
    pointers = (c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    pointers.values = values  # type: ignore[attr-defined]
    return pointers


def _value(argument: Argument) -> c_void_p | c_int64 | c_double:
    if isinstance(argument, torch.Tensor):
        return c_void_p(argument.data_ptr())
    if argument is None:
        return c_void_p(None)
    return c_double(argument) if isinstance(argument, float) else c_int64(argument)


def walk(program: Program, kernel: str, elements: int, *arguments: Argument) -> None:
    """Launch a kernel whose threads walk through elements."""
    blocks = min(divided_up(elements, THREADS), BLOCKS_MAX)
    program.launch(kernel, (blocks, 1, 1), THREADS, arguments)


def divided_up(a: int, b: int) -> int:
    """Return a/b, rounded up."""
    return -(-a // b)


class _Driver:
    """The CUDA driver (docs.nvidia.com/cuda/cuda-driver-api), which PyTorch has initialised."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise EngineRefused(f"the CUDA driver cannot be loaded: {error}") from None
        self._library.cuLaunchKernel.argtypes = (
            [c_void_p] + [ctypes.c_uint] * 7 + [c_void_p, c_void_p, c_void_p]
        )
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: object) -> None:
        """Call a function of the driver.

        Raises:
            EngineRefused: with the driver's words.
        """
        status = getattr(self._library, name)(*arguments)
        if status:
            words = c_char_p()
            self._library.cuGetErrorString(status, byref(words))
            said = words.value.decode() if words.value else f"status {status}"
            raise EngineRefused(f"the CUDA driver fails in {name}: {said}")


class _Module:
    """The kernels on one device, in the context that PyTorch uses too, its primary one."""

    def __init__(self, driver: _Driver, device: int, code: bytes) -> None:
        torch.zeros((), device=torch.device("cuda", device))  # PyTorch makes its context
        self._driver = driver
        self._functions: dict[str, c_void_p] = {}
        self._context, self._module = c_void_p(), c_void_p()
        handle = ctypes.c_int()
        driver.call("cuDeviceGet", byref(handle), device)
        driver.call("cuDevicePrimaryCtxRetain", byref(self._context), handle)
        self._inside("cuModuleLoadData", byref(self._module), code)

    def launch(
        self,
        name: str,
        blocks: Blocks,
        threads: int,
        arguments: "ctypes.Array[c_void_p]",
        stream: int,
    ) -> None:
        """Launch a kernel on a stream."""
        function = self._functions.get(name)
        if function is None:
            function = c_void_p()
            self._inside("cuModuleGetFunction", byref(function), self._module, name.encode())
            self._functions[name] = function
        self._inside("cuLaunchKernel", function, *blocks, threads, 1, 1, 0, stream, arguments, None)

    def _inside(self, name: str, *arguments: object) -> None:
        """Call the driver in this device's context; autograd's threads may have none yet."""
        self._driver.call("cuCtxPushCurrent_v2", self._context)
        try:
            self._driver.call(name, *arguments)
        finally:
            self._driver.call("cuCtxPopCurrent_v2", byref(c_void_p()))
