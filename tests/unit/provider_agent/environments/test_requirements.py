"""Wheels become a virtual environment, without running anything of theirs."""

import sys
from pathlib import Path

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.environments.building import requirements
from assay_provider.environments.building.merged import Merged
from assay_provider.environments.building.requirements import (
    Target,
    download_wheels,
    packages_tree,
)
from assay_provider.environments.building.tree import Tree
from tests.builders.wheels import write_wheel

TARGET = Target(program="usr/local/bin/python3.11", version="3.11")
SITE = "opt/environment/lib/python3.11/site-packages"


def content(tree: Tree, path: str) -> bytes:
    opener = tree.nodes[path].open
    assert opener is not None
    with opener() as file:
        return file.read()


def test_a_wheel_is_spread_as_its_specification_says(tmp_path: Path) -> None:
    wheel = write_wheel(
        tmp_path,
        "pkg",
        {
            "pkg/__init__.py": b"x = 1\n",
            "pkg-1.0.data/scripts/old": b"#!python\nprint(1)\n",
            "pkg-1.0.data/scripts/shell": b"#!/bin/sh\n",
            "pkg-1.0.data/purelib/pure.py": b"pure\n",
            "pkg-1.0.data/headers/pkg.h": b"int x;\n",
            "pkg-1.0.data/data/share/pkg/data": b"data\n",
            "pkg-1.0.dist-info/entry_points.txt": (
                b"[console_scripts]\ntool = pkg.cli:main\nNested = pkg:Class.run [extra]\n"
                b"../evil = pkg:main\nodd = pkg:main(); import os\n"
                b"[gui_scripts]\nwindow = pkg:main\n"
            ),
        },
    )
    tree = packages_tree([wheel], TARGET)
    assert content(tree, f"{SITE}/pkg/__init__.py") == b"x = 1\n"
    assert content(tree, f"{SITE}/pure.py") == b"pure\n"
    assert content(tree, f"{SITE}/pkg-1.0.dist-info/INSTALLER") == b"assay\n"
    assert content(tree, "opt/environment/include/site/python3.11/pkg/pkg.h") == b"int x;\n"
    assert content(tree, "opt/environment/share/pkg/data") == b"data\n"
    scripts = {path for path in tree.nodes if path.startswith("opt/environment/bin/")}
    names = {path.rpartition("/")[2] for path in scripts}
    assert names == {"Nested", "old", "python", "python3", "python3.11", "shell", "tool"}
    old = content(tree, "opt/environment/bin/old")
    assert old == b"#!/opt/environment/bin/python\nprint(1)\n"
    assert content(tree, "opt/environment/bin/shell") == b"#!/bin/sh\n"
    assert content(tree, "opt/environment/bin/tool").decode().splitlines() == [
        "#!/opt/environment/bin/python",
        "import sys",
        "from pkg.cli import main",
        "sys.exit(main())",
    ]
    assert b"import Class\nsys.exit(Class.run())" in content(tree, "opt/environment/bin/Nested")
    assert tree.nodes["opt/environment/bin/tool"].executable
    link = tree.nodes["opt/environment/bin/python"]
    assert link.target == "../../../usr/local/bin/python3.11"
    assert b"home = /usr/local/bin\n" in content(tree, "opt/environment/pyvenv.cfg")


def test_a_later_wheel_wins_and_nothing_is_compiled(tmp_path: Path) -> None:
    wheels = [
        write_wheel(tmp_path, "a", {"tests/__init__.py": b"a", "a.py": b""}),
        write_wheel(tmp_path, "b", {"tests/__init__.py": b"b"}),
    ]
    tree = packages_tree(wheels, TARGET)
    assert content(tree, f"{SITE}/tests/__init__.py") == b"b"
    assert not [path for path in tree.nodes if path.endswith(".pyc") or "__pycache__" in path]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"../outside.py": b""}, "cannot be in an environment"),
        ({"pkg-1.0.data/scripts/../../../x": b""}, "cannot be in an environment"),
        ({"pkg-1.0.data/nonsense/x": b""}, "pkg-1.0-py3-none-any.whl is not a wheel"),
        ({"other-2.dist-info/WHEEL": b""}, "2 .dist-info folders"),
        ({"pkg-1.0.dist-info/entry_points.txt": b"nonsense"}, "is not a wheel"),
        ({"pkg-1.0.dist-info/entry_points.txt": b"\xff"}, "is not a wheel"),
    ],
)
def test_what_is_no_wheel(tmp_path: Path, files: dict[str, bytes], reason: str) -> None:
    wheel = write_wheel(tmp_path, "pkg", files)
    with pytest.raises(LocalError, match=reason):
        packages_tree([wheel], TARGET)


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    wheel = tmp_path / "x-1.0-py3-none-any.whl"
    wheel.write_bytes(b"nonsense")
    with pytest.raises(LocalError, match="is not a wheel"):
        packages_tree([wheel], TARGET)


async def test_pip_chooses_what_the_file_asks_for(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "index", "pkg", {"pkg.py": b""})
    asked = tmp_path / "requirements.txt"
    asked.write_text(f"--no-index\n--find-links {wheel.parent}\npkg\n")
    (tmp_path / "wheels").mkdir()
    found = await download_wheels(asked, sys.executable, TARGET, tmp_path / "wheels")
    assert [path.name for path in found] == [wheel.name]
    asked.write_text(f"--no-index\n--find-links {wheel.parent}\npkg==2\n")
    with pytest.raises(LocalError, match=r"No matching distribution found for pkg==2 \(a package"):
        await download_wheels(asked, sys.executable, TARGET, tmp_path / "wheels")


def test_wheels_for_another_base_are_those_its_c_library_runs() -> None:
    target = Target(program="usr/bin/python3.13", version="3.13", glibc="2.17", machine="aarch64")
    options = requirements._platform_options(target)
    assert options[:4] == ["--python-version", "3.13", "--implementation", "cp"]
    platforms = options[5::2]
    assert platforms[0] == "manylinux_2_17_aarch64"
    assert platforms[-1] == "linux_aarch64"
    assert "manylinux_2_18_aarch64" not in platforms
    assert "manylinux2014_aarch64" in platforms
    assert requirements._platform_options(TARGET) == []


def a_root(**files: bytes) -> Merged:
    tree = Tree()
    for path, data in files.items():
        tree.add_bytes(path, data)
    merged = Merged()
    merged.apply(tree)
    return merged


def test_the_python_of_a_base_is_found_where_the_path_looks_first() -> None:
    tree = Tree()
    for path in ("usr/bin/python3.9", "usr/bin/python3.10", "opt/py/python3.12", "usr/bin/python3"):
        tree.add_bytes(path, b"")
    tree.add_link("usr/local/bin", "/opt/py")
    merged = Merged()
    merged.apply(tree)
    assert merged.find_python(None, "/bin:/usr/bin") == ("usr/bin/python3.10", "3.10")
    assert merged.find_python(None, "/usr/local/bin:/usr/bin") == ("opt/py/python3.12", "3.12")
    assert merged.find_python("3.9", "/usr/local/bin:/usr/bin") == ("usr/bin/python3.9", "3.9")
    assert merged.find_python("3.13", "/usr/local/bin:/usr/bin") is None


def test_links_in_a_circle_are_a_sentence() -> None:
    tree = Tree()
    tree.add_link("bin", "sbin")
    tree.add_link("sbin", "bin")
    merged = Merged()
    merged.apply(tree)
    with pytest.raises(LocalError, match="lead in a circle"):
        merged.find_python(None, "/bin")


def test_the_c_library_tells_its_version() -> None:
    text = b"\0GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\nCopyright"
    assert a_root(**{"usr/lib/libc.so.6": text}).glibc() == "2.36"
    assert a_root(**{"usr/lib/libc.so.6": b"musl libc"}).glibc() is None
    assert a_root(**{"usr/lib/other": text}).glibc() is None
