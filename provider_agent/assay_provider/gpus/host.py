"""What is looked at on the owner's machine to hand out a GPU: nodes, libraries, kernel tables."""

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from assay_provider.gpus.elf import soname

PROC_TEXT_BYTES_MAX: Final = 1 << 16
"""Files of /proc that are read here have a few lines."""

_TOOL_SECONDS: Final = 10.0
_TOOL_PATH: Final = (
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNode:
    """A device node of the host."""

    major: int
    minor: int
    block: bool
    open_to_all: bool
    """Whether any uid may read and write it."""


class Host(Protocol):
    """The owner's machine. Paths are absolute."""

    def node(self, path: str) -> HostNode | None:
        """Return a device node; None where there is none, or a link to one."""
        ...

    def real_path(self, path: str) -> str | None:
        """Return where a regular file really is; None where there is none."""
        ...

    def soname(self, path: str) -> str | None:
        """Return the name a shared library goes by."""
        ...

    def text(self, path: str) -> str | None:
        """Return a small text file; None where there is none."""
        ...

    def libraries(self) -> tuple[str, ...]:
        """Return the shared libraries that the host's loader knows."""
        ...

    def commands(self) -> tuple[str, ...]:
        """Return the names of all processes, as the kernel cuts them (15 characters)."""
        ...

    def output(self, *command: str) -> str | None:
        """Return what a program prints; None if it is not there or fails."""
        ...


class ThisHost:
    """Implements `Host` for the machine this runs on."""

    def node(self, path: str) -> HostNode | None:
        """See `Host`."""
        try:
            found = os.lstat(path)
        except OSError:
            return None
        block = stat.S_ISBLK(found.st_mode)
        if not (block or stat.S_ISCHR(found.st_mode)):
            return None
        return HostNode(
            major=os.major(found.st_rdev),
            minor=os.minor(found.st_rdev),
            block=block,
            open_to_all=found.st_mode & 0o006 == 0o006,
        )

    def real_path(self, path: str) -> str | None:
        """See `Host`."""
        try:
            real = Path(path).resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        return str(real) if real.is_file() else None

    def soname(self, path: str) -> str | None:
        """See `Host`."""
        return soname(Path(path))

    def text(self, path: str) -> str | None:
        """See `Host`."""
        try:
            with Path(path).open("rb") as file:
                return file.read(PROC_TEXT_BYTES_MAX).decode(errors="replace")
        except OSError:
            return None

    def libraries(self) -> tuple[str, ...]:
        """See `Host`. Its lines read "libcuda.so.1 (libc6,x86-64) => /usr/lib/..."."""
        said = self.output("ldconfig", "-p") or ""
        found = (line.partition(" => ")[2].strip() for line in said.splitlines())
        return tuple(path for path in found if path)

    def commands(self) -> tuple[str, ...]:
        """See `Host`."""
        found = (self.text(f"{folder}/comm") for folder in Path("/proc").glob("[0-9]*"))
        return tuple(name.strip() for name in found if name)

    def output(self, *command: str) -> str | None:
        """See `Host`."""
        try:
            done = subprocess.run(
                command,
                env={"PATH": _TOOL_PATH, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TOOL_SECONDS,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode(errors="replace")
