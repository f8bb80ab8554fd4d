"""The system-call filter: our reviewed list, compiled to BPF when the daemon starts.

Compiled rather than shipped as bytes, so that what is reviewed is the list, and each architecture
gets its own numbers. libseccomp makes calls from a foreign architecture (i386, x32) kill the
process. Source: seccomp(2), libseccomp's seccomp_rule_add(3).
"""

import errno
import functools
import importlib.resources
import itertools
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Final

from assay_provider.runtime.sandbox import SandboxUnavailable

ARCHITECTURES: Final = ("x86_64", "aarch64")
"""Those the list was written for; on any other machine there is no T1."""

_LIST_FILE: Final = "syscalls.txt"

# clone(2): flags that make namespaces. CLONE_NEWTIME shares its bit with the exit signal and only
# exists in clone3 and unshare, so it is not among them.
_CLONE_NEW_FLAGS: Final = (
    0x00020000,  # NEWNS
    0x02000000,  # NEWCGROUP
    0x04000000,  # NEWUTS
    0x08000000,  # NEWIPC
    0x10000000,  # NEWUSER
    0x20000000,  # NEWPID
    0x40000000,  # NEWNET
)

# AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what libc's name and interface look-ups need. The other
# families (vsock, alg, packet, can, ...) reach kernel code that no batch job has a use for.
_SOCKET_FAMILIES: Final = (1, 2, 10, 16)

# PER_LINUX, UNAME26, PER_LINUX32 and both, and "query"; all others switch protections off, as
# ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC do.
_PERSONALITIES: Final = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyscallList:
    """The parsed list for one architecture."""

    allowed: tuple[str, ...]
    refused: tuple[str, ...]


def parse_list(text: str, architecture: str) -> SyscallList:
    """Return what a list in the format of `syscalls.txt` says for one architecture."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) == 1 and words[0].startswith("["):
            current = sections.setdefault(words[0].strip("[]"), [])
        else:
            current.extend(words)
    allowed = sections.get("all", []) + sections.get(architecture, [])
    return SyscallList(allowed=tuple(allowed), refused=tuple(sections.get("refused", [])))


def reviewed_list(architecture: str) -> SyscallList:
    """Return the shipped list for one architecture."""
    resource = importlib.resources.files("assay_provider.runtime").joinpath(_LIST_FILE)
    return parse_list(resource.read_text(encoding="ascii"), architecture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: what becomes of a call, of any arguments or of those with a certain one."""

    name: str
    refused_with: int | None = None
    """The errno; None allows the call."""
    index: int = 0
    comparison: str | None = None
    """EQ, GT or MASKED_EQ, of argument `index`; None for any arguments."""
    value: int = 0
    value_two: int = 0
    """For MASKED_EQ what is left after masking with `value`."""


DEFAULT_ERRNO: Final = errno.ENOSYS
"""For calls in neither list: as if the kernel were older, so that libraries fall back."""


def rules(names: SyscallList) -> tuple[Rule, ...]:
    """Return the whole filter. Pure."""
    return (
        *(Rule(name=name) for name in names.allowed),
        *(Rule(name=name, refused_with=errno.EPERM) for name in names.refused),
        *_argument_rules(),
    )


@functools.cache
def compiled_filter() -> bytes:
    """Return the filter for this machine as a BPF program, the form `bwrap --seccomp` reads.

    Raises:
        SandboxUnavailable: libseccomp is missing or the architecture has no reviewed list.
    """
    return _compile(_load_libseccomp(), rules(_list_of_this_machine()))


def oci_profile() -> dict[str, object]:
    """Return the same filter in the form of an OCI runtime's configuration, which compiles it.

    Raises:
        SandboxUnavailable: the architecture has no reviewed list.
    """
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": DEFAULT_ERRNO,
        "syscalls": [_oci_rule(rule) for rule in rules(_list_of_this_machine())],
    }


def _list_of_this_machine() -> SyscallList:
    architecture = platform.machine()
    if architecture not in ARCHITECTURES:
        raise SandboxUnavailable(f"there is no reviewed system-call list for {architecture}")
    return reviewed_list(architecture)


def _oci_rule(rule: Rule) -> dict[str, object]:
    made: dict[str, object] = {"names": [rule.name], "action": "SCMP_ACT_ALLOW"}
    if rule.refused_with is not None:
        made |= {"action": "SCMP_ACT_ERRNO", "errnoRet": rule.refused_with}
    if rule.comparison is not None:
        argument = {"index": rule.index, "op": f"SCMP_CMP_{rule.comparison}"}
        made["args"] = [argument | {"value": rule.value, "valueTwo": rule.value_two}]
    return made


def _load_libseccomp() -> ModuleType:
    # pyseccomp looks for the shared library when it is imported and raises RuntimeError without.
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise SandboxUnavailable(
            f"libseccomp could not be loaded ({error}); install the package libseccomp2"
        ) from error
    module: ModuleType = pyseccomp
    return module


def _compile(lib: ModuleType, wanted: Iterable[Rule]) -> bytes:
    program = lib.SyscallFilter(lib.ERRNO(DEFAULT_ERRNO))
    for rule in wanted:
        if not _exists(lib, rule.name):
            continue
        action = lib.ALLOW if rule.refused_with is None else lib.ERRNO(rule.refused_with)
        program.add_rule(action, rule.name, *_argument(lib, rule))
    return _export(program)


def _argument(lib: ModuleType, rule: Rule) -> list[object]:
    if rule.comparison is None:
        return []
    comparison = getattr(lib, rule.comparison)
    return [lib.Arg(rule.index, comparison, rule.value, rule.value_two)]


def _exists(lib: ModuleType, name: str) -> bool:
    # Negative pseudo numbers are libseccomp's way of naming calls other architectures have.
    return bool(lib.resolve_syscall(lib.system_arch(), name) >= 0)


def _argument_rules() -> Iterator[Rule]:
    new_namespaces = sum(_CLONE_NEW_FLAGS)
    yield Rule(name="clone", comparison="MASKED_EQ", value=new_namespaces, value_two=0)
    for flag in _CLONE_NEW_FLAGS:
        yield _refusal("clone", "MASKED_EQ", flag, flag, errno.EPERM)
    for value in _PERSONALITIES:
        yield Rule(name="personality", comparison="EQ", value=value)
    for family in _SOCKET_FAMILIES:
        yield Rule(name="socket", comparison="EQ", value=family)
    for low, high in itertools.pairwise(_SOCKET_FAMILIES):
        for family in range(low + 1, high):
            yield _refusal("socket", "EQ", family, 0, errno.EAFNOSUPPORT)
    yield _refusal("socket", "GT", _SOCKET_FAMILIES[-1], 0, errno.EAFNOSUPPORT)


def _refusal(name: str, comparison: str, value: int, value_two: int, code: int) -> Rule:
    return Rule(
        name=name, refused_with=code, comparison=comparison, value=value, value_two=value_two
    )


def _export(program: object) -> bytes:
    with os.fdopen(os.memfd_create("assay-seccomp"), "w+b") as file:
        program.export_bpf(file)  # type: ignore[attr-defined]
        file.seek(0)
        return file.read()
