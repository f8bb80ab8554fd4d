"""CDI specifications, read as data: strictly, with a reason for every refusal. Pure.

A CDI file tells container engines what to change for a device: nodes, mounts, variables and hooks,
which are programs to run as root. Nothing is run and no variable is taken here; `cdi_edits` judges
the nodes and mounts.

Source: SPEC.md of the Container Device Interface, versions 0.3 to 1.1.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import yaml

from assay_node.protocol.errors import LocalError

SPEC_BYTES_MAX: Final = 1 << 20
"""NVIDIA's for eight GPUs has some 60 KB."""
NESTING_MAX: Final = 16
LIST_MAX: Final = 1024
TEXT_CHARACTERS_MAX: Final = 4096
VERSIONS: Final = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")

_T = TypeVar("_T")
_KIND: Final = re.compile(r"[A-Za-z0-9.-]+/[A-Za-z0-9_.-]+")
_DEVICE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")


class CdiRefused(LocalError):
    """A CDI file is malformed, or asks for what no driver needs; it is not used at all."""

    code = "cdi_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiNode:
    """A device node to show; numbers are None where the file leaves them to the host."""

    path: str
    host_path: str
    kind: str
    major: int | None
    minor: int | None
    permissions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiMount:
    """A file or folder to show."""

    host_path: str
    container_path: str
    options: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiEdits:
    """What a file wants changed for a device. `dropped` counts what is never carried out."""

    nodes: tuple[CdiNode, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks_dropped: int = 0
    variables_dropped: int = 0

    def __add__(self, other: "CdiEdits") -> "CdiEdits":
        """Return both."""
        return CdiEdits(
            nodes=self.nodes + other.nodes,
            mounts=self.mounts + other.mounts,
            hooks_dropped=self.hooks_dropped + other.hooks_dropped,
            variables_dropped=self.variables_dropped + other.variables_dropped,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiSpec:
    """One file: edits for all its devices, and for each by name."""

    kind: str
    common: CdiEdits
    devices: Mapping[str, CdiEdits]


def parse_cdi(data: bytes, *, as_json: bool) -> CdiSpec:
    """Return what a CDI file says.

    Raises:
        CdiRefused: with the place and the reason.
    """
    if len(data) > SPEC_BYTES_MAX:
        raise CdiRefused(f"it has {len(data)} bytes; at most {SPEC_BYTES_MAX} are read")
    try:
        # the loader is a SafeLoader, narrowed further
        document = _flat_json(data) if as_json else yaml.load(data, _PlainLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CdiRefused(f"it is not {'JSON' if as_json else 'YAML'}: {line[:200]}") from None
    return _spec(document)


def _flat_json(data: bytes) -> Any:
    """Parse JSON that is not nested deeply.

    The parser recurses in C: where a library has raised Python's recursion limit, a deep document
    ends the process. Brackets within strings count, which no driver's file has many of.
    """
    depths = itertools.accumulate((byte in b"[{") - (byte in b"]}") for byte in data)
    if max(depths, default=0) > NESTING_MAX:
        raise ValueError("it is nested too deeply")
    return json.loads(data)


class _PlainLoader(yaml.SafeLoader):
    """YAML without anchors, with which a small file becomes an endless document, or a deep one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not read")
        self.depth = getattr(self, "depth", 0) + 1
        if self.depth > NESTING_MAX:
            raise yaml.YAMLError("it is nested too deeply")
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _spec(document: object) -> CdiSpec:
    fields = _fields(
        document,
        "the file",
        required=("cdiVersion", "kind", "devices"),
        optional=("annotations", "containerEdits"),
    )
    version = _text(fields["cdiVersion"], "cdiVersion").removeprefix("v")
    if version not in VERSIONS:
        raise CdiRefused(f"cdiVersion {version[:20]!r} is none of {VERSIONS[0]} to {VERSIONS[-1]}")
    kind = _text(fields["kind"], "kind")
    if not _KIND.fullmatch(kind):
        raise CdiRefused(f"kind {kind[:60]!r} is not vendor/class")
    devices: dict[str, CdiEdits] = {}
    for number, item in enumerate(_list(fields["devices"], "devices")):
        where = f"devices[{number}]"
        device = _fields(
            item, where, required=("name", "containerEdits"), optional=("annotations",)
        )
        name = _text(device["name"], f"{where}.name")
        if not _DEVICE_NAME.fullmatch(name):
            raise CdiRefused(f"{where}.name {name[:60]!r} is not a device's name")
        if name in devices:
            raise CdiRefused(f"two devices are named {name!r}")
        devices[name] = _edits(device["containerEdits"], f"{where}.containerEdits")
    common = _edits(_given(fields, "containerEdits", {}), "containerEdits")
    return CdiSpec(kind=kind, common=common, devices=devices)


def _edits(value: object, where: str) -> CdiEdits:
    fields = _fields(
        value,
        where,
        optional=(
            *("env", "deviceNodes", "hooks", "mounts"),
            *("intelRdt", "additionalGids", "netDevices"),
        ),
    )
    _list(_given(fields, "additionalGids", []), f"{where}.additionalGids")  # never taken
    for name in ("intelRdt", "netDevices"):
        if _given(fields, name, []) not in ([], {}):
            raise CdiRefused(f"{where}.{name} is not for a GPU")
    return CdiEdits(
        nodes=_each(fields, "deviceNodes", where, _node),
        mounts=_each(fields, "mounts", where, _mount),
        hooks_dropped=len(_list(_given(fields, "hooks", []), f"{where}.hooks")),
        variables_dropped=len(_list(_given(fields, "env", []), f"{where}.env")),
    )


def _node(value: object, where: str) -> CdiNode:
    fields = _fields(
        value,
        where,
        required=("path",),
        optional=(
            *("hostPath", "type", "major", "minor", "fileMode", "permissions", "uid", "gid"),
        ),
    )
    path = _path(fields["path"], f"{where}.path")
    kind = _text(_given(fields, "type", "c"), f"{where}.type")
    permissions = _text(_given(fields, "permissions", "rw"), f"{where}.permissions")
    if kind not in ("c", "u", "b") or not set(permissions) <= set("rwm"):
        raise CdiRefused(f"{where}: type {kind[:8]!r}, permissions {permissions[:8]!r}")
    return CdiNode(
        path=path,
        host_path=_path(_given(fields, "hostPath", path), f"{where}.hostPath"),
        kind=kind,
        major=_number(fields.get("major"), f"{where}.major"),
        minor=_number(fields.get("minor"), f"{where}.minor"),
        permissions=permissions,
    )


def _mount(value: object, where: str) -> CdiMount:
    fields = _fields(
        value, where, required=("hostPath", "containerPath"), optional=("options", "type")
    )
    options = _list(_given(fields, "options", []), f"{where}.options")
    return CdiMount(
        host_path=_path(fields["hostPath"], f"{where}.hostPath"),
        container_path=_path(fields["containerPath"], f"{where}.containerPath"),
        options=tuple(_text(option, f"{where}.options") for option in options),
        kind=_text(_given(fields, "type", "bind"), f"{where}.type"),
    )


def _each(
    fields: Mapping[str, Any], name: str, where: str, read: Callable[[object, str], _T]
) -> tuple[_T, ...]:
    items = _list(_given(fields, name, []), f"{where}.{name}")
    return tuple(read(item, f"{where}.{name}[{number}]") for number, item in enumerate(items))


def _fields(
    value: object, where: str, *, required: Iterable[str] = (), optional: Iterable[str] = ()
) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise CdiRefused(f"{where} is not a mapping")
    names = set(value)
    missing = [name for name in required if name not in names]
    unknown = sorted(str(name)[:40] for name in names - set(required) - set(optional))
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise CdiRefused(f"{where} {what}")
    return value


def _given(fields: Mapping[str, Any], name: str, default: object) -> Any:
    """Return a field, or what stands for it where it is missing or null."""
    value = fields.get(name)
    return default if value is None else value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > LIST_MAX:
        raise CdiRefused(f"{where} is not a list of at most {LIST_MAX}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS_MAX or not value.isprintable():
        raise CdiRefused(f"{where} is not a printable text")
    return value


def _path(value: object, where: str) -> str:
    """Return an absolute path that means what it says: no "..", no "//", nothing to normalise."""
    path = _text(value, where)
    parts = path.split("/")
    if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") for part in parts[1:]):
        raise CdiRefused(f"{where} {path[:80]!r} is not an absolute path without dots")
    return path


def _number(value: object, where: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 20:
        raise CdiRefused(f"{where} is not a device number")
    return value
