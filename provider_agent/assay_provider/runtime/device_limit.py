"""Limits the device numbers of a cgroup v2 group, with a BPF program: bpf(2) through ctypes.

It needs the right to load programs and attach them (root, or CAP_BPF and CAP_NET_ADMIN). The
program lives as long as its group.
"""

import ctypes
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from assay_provider.runtime.device_program import assemble
from assay_provider.runtime.device_rules import EVERY_JOB, DeviceRule

_SYSCALL_NUMBER: Final = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD: Final = 5
_PROG_ATTACH: Final = 8
_PROG_TYPE_CGROUP_DEVICE: Final = 15
_CGROUP_DEVICE: Final = 6

_ALLOW_MULTI: Final = 2
"""systemd may have attached a program of its own further up; both must allow."""

_LICENSE: Final = b"Apache-2.0\0"
"""The program calls no function of the kernel's, so any licence does."""

_VERIFIER_LOG_BYTES: Final = 1 << 14

_libc = ctypes.CDLL(None, use_errno=True)


class _LoadAttributes(ctypes.Structure):
    """The start of union bpf_attr for BPF_PROG_LOAD; what follows counts as zero."""

    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
    )


class _AttachAttributes(ctypes.Structure):
    """The start of union bpf_attr for BPF_PROG_ATTACH."""

    _fields_ = (
        ("target_fd", ctypes.c_uint32),
        ("attach_bpf_fd", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("attach_flags", ctypes.c_uint32),
    )


def limit_devices(group: Path, rules: Sequence[DeviceRule]) -> None:
    """Let processes of a cgroup v2 group use only what `rules` allow.

    Raises:
        OSError: the kernel refuses the program or its attachment.
    """
    program = _load(assemble(rules))
    try:
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _attach(program, directory)
        finally:
            os.close(directory)
    finally:
        os.close(program)  # attached, it lives on without the descriptor


def can_limit_devices(group: Path) -> bool:
    """Try it on a group that is made for it and removed again."""
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        limit_devices(group, EVERY_JOB)
    except OSError:
        return False
    else:
        return True
    finally:
        group.rmdir()


def _load(instructions: bytes) -> int:
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(_LICENSE)
    attributes = _LoadAttributes(
        prog_type=_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt=len(instructions) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(licence),
    )
    try:
        return _bpf(_PROG_LOAD, attributes, "loading the device rules")
    except PermissionError:
        raise
    except OSError as error:
        # Once more, for what the verifier has to say.
        log = ctypes.create_string_buffer(_VERIFIER_LOG_BYTES)
        attributes.log_level, attributes.log_size = 1, _VERIFIER_LOG_BYTES
        attributes.log_buf = ctypes.addressof(log)
        try:
            return _bpf(_PROG_LOAD, attributes, "loading the device rules")
        except OSError:
            said = log.value.decode(errors="replace").strip().splitlines()
            raise OSError(error.errno, f"{error.strerror}: {' / '.join(said[-3:])}") from None


def _attach(program: int, directory: int) -> None:
    attributes = _AttachAttributes(
        target_fd=directory,
        attach_bpf_fd=program,
        attach_type=_CGROUP_DEVICE,
        attach_flags=_ALLOW_MULTI,
    )
    _bpf(_PROG_ATTACH, attributes, "attaching the device rules")


def _bpf(command: int, attributes: ctypes.Structure, what: str) -> int:
    number = _SYSCALL_NUMBER.get(platform.machine())
    if number is None:
        raise OSError(f"{what}: bpf(2) has no known number on {platform.machine()}")
    result: int = _libc.syscall(
        ctypes.c_long(number),
        ctypes.c_long(command),
        ctypes.byref(attributes),
        ctypes.c_ulong(ctypes.sizeof(attributes)),
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
