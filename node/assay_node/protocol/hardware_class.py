"""Hardware classes: the names orders ask for, and their digests on the wire. Pure.

A class groups machines whose results are compared with each other in `class` jobs: one for each
architecture without a GPU ("cpu-x86_64", "cpu-aarch64"), one for each model of GPU
("nvidia-h100-80gb-hbm3").
"""

import hashlib
import re
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Digest

NAME_CHARACTERS_MAX: Final = 64
"""Names are typed by people and printed in tables."""

_NAME: Final = re.compile(r"[a-z0-9]+([_.-][a-z0-9]+)*")
_VENDORS: Final = ("nvidia", "amd", "intel")
_PRODUCT_LINES: Final = ("geforce", "grid", "nvs", "quadro", "tesla", "titan")
"""With which NVIDIA's drivers before 470 began their names."""


def cpu_class_name(machine: str) -> str:
    """Return the class of a machine without a GPU, from its architecture as uname(2) names it."""
    return f"cpu-{machine.lower()}"


def gpu_class_name(model: str) -> str:
    """Return the class of machines with one model of GPU, from the name its driver gives it.

    The vendor comes first, as newer drivers name it; older ones began with the product line. What
    distinguishes boards of a model (memory, form factor) is part of the drivers' names.
    """
    words = [word.strip("._") for word in re.split(r"[^a-z0-9._]+", model.lower())]
    words = [word for word in words if word]
    if words and words[0] in _PRODUCT_LINES:
        words = ["nvidia", *words]
    elif not words or words[0] not in _VENDORS:
        words = ["gpu", *words]
    while len("-".join(words)) > NAME_CHARACTERS_MAX:
        words.pop()
    return re.sub(r"[._]{2,}", "-", "-".join(words))


def hardware_class_digest(name: str) -> Digest:
    """Return the SHA-256 of a class name: what orders, offers and the chain carry.

    Raises:
        LocalError: the name is not lower-case words joined by "-", "_" or ".".
    """
    if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name):
        raise LocalError(f"{name[:80]!r} is not a hardware class, such as cpu-x86_64")
    return Digest(hashlib.sha256(name.encode("ascii")).digest())
