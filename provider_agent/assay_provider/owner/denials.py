"""Whom and what an owner denies: lists in files, read again whenever they change.

A line names one wallet, as requester or as scheduler, or one CID, of a job's spec, its inputs or
its environment; `#` starts a comment. The home's own list is `denied.txt`, edited by
`assay provider deny` and `allow` or by hand; more can be named in the settings.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay_node.private_files import replace_private
from assay_node.protocol import cid as cids
from assay_node.protocol.errors import AssayError, LocalError, Refused
from assay_node.protocol.ids import Address, Cid, address
from assay_node.protocol.job_spec import JobSpec, spec_cid
from assay_node.protocol.order import Order

logger = logging.getLogger(__name__)

DENIED_FILE: Final = "denied.txt"
DENIED_BYTES_MAX: Final = 4 << 20
"""Some 50,000 lines: more than any list that somebody looks after."""
REMARK_CHARACTERS_MAX: Final = 200
_HEADER: Final = "# Wallets and CIDs that this provider does not work for; # starts a comment.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """What lists deny together."""

    addresses: frozenset[Address] = frozenset()
    contents: frozenset[Cid] = frozenset()

    def check_order(self, order: Order) -> None:
        """Refuse an order of somebody denied, or of a spec denied.

        Raises:
            Refused: naming which.
        """
        if order.requester in self.addresses:
            raise Refused("this provider does not work for the requester")
        if order.scheduler in self.addresses:
            raise Refused("this provider does not work for the scheduler")
        if spec_cid(order.spec) in self.contents:
            raise Refused("this provider does not run the job's spec")

    def check_spec(self, spec: JobSpec) -> None:
        """Refuse a spec whose inputs or environment are denied.

        Raises:
            Refused: naming which.
        """
        if spec.inputs in self.contents:
            raise Refused("this provider does not run the job's inputs")
        if spec.runtime in self.contents:
            raise Refused(f"this provider does not run in the environment {spec.runtime}")


NOBODY: Final = Denied()


def read_denied(path: Path, *, must_exist: bool = False) -> Denied:
    """Return what one list denies; nothing when it does not exist.

    Raises:
        LocalError: naming the line that is neither an address nor a CID, or why it is unreadable.
    """
    return _parse(_read(path, must_exist=must_exist), path)


def deny(path: Path, entries: Iterable[str], *, remark: str = "", now: float | None = None) -> int:
    """Add wallets and CIDs to a list; return how many were not on it yet.

    Raises:
        LocalError: an entry is neither, or the list cannot be read or written.
    """
    wanted = list(dict.fromkeys(entry_of(entry) for entry in entries))
    text = _read(path, must_exist=False)
    known = _parse(text, path)
    new = [entry for entry in wanted if entry not in known.addresses | known.contents]
    if not new:
        return 0
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    note = " ".join(f"{day} {remark}".split())[:REMARK_CHARACTERS_MAX]
    if not note.isprintable():
        raise LocalError("a remark is plain text")
    start = text or _HEADER
    lines = start if start.endswith("\n") else start + "\n"
    _write(path, lines + "".join(f"{entry}  # {note}\n" for entry in new))
    return len(new)


def allow(path: Path, entries: Iterable[str]) -> int:
    """Take wallets and CIDs off a list; return how many were on it.

    Raises:
        LocalError: an entry is neither, or the list cannot be read or written.
    """
    wanted = {entry_of(entry) for entry in entries}
    text = _read(path, must_exist=False)
    known = _parse(text, path)
    found = wanted & (known.addresses | known.contents)
    if found:
        kept = [line for line in text.splitlines() if _word(line) not in found]
        _write(path, "".join(f"{line}\n" for line in kept))
    return len(found)


def entry_of(text: str) -> str:
    """Return a list's entry in its one spelling.

    Raises:
        LocalError: it is neither an address nor a CID.
    """
    text = text.strip()
    try:
        return address(text) if text.startswith("0x") else cids.parse(text)
    except AssayError:
        shown = ascii(text[:80])
        raise LocalError(f"{shown} is neither a wallet's address (0x...) nor a CID") from None


@dataclass(slots=True)
class Denials:
    """The lists that a daemon honours; `current` looks at the files again.

    A list that became unreadable or malformed, or vanished, stays in force as it was, with a
    warning: a slip of the pen must not let everybody in.
    """

    paths: tuple[Path, ...] = ()
    always: frozenset[Address] = frozenset()
    _read_at: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    _lists: dict[Path, Denied] = field(default_factory=dict)

    def current(self) -> Denied:
        """Return what is denied now."""
        for path in self.paths:
            stamp = _stamp(path)
            if self._read_at.get(path) != stamp:
                self._read_at[path] = stamp
                self._read_again(path)
        lists = self._lists.values()
        return Denied(
            addresses=self.always.union(*(one.addresses for one in lists)),
            contents=frozenset[Cid]().union(*(one.contents for one in lists)),
        )

    def _read_again(self, path: Path) -> None:
        try:
            found = read_denied(path, must_exist=path in self._lists)
        except LocalError as error:
            logger.warning("the list as it was read before stays in force: %s", error)
            return
        if self._lists.get(path, NOBODY) != found:
            logger.info("%s denies %d wallets and %d CIDs", path.name, *_counts(found))
        self._lists[path] = found


def _counts(denied: Denied) -> tuple[int, int]:
    return len(denied.addresses), len(denied.contents)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        seen = path.stat()
    except OSError:
        return (0, 0, 0)
    return (seen.st_mtime_ns, seen.st_size, seen.st_ino)


def _read(path: Path, *, must_exist: bool) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(DENIED_BYTES_MAX + 1)
    except FileNotFoundError:
        if must_exist:
            raise LocalError(f"there is no list {path}") from None
        return ""
    except OSError as error:
        raise LocalError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > DENIED_BYTES_MAX:
        raise LocalError(f"{path} has more than {DENIED_BYTES_MAX} bytes; it is no list of denied")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise LocalError(f"{path} is not text; a list has one address or CID a line") from None


def _write(path: Path, text: str) -> None:
    if len(text.encode()) > DENIED_BYTES_MAX:
        raise LocalError(f"{path} would have more than {DENIED_BYTES_MAX} bytes; shorten it")
    replace_private(path, text.encode())


def _parse(text: str, path: Path) -> Denied:
    addresses: set[Address] = set()
    contents: set[Cid] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.partition("#")[0].strip()
        if not bare:
            continue
        try:
            entry = entry_of(bare)
        except LocalError as error:
            raise LocalError(f"{path}, line {number}: {error}") from None
        if entry.startswith("0x"):
            addresses.add(Address(entry))
        else:
            contents.add(Cid(entry))
    return Denied(addresses=frozenset(addresses), contents=frozenset(contents))


def _word(line: str) -> str:
    bare = line.partition("#")[0].strip()
    return entry_of(bare) if bare else ""
