"""A device's memory through CUDA's driver library (libcuda.so.1) and ctypes.

The library comes with the driver, so nothing else has to be installed. The process sees one device:
CUDA_VISIBLE_DEVICES names it, for a MIG instance has no other way to be chosen.

Source: CUDA Driver API reference; the functions with _v2 are what cuda.h maps the names to.
"""

import contextlib
import ctypes
import uuid
from collections.abc import Iterator
from typing import Final

from assay_provider.gpus.device_memory import DeviceFault, DeviceOutOfMemory

LIBRARY: Final = "libcuda.so.1"

_SUCCESS: Final = 0
_OUT_OF_MEMORY: Final = 2
_DEVICE: Final = 0
_UUID_BYTES: Final = 16


@contextlib.contextmanager
def open_device(device_uuid: str, library: str = LIBRARY) -> Iterator["CudaMemory"]:
    """Open the one device that this process sees, and check that it is the one meant.

    Raises:
        DeviceFault: CUDA does not work here, or shows another device.
    """
    try:
        lib = ctypes.CDLL(library)
    except OSError as error:
        raise DeviceFault(f"{library} cannot be loaded: {error}") from None
    cuda = _Cuda(lib)
    cuda.call("cuInit", ctypes.c_uint(0))
    _check_device(cuda, device_uuid)
    context = ctypes.c_void_p()
    cuda.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), ctypes.c_int(_DEVICE))
    try:
        cuda.call("cuCtxSetCurrent", context)
        yield CudaMemory(cuda)
    finally:
        cuda.call("cuDevicePrimaryCtxRelease_v2", ctypes.c_int(_DEVICE))


class CudaMemory:
    """Implements `DeviceMemory`; open it with `open_device`."""

    def __init__(self, cuda: "_Cuda") -> None:
        self._cuda = cuda

    def allocate(self, size: int) -> int:
        """See `DeviceMemory`."""
        address = ctypes.c_uint64()
        self._cuda.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def fill(self, address: int, size: int, word: int) -> None:
        """See `DeviceMemory`."""
        self._cuda.call(
            "cuMemsetD32_v2",
            ctypes.c_uint64(address),
            ctypes.c_uint(word),
            ctypes.c_size_t(size // 4),
        )
        self._cuda.call("cuCtxSynchronize")

    def read(self, address: int, size: int) -> bytes:
        """See `DeviceMemory`."""
        buffer = ctypes.create_string_buffer(size)
        self._cuda.call("cuMemcpyDtoH_v2", buffer, ctypes.c_uint64(address), ctypes.c_size_t(size))
        return buffer.raw

    def free(self, address: int) -> None:
        """See `DeviceMemory`."""
        self._cuda.call("cuMemFree_v2", ctypes.c_uint64(address))


class _Cuda:
    def __init__(self, lib: ctypes.CDLL) -> None:
        self._lib = lib

    def call(self, name: str, *arguments: object) -> None:
        try:
            function = getattr(self._lib, name)
        except AttributeError:
            raise DeviceFault(f"the driver's library has no {name}") from None
        status = function(*arguments)
        if status == _OUT_OF_MEMORY:
            raise DeviceOutOfMemory
        if status != _SUCCESS:
            raise DeviceFault(f"{name} failed: {self._words(status)}")

    def _words(self, status: int) -> str:
        text = ctypes.c_char_p()
        known = self._lib.cuGetErrorName(ctypes.c_int(status), ctypes.byref(text)) == _SUCCESS
        return text.value.decode(errors="replace") if known and text.value else f"error {status}"


def _check_device(cuda: _Cuda, device_uuid: str) -> None:
    count = ctypes.c_int()
    cuda.call("cuDeviceGetCount", ctypes.byref(count))
    if count.value != 1:
        raise DeviceFault(f"CUDA shows {count.value} devices in place of {device_uuid} alone")
    found = (ctypes.c_ubyte * _UUID_BYTES)()
    cuda.call("cuDeviceGetUuid_v2", found, ctypes.c_int(_DEVICE))
    shown = str(uuid.UUID(bytes=bytes(found)))
    if shown != device_uuid.partition("-")[2].lower():
        raise DeviceFault(f"CUDA shows the device {shown} in place of {device_uuid}")
