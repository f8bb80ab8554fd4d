"""What a daemon that was killed left on its machine: found, removed and told.

Most of it goes by itself: the launcher and every job die with the daemon, their private mounts and
IPC objects with their namespaces, files of the artifact store that were half written when the store
is next opened. The rest is swept here, at the start, by a daemon that holds its home and its range
of user ids, so that whatever is found there belongs to nobody who lives.
"""

import contextlib
import fcntl
import json
import logging
import os
import pwd
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from assay_provider.claims import UidRange
from assay_provider.runtime.mounts import unmount

logger = logging.getLogger(__name__)

REPORT_FILE: Final = "leftovers.json"
SHOWN_MAX: Final = 20
"""Of one kind in a report; the rest is a number."""
KILL_S_MAX: Final = 10.0
"""How long killed processes may take to go; longer means one hangs in the kernel."""

_RETRY_S: Final = 0.01
_LOOP_CLR_FD: Final = 0x4C01
"""<linux/loop.h>. On a device in use it only asks for the same at the last close."""
_DELETED: Final = " (deleted)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """One thing that was found. `trouble` says why it is still there, and is empty when it went."""

    kind: str
    what: str
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Territory:
    """Where a daemon's leftovers lie.

    `uids` are its slots' own, None for a daemon that is not root: its jobs run under its own id.
    `folders` hold the mounts and the backing files of loop devices that a daemon makes; in
    `work_directory` lie the inputs and outputs of runs.
    """

    uids: UidRange | None
    folders: tuple[Path, ...]
    work_directory: Path


def find(territory: Territory) -> tuple[Leftover, ...]:
    """Return what is there now, and touch nothing."""
    return tuple(leftover for leftover, _ in _found(territory))


def sweep(territory: Territory) -> tuple[Leftover, ...]:
    """Remove what is there, processes first, and return it. Blocks; for a daemon's start only."""
    swept = []
    for leftover, remove in _found(territory):
        try:
            remove()
        except OSError as error:
            leftover = Leftover(
                kind=leftover.kind, what=leftover.what, trouble=error.strerror or str(error)
            )
        swept.append(leftover)
    empty_directory(territory.work_directory)
    return tuple(swept)


def tell(swept: Iterable[Leftover]) -> None:
    """Log what was found, one line for each kind."""
    for kind, of_kind in _by_kind(swept).items():
        names = ", ".join(one.what for one in of_kind[:SHOWN_MAX])
        logger.warning("removed what a killed daemon left: %d %s (%s)", len(of_kind), kind, names)
        for one in of_kind:
            if one.trouble:
                logger.error("%s %s could not be removed: %s", one.kind, one.what, one.trouble)


def write_report(home: Path, swept: Iterable[Leftover]) -> None:
    """Keep what the start found, for `assay doctor`; a full disk loses it, and only that."""
    found = [asdict(one) for one in tuple(swept)]
    unfinished = home / f"{REPORT_FILE}.{os.getpid()}"
    with contextlib.suppress(OSError):
        unfinished.write_text(json.dumps({"at": time.time(), "found": found}, indent=1) + "\n")
        unfinished.rename(home / REPORT_FILE)


def read_report(home: Path) -> Mapping[str, Any] | None:
    """Return what the last start found; None when there was none, or its file is damaged."""
    with contextlib.suppress(OSError, ValueError):
        document = json.loads((home / REPORT_FILE).read_text(encoding="utf-8"))
        if isinstance(document, dict):
            return document
    return None


def empty_directory(path: Path) -> None:
    """Make `path` an empty directory that only this user may enter, whatever is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, mode=0o700, exist_ok=True)
    remaining = [entry.name for entry in path.iterdir()]
    if remaining:  # no run uses these names again, so they are in nobody's way but the disk's
        logger.error("could not remove from %s: %s", path, ", ".join(remaining[:SHOWN_MAX]))


def strangers_ids(uids: UidRange) -> str | None:
    """Return who else on this machine has ids in a range: an account, or its containers."""
    for entry in pwd.getpwall():
        if uids.first <= entry.pw_uid <= uids.last:
            return f"user {entry.pw_name}"
    for owner, first, count in _subordinate_ids():
        if count and uids.overlaps(UidRange(first=first, last=first + count - 1)):
            return f"containers of {owner} (/etc/subuid)"
    return None


def _found(territory: Territory) -> Iterator[tuple[Leftover, Callable[[], None]]]:
    """Yield what there is, in the order in which it can be removed, with what removes it.

    Looked for step by step: a loop device is free once what is mounted from it is gone.
    """
    yield from _processes(territory.uids)
    folders = tuple(folder.resolve() for folder in territory.folders)
    yield from _mounts((*folders, territory.work_directory.resolve()))
    yield from _loop_devices(folders)
    yield from _runs(territory.work_directory)


def _processes(uids: UidRange | None) -> Iterator[tuple[Leftover, Callable[[], None]]]:
    if uids is None:
        return
    owner = strangers_ids(uids)
    if owner is not None:
        logger.warning(
            "the user ids %d to %d are also of %s, so processes under them are left alone; set "
            "provider.uid_first to a range of its own",
            uids.first,
            uids.last,
            owner,
        )
        return
    for pid, name in tuple(_running_under(uids)):
        # All at once and again, whichever is asked first: a fork bomb would outrun single kills.
        yield Leftover(kind="process", what=f"{pid} ({name})"), partial(_kill_all, uids)


def _kill_all(uids: UidRange) -> None:
    deadline = time.monotonic() + KILL_S_MAX
    while found := list(_running_under(uids)):
        for pid, _ in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(0, "it does not end after SIGKILL")
        time.sleep(_RETRY_S)


def _running_under(uids: UidRange) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "status").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        uid = int(fields["Uid"].split()[0])
        if uids.first <= uid <= uids.last and not fields["State"].strip().startswith("Z"):
            yield int(folder.name), ascii(fields["Name"].strip())


def _mounts(folders: tuple[Path, ...]) -> Iterator[tuple[Leftover, Callable[[], None]]]:
    """Yield mounts of this namespace below the folders, the innermost first."""
    points = [point for _, point in _mount_table() if _is_below(point, folders)]
    for point in sorted(points, key=lambda path: len(path.parts), reverse=True):
        yield Leftover(kind="mount", what=str(point)), partial(unmount, point)


def _loop_devices(folders: tuple[Path, ...]) -> Iterator[tuple[Leftover, Callable[[], None]]]:
    """Yield loop devices on files below the folders that nothing here has mounted."""
    mounted = {device for device, _ in _mount_table()}
    for entry in sorted(Path("/sys/block").glob("loop*")):
        try:
            backing = (entry / "loop" / "backing_file").read_text(encoding="utf-8").rstrip("\n")
            number = (entry / "dev").read_text(encoding="ascii").strip()
        except OSError:
            continue  # without a file, or just gone
        if _is_below(Path(backing.removesuffix(_DELETED)), folders) and number not in mounted:
            device = Path("/dev") / entry.name
            yield (
                Leftover(kind="loop device", what=f"{device} on {backing}"),
                partial(_detach_loop, device),
            )


def _runs(work_directory: Path) -> Iterator[tuple[Leftover, Callable[[], None]]]:
    if not work_directory.is_dir():
        return
    for path in sorted(work_directory.iterdir()):
        leftover = Leftover(kind="run directory", what=path.name)
        yield leftover, partial(shutil.rmtree, path, ignore_errors=True)


def _detach_loop(device: Path) -> None:
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _LOOP_CLR_FD, 0)
    finally:
        os.close(descriptor)


def _mount_table() -> list[tuple[str, Path]]:
    """Return the device numbers and the places of this namespace's mounts (proc_pid_mountinfo)."""
    text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    rows = (line.split() for line in text.splitlines())
    return [(row[2], Path(_unescaped(row[4]))) for row in rows]


def _unescaped(field: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(folder in path.parents for folder in folders)


def _subordinate_ids() -> Iterator[tuple[str, int, int]]:
    try:
        lines = Path("/etc/subuid").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        if first.isdecimal() and count.strip().isdecimal():
            yield owner, int(first), int(count)


def _by_kind(swept: Iterable[Leftover]) -> dict[str, list[Leftover]]:
    kinds: dict[str, list[Leftover]] = {}
    for one in swept:
        kinds.setdefault(one.kind, []).append(one)
    return kinds
