import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay_provider.gpus.elf import soname
from tests.unit.provider_agent.gpus.conftest import Compile


@pytest.fixture(scope="module")
def library(compile_library: Compile) -> Path:
    return compile_library("fake_rocm.c", "libnamed.so.7")


def test_a_librarys_name_is_read_whatever_its_file_is_called(library: Path, tmp_path: Path) -> None:
    copy = tmp_path / "libother.so.580.159.03"
    copy.write_bytes(library.read_bytes())

    assert soname(copy) == "libnamed.so.7"


def test_what_is_no_library_has_no_name(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("\x7fELF")

    assert soname(text) is None
    assert soname(tmp_path / "missing") is None
    assert soname(tmp_path) is None


def test_a_32_bit_library_has_no_name_here(library: Path, tmp_path: Path) -> None:
    data = bytearray(library.read_bytes())
    data[4] = 1
    (tmp_path / "lib32.so").write_bytes(data)

    assert soname(tmp_path / "lib32.so") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(places=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=20))
def test_a_damaged_library_never_does_more_than_have_no_name(
    library: Path, tmp_path: Path, places: list[tuple[int, int]]
) -> None:
    data = bytearray(library.read_bytes())
    for at, value in places:
        data[at % len(data)] = value
    path = tmp_path / f"damaged-{os.getpid()}.so"
    path.write_bytes(data)

    name = soname(path)
    assert name is None or len(name) <= 255


def test_an_endless_table_is_not_followed(library: Path, tmp_path: Path) -> None:
    data = bytearray(library.read_bytes())
    struct.pack_into("<H", data, 56, 65535)
    (tmp_path / "many.so").write_bytes(data)

    assert soname(tmp_path / "many.so") is None
