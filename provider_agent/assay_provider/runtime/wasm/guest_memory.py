"""The linear memory of a module, made by us so that growing beyond the limit is seen and counted.

wasmtime's own limiter refuses silently: a program that ends because malloc failed could not be told
from one that failed by itself. Source: wasmtime's C API, config.h (wasmtime_memory_creator_t): the
bytes behind the accessible part, reservation and guard, must be mapped without access, for
compiled code leaves out bounds checks that those faults replace.
"""

import ctypes
from dataclasses import dataclass
from typing import Any, Final

from wasmtime import Config
from wasmtime import _bindings as bindings

from assay_provider.runtime.wasm.errno import Errno, WasiError

_PROT_NONE, _PROT_READ_WRITE = 0, 3
_MAP_PRIVATE_ANONYMOUS_NORESERVE: Final = 0x2 | 0x20 | 0x4000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_NO_BYTES: Final = memoryview(b"")


@dataclass(slots=True)
class LinearMemory:
    """One module's memory of at most `bytes_max`. Implements `preview1.GuestMemory`."""

    bytes_max: int
    refused: int = 0
    """How often it could not be made or grow: the counter behind "out of memory"."""
    size: int = 0
    _base: int = 0
    _capacity: int = 0
    _bytes: memoryview = _NO_BYTES
    _kept: tuple[Any, ...] = ()
    """C holds pointers to these callbacks for as long as the engine lives."""

    def install(self, config: Config) -> None:
        """Have an engine of this configuration make its memory here; it may make one."""
        callbacks = (
            bindings.wasmtime_new_memory_callback_t(self._new),
            bindings.wasmtime_memory_get_callback_t(self._get),
            bindings.wasmtime_memory_grow_callback_t(self._grow),
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_nothing),
        )
        creator = bindings.wasmtime_memory_creator(
            env=None, new_memory=callbacks[0], finalizer=callbacks[3]
        )
        self._kept = (*callbacks, creator)
        bindings.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(creator))

    def view(self, address: int, size: int) -> memoryview:
        """See `preview1.GuestMemory`."""
        if address + size > self.size:
            raise WasiError(Errno.FAULT)
        return self._bytes[address : address + size]

    def store(self, address: int, data: bytes) -> None:
        """See `preview1.GuestMemory`."""
        self.view(address, len(data))[:] = data

    def _new(  # the C API's own signature
        self, _env: Any, _kind: Any, minimum: int, maximum: int, reserved: int, guard: int, out: Any
    ) -> int:
        if self._base:
            return _error("there is one memory")
        if minimum > self.bytes_max:
            self.refused += 1
            return _error(f"the module starts with {minimum} bytes of memory")
        self._capacity = reserved or min(maximum, self.bytes_max)
        whole = self._capacity + guard
        flags = _MAP_PRIVATE_ANONYMOUS_NORESERVE
        base = _libc.mmap(None, whole, _PROT_NONE, flags, -1, 0)
        if base in (None, _MAP_FAILED):
            return _error("the address space for a memory cannot be had")
        self._base = base
        whole_array = (ctypes.c_ubyte * self._capacity).from_address(base)
        self._bytes = memoryview(whole_array).cast("B")
        if not self._allow(minimum):
            return _error("the memory cannot be made accessible")
        out[0].env = None
        out[0].get_memory, out[0].grow_memory, out[0].finalizer = self._kept[1:4]
        return 0

    def _get(self, _env: Any, size: Any, maximum: Any) -> int:
        size[0], maximum[0] = self.size, self._capacity
        return self._base

    def _grow(self, _env: Any, size: int) -> int:
        if size > min(self.bytes_max, self._capacity) or not self._allow(size):
            self.refused += 1
            return _error(f"more than {self.bytes_max} bytes of memory")
        return 0

    def _allow(self, size: int) -> bool:
        if size and _libc.mprotect(self._base, size, _PROT_READ_WRITE) != 0:
            return False
        self.size = size
        return True


def _nothing(_env: Any) -> None:
    """The mapping lives as long as the process, which ends with its module."""


def _error(text: str) -> int:
    # wasmtime takes the error over, so it must not be freed here.
    made = bindings.wasmtime_error_new(text.encode())
    return ctypes.cast(made, ctypes.c_void_p).value or 0
