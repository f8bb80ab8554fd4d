"""The base layer that this machine gives: a Python, its C library, a shell, and nothing else.

What a wheel for Linux may expect of its system is written down (PEP 600), and it is little: the C
and C++ libraries. So a small root runs most of what pip installs, and two people with the same
distribution make the same layer. Whoever needs more brings a base of their own (`--base`).
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError
from assay_provider.environments.building.tree import Tree
from assay_provider.runtime.environment import system_root

PYTHON_HOME: Final = "usr/local"
"""Where the Python lies inside, whatever its prefix on this machine is: it finds its library beside
its program."""

_PROGRAMS: Final = ("env", "sh")
"""What scripts name in their first line."""
_LIBRARIES: Final = (
    "libatomic.so.1",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libgomp.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libstdc++.so.6",
    "libutil.so.1",
    "libz.so.1",
)
"""What wheels may expect (PEP 600 and its predecessors), without graphics; and OpenMP's."""

_LEFT_OUT: Final = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "ensurepip",
        "idlelib",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)
"""Parts of the standard library that no job needs, or that are somebody's packages."""
_LEFT_OUT_PREFIX: Final = "config-"
"""For embedding Python: a static library of 50 MB."""

_PROBE: Final = """
import json, os, platform, sys, sysconfig
base = {"base": sys.base_prefix, "platbase": sys.base_exec_prefix}  # not a virtual environment's
print(json.dumps({
    "program": os.path.realpath(sys.executable),
    "stdlib": sysconfig.get_path("stdlib"),
    "extensions": os.path.join(sysconfig.get_path("platstdlib", vars=base), "lib-dynload"),
    "version": sysconfig.get_python_version(),
    "implementation": sys.implementation.name,
    "machine": platform.machine(),
}))
"""
_TOOL_S: Final = 60
_LOADED: Final = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_CACHED: Final = re.compile(r"^\s*(\S+) \(([^)]*)\) => (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInterpreter:
    """A Python of this machine. `version` is such as 3.11."""

    program: Path
    stdlib: Path
    extensions: Path
    version: str
    machine: str


def find_interpreter(version: str | None, fallback: str) -> HostInterpreter:
    """Return the Python of this version, or the one that is `fallback`.

    Raises:
        LocalError: there is none, or it is not CPython.
    """
    name = fallback if version is None else f"python{version}"
    program = shutil.which(name)
    if program is None:
        raise LocalError(f"{name} is not installed here; install it, or choose another --python")
    said = _output(program, "-I", "-c", _PROBE)
    try:
        found = json.loads(said)
    except ValueError:
        raise LocalError(f"{program} does not say where its library is") from None
    if found["implementation"] != "cpython" or (version and found["version"] != version):
        raise LocalError(f"{program} is {found['implementation']} {found['version']}")
    return HostInterpreter(
        program=Path(found["program"]),
        stdlib=Path(found["stdlib"]),
        extensions=Path(found["extensions"]),
        version=found["version"],
        machine=found["machine"],
    )


def host_base(python: HostInterpreter) -> Tree:
    """Return the base layer with this Python.

    Raises:
        LocalError: a part of it cannot be read.
    """
    tree = Tree()
    for path, target in system_root().links:
        tree.add_link(path.lstrip("/"), target)
    _add_python(tree, python)
    programs = [found for name in _PROGRAMS if (found := shutil.which(name, path="/bin:/usr/bin"))]
    for program in programs:
        tree.add_copy(_inside(Path(program)), Path(program))
    extensions = sorted(str(path) for path in python.extensions.glob("*.so"))
    if not extensions:
        raise LocalError(f"{python.program} has no extension modules in {python.extensions}")
    _add_libraries(tree, [str(python.program), *programs, *extensions])
    locale = Path("/usr/lib/locale/C.utf8")
    for file in sorted(path for path in locale.rglob("*") if path.is_file()):
        tree.add_copy(str(file).lstrip("/"), file)
    return tree


def _add_python(tree: Tree, python: HostInterpreter) -> None:
    name = f"python{python.version}"
    tree.add_copy(f"{PYTHON_HOME}/bin/{name}", python.program)
    for link in ("python3", "python"):
        tree.add_link(f"{PYTHON_HOME}/bin/{link}", name)
    library = f"{PYTHON_HOME}/lib/{name}"
    _add_library_folder(tree, python.stdlib, library)
    for extension in sorted(python.extensions.glob("*.so")):
        tree.add_copy(f"{library}/lib-dynload/{extension.name}", extension)
    tree.add_folder(f"{library}/site-packages")


def _add_library_folder(tree: Tree, folder: Path, inside: str) -> None:
    for path in sorted(folder.iterdir()):
        name = path.name
        if name in _LEFT_OUT or name.startswith(_LEFT_OUT_PREFIX) or name == "lib-dynload":
            continue
        if path.is_dir():
            _add_library_folder(tree, path, f"{inside}/{name}")
        elif path.is_file() and path.suffix not in (".pyc", ".a"):
            tree.add_copy(f"{inside}/{name}", path)


def _add_libraries(tree: Tree, programs: list[str]) -> None:
    """Add what these need to be loaded, all in the folder where the C library is.

    The loader looks there without being told, so libraries from odd places are found as well.
    """
    known = _loader_cache()
    wanted = programs + [known[name] for name in _LIBRARIES if name in known]
    needed = set(_LOADED.findall(_output("ldd", *wanted)))
    needed |= {known[name] for name in _LIBRARIES if name in known}
    c_library = next((path for path in needed if Path(path).name == "libc.so.6"), None)
    if c_library is None:
        raise LocalError(
            "this machine's Python does not use the GNU C library; give a base with --base"
        )
    folder = Path(_inside(Path(c_library))).parent
    for path in sorted(needed):
        name = Path(path).name
        place = _inside(Path(path)) if name.startswith("ld-") else str(folder / name)
        tree.add_copy(place, Path(path))


def _loader_cache() -> dict[str, str]:
    """Return the libraries that the loader knows by their names, the first for this machine."""
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if ldconfig is None:
        raise LocalError("ldconfig is missing: this machine does not use the GNU C library")
    known: dict[str, str] = {}
    for name, kind, path in _CACHED.findall(_output(ldconfig, "-p")):
        if "64" in kind:
            known.setdefault(name, path)
    return known


def _inside(path: Path) -> str:
    """Return a file's own path, with links to its folder followed and its name kept."""
    return str(path.parent.resolve() / path.name).lstrip("/")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TOOL_S, check=False, cwd="/"
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise LocalError(f"{command[0]} does not run: {error}") from None
    # ldd fails if one of many files lacks a library; a Python without Tk is such a case
    if done.returncode != 0 and not done.stdout:
        raise LocalError(f"{command[0]} failed: {done.stderr.strip()[-200:]}")
    return done.stdout
