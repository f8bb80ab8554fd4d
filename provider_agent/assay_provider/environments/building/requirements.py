"""The layer that a requirements file makes: its wheels, unpacked into a virtual environment.

pip chooses and fetches; it installs nothing, because what it would write depends on where and when
it does. Wheels are unpacked here as PEP 427 says, which runs none of their code.
"""

import asyncio
import configparser
import io
import posixpath
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from assay_node.protocol.errors import LocalError
from assay_provider.environments.building.tree import Tree, inner_path

FOLDER_INSIDE: Final = "opt/environment"
"""A virtual environment above the base's Python; its programs come first in the PATH."""

_COMPLAINT_CHARACTERS_MAX: Final = 600
_ENTRY_POINT: Final = re.compile(r"\s*([\w.]+)\s*:\s*([\w.]+)\s*(?:\[.*\])?\s*")
_SCRIPT_NAME: Final = re.compile(r"[\w.-]+")
_SCRIPT: Final = """\
#!/{folder}/bin/python
import sys
from {module} import {top}
sys.exit({function}())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The Python that packages are for: its program's path inside, and its version.

    For a base that is not this machine's, `glibc` and `machine` say which wheels fit; None means
    those that the Python takes which fetches them.
    """

    program: str
    version: str
    glibc: str | None = None
    machine: str = ""


async def download_wheels(
    requirements: Path, python: str, target: Target, into: Path
) -> list[Path]:
    """Have pip choose and fetch the wheels of a requirements file; return them by name.

    Raises:
        LocalError: pip is missing, or says that it cannot; its own last words say why.
    """
    command = [
        *(python, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"),
        *("--no-input", "--only-binary=:all:", "--dest", str(into)),
        *_platform_options(target),
        *("--requirement", str(requirements)),
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise LocalError(
            f"pip cannot fetch wheels for {requirements.name}: {_last_words(said)} (a package "
            "without a wheel: make one with `pip wheel` and name its file in the requirements)"
        )
    return await asyncio.to_thread(lambda: sorted(into.iterdir(), key=lambda path: path.name))


def packages_tree(wheels: Sequence[Path], target: Target) -> Tree:
    """Return the layer with these wheels in a virtual environment.

    Where two wheels have one path, the later name wins, as with pip.

    Raises:
        LocalError: a wheel is malformed.
    """
    tree = Tree()
    depth = FOLDER_INSIDE.count("/") + 2
    for name in ("python", "python3", f"python{target.version}"):
        tree.add_link(f"{FOLDER_INSIDE}/bin/{name}", "../" * depth + target.program)
    home = posixpath.dirname(target.program)
    text = f"home = /{home}\ninclude-system-site-packages = true\nversion = {target.version}\n"
    tree.add_bytes(f"{FOLDER_INSIDE}/pyvenv.cfg", text.encode())
    tree.add_folder(f"{FOLDER_INSIDE}/lib/python{target.version}/site-packages")
    for wheel in wheels:
        try:
            _add_wheel(tree, wheel, target)
        except (zipfile.BadZipFile, configparser.Error, UnicodeDecodeError, KeyError) as error:
            raise LocalError(f"{wheel.name} is not a wheel: {error}") from None
    return tree


def _add_wheel(tree: Tree, wheel: Path, target: Target) -> None:
    library = f"{FOLDER_INSIDE}/lib/python{target.version}/site-packages"
    include = f"{FOLDER_INSIDE}/include/site/python{target.version}"
    # Open as long as the tree: its files are read when the layer is written, and reading the table
    # of a wheel with thousands of files for each of them takes minutes.
    archive = zipfile.ZipFile(wheel)
    folder = _information_folder(archive, wheel)
    data = folder.removesuffix(".dist-info") + ".data"
    places = {
        "purelib": library,
        "platlib": library,
        "headers": f"{include}/{folder.split('-')[0]}",
        "scripts": f"{FOLDER_INSIDE}/bin",
        "data": FOLDER_INSIDE,
    }
    for info in archive.infolist():
        path = inner_path(info.filename)
        if info.is_dir() or not path:
            continue
        top, _, rest = path.partition("/")
        if top != data:
            _add_member(tree, f"{library}/{path}", archive, info)
            continue
        scheme, _, rest = rest.partition("/")
        if scheme == "scripts":
            _add_script(tree, f"{places[scheme]}/{rest}", archive.read(info))
        else:
            _add_member(tree, f"{places[scheme]}/{rest}", archive, info)
    tree.add_bytes(f"{library}/{folder}/INSTALLER", b"assay\n")
    if f"{folder}/entry_points.txt" in archive.namelist():
        _add_entry_points(tree, archive.read(f"{folder}/entry_points.txt").decode())


def _information_folder(archive: zipfile.ZipFile, wheel: Path) -> str:
    tops = {name.split("/", 1)[0] for name in archive.namelist()}
    found = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(found) != 1:
        raise LocalError(f"{wheel.name} is not a wheel: it has {len(found)} .dist-info folders")
    return found[0]


def _add_member(tree: Tree, path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    executable = bool(info.external_attr >> 16 & 0o111)

    def content() -> BinaryIO:
        return cast("BinaryIO", archive.open(info))

    tree.add_file(path, size=info.file_size, content=content, executable=executable)


def _add_script(tree: Tree, path: str, text: bytes) -> None:
    first, newline, rest = text.partition(b"\n")
    if first.startswith(b"#!python"):
        text = f"#!/{FOLDER_INSIDE}/bin/python".encode() + newline + rest
    tree.add_bytes(path, text, executable=True)


def _add_entry_points(tree: Tree, text: str) -> None:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # names keep their case
    parser.read_file(io.StringIO(text))
    if not parser.has_section("console_scripts"):
        return
    for name, reference in parser.items("console_scripts"):
        match = _ENTRY_POINT.fullmatch(reference)
        if match is None or not _SCRIPT_NAME.fullmatch(name):
            continue
        module, function = match.groups()
        script = _SCRIPT.format(
            folder=FOLDER_INSIDE, module=module, top=function.split(".")[0], function=function
        )
        tree.add_bytes(f"{FOLDER_INSIDE}/bin/{name}", script.encode(), executable=True)


def _platform_options(target: Target) -> list[str]:
    """Return which wheels fit a Python that is not the one which runs pip (PEP 425, PEP 600)."""
    if target.glibc is None:
        return []
    minor = int(target.glibc.split(".")[1])
    platforms = [f"manylinux_2_{n}_{target.machine}" for n in range(minor, 4, -1)]
    platforms += [f"manylinux{old}_{target.machine}" for old in ("2014", "2010", "1")]
    options = ["--python-version", target.version, "--implementation", "cp"]
    for platform in (*platforms, f"linux_{target.machine}"):
        options += ["--platform", platform]
    return options


def _last_words(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    text = "; ".join(errors or lines)[-_COMPLAINT_CHARACTERS_MAX:]
    return "".join(c if c.isprintable() else " " for c in text) or "it says nothing"
