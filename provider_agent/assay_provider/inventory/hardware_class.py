"""Hardware classes: the names orders ask for, and their digests on the wire. Pure.

A class groups machines whose results are compared with each other in `class` jobs. Today there are
CPU classes only, one per architecture: "cpu-x86_64", "cpu-aarch64".
"""

import hashlib
import re
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest

NAME_CHARACTERS_MAX: Final = 64
"""Names are typed by people and printed in tables."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")


def cpu_class_name(machine: str) -> str:
    """Return the class of a machine without a GPU, from its architecture as uname(2) names it."""
    return f"cpu-{machine.lower()}"


def hardware_class_digest(name: str) -> Digest:
    """Return the SHA-256 of a class name: what orders, offers and the chain carry.

    Raises:
        LocalError: the name is not made of lower-case letters, digits, "-", "_" and ".".
    """
    if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name):
        raise LocalError(f"{name[:80]!r} is not a hardware class, such as cpu-x86_64")
    return Digest(hashlib.sha256(name.encode("ascii")).digest())
