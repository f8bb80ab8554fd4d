"""Vendors' libraries that answer without a GPU, compiled from C."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_library(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile a source beside this file, with definitions, into a library of the given name."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here: vendors' libraries cannot be made up")
    folder = tmp_path_factory.mktemp("libraries")

    def compile_it(source: str, name: str, *definitions: str) -> Path:
        target = folder / name
        if not target.exists():
            path = Path(__file__).parent / source
            command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
            command += [f"-D{definition}" for definition in definitions]
            subprocess.run(
                [*command, f"-Wl,-soname,{name}", "-o", str(target), str(path)], check=True
            )
        return target

    return compile_it
