"""Interprets the little eBPF that device programs are made of; what it does not know fails."""

import struct

ALLOWED_INSTRUCTIONS = 4096
"""The least that any kernel's verifier takes of a program."""


def allows(program: bytes, *, access: int, kind: int, major: int, minor: int) -> bool:
    """Run a program on the context the kernel would give it."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    instructions = [
        struct.unpack("<BBhi", program[at : at + 8]) for at in range(0, len(program), 8)
    ]
    assert len(program) % 8 == 0
    assert len(instructions) <= ALLOWED_INSTRUCTIONS
    registers: dict[int, int] = {}
    at = 0
    while True:
        code, names, offset, value = instructions[at]
        to, source = names & 0xF, names >> 4
        at += 1
        match code:
            case 0x61:  # a word of the context
                assert source == 1, "only the context may be read"
                [registers[to]] = struct.unpack_from("<I", context, offset)
            case 0xB7:
                registers[to] = value
            case 0xBC:
                registers[to] = registers[source] & 0xFFFFFFFF
            case 0x54:
                registers[to] = registers[to] & value & 0xFFFFFFFF
            case 0x74:
                registers[to] = (registers[to] & 0xFFFFFFFF) >> value
            case 0x55:
                assert offset >= 0, "old kernels take no jumps back"
                at += offset if registers[to] != value else 0
            case 0x95:
                return registers[0] == 1
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")
