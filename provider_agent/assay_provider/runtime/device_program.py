"""Device rules as an eBPF program, the form in which cgroup v2 takes them. Pure.

The kernel runs the program each time a process of the group opens or makes a device node. It gets
`struct bpf_cgroup_dev_ctx`: u32 access << 16 | type, u32 major, u32 minor; it answers 1 to allow.
Rules are tried in turn; what matches none is denied.

Source: Documentation/bpf/standardization/instruction-set.rst and include/uapi/linux/bpf.h.
"""

import struct
from collections.abc import Sequence
from typing import Final

from assay_provider.runtime.device_rules import ACCESS, DeviceRule

TYPE_BLOCK: Final = 1
TYPE_CHARACTER: Final = 2

_LOAD_WORD: Final = 0x61
_MOVE: Final = 0xB7
_MOVE_REGISTER_32: Final = 0xBC
_AND_32: Final = 0x54
_SHIFT_RIGHT_32: Final = 0x74
_JUMP_IF_NOT_EQUAL: Final = 0x55
_EXIT: Final = 0x95

_ANSWER, _CONTEXT, _ACCESS, _TYPE, _MAJOR, _MINOR = range(6)
"""Registers; the kernel fixes the first two."""

_DENY: Final = 0
_ALLOW: Final = 1
_EVERY_ACCESS: Final = sum(ACCESS.values())


def assemble(rules: Sequence[DeviceRule]) -> bytes:
    """Return the program's instructions, eight bytes each."""
    start = (
        _instruction(_LOAD_WORD, _ACCESS, _CONTEXT, offset=0)
        + _instruction(_MOVE_REGISTER_32, _TYPE, _ACCESS)
        + _instruction(_AND_32, _TYPE, value=0xFFFF)
        + _instruction(_SHIFT_RIGHT_32, _ACCESS, value=16)
        + _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4)
        + _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8)
    )
    end = _instruction(_MOVE, _ANSWER, value=_DENY) + _instruction(_EXIT)
    return start + b"".join(_rule(rule) for rule in rules) + end


def _rule(rule: DeviceRule) -> bytes:
    refused = _EVERY_ACCESS & ~sum(ACCESS[letter] for letter in rule.access)
    matches = [(_TYPE, TYPE_BLOCK if rule.block else TYPE_CHARACTER), (_MAJOR, rule.major)]
    if rule.minor is not None:
        matches.append((_MINOR, rule.minor))
    length = len(matches) + 5
    code = b"".join(
        _instruction(_JUMP_IF_NOT_EQUAL, register, offset=length - position - 1, value=wanted)
        for position, (register, wanted) in enumerate(matches)
    )
    # What is asked for beside what the rule gives must be nothing.
    code += _instruction(_MOVE_REGISTER_32, _ANSWER, _ACCESS)
    code += _instruction(_AND_32, _ANSWER, value=refused)
    code += _instruction(_JUMP_IF_NOT_EQUAL, _ANSWER, offset=2, value=0)
    return code + _instruction(_MOVE, _ANSWER, value=_ALLOW) + _instruction(_EXIT)


def _instruction(
    code: int, register: int = 0, source: int = 0, *, offset: int = 0, value: int = 0
) -> bytes:
    # Both architectures that have a sandbox are little-endian.
    return struct.pack("<BBhi", code, source << 4 | register, offset, value)
