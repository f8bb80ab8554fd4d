"""WASI preview 1 as a module meets it, on a memory that is a row of bytes."""

import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from assay_provider.runtime.wasm.clock import BIRTH_NS, INSTRUCTIONS_PER_SECOND, Clock
from assay_provider.runtime.wasm.descriptors import OPEN_MAX
from assay_provider.runtime.wasm.errno import Errno, WasiError
from assay_provider.runtime.wasm.file_tree import InputEntry, MemoryTree, Quota
from assay_provider.runtime.wasm.preview1 import (
    SIGNATURES,
    SUBSCRIPTIONS_MAX,
    Exited,
    Preview1,
    preopened,
)

READ, WRITE = 2, 64
CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE = 1, 2, 4, 8
INPUT, OUTPUT, TMP = 3, 4, 5
RESULT, PATH, DATA = 0, 1000, 2000


class Bytes:
    """A memory of 64 KiB."""

    def __init__(self) -> None:
        self.data = bytearray(1 << 16)

    def view(self, address: int, size: int) -> memoryview:
        if address + size > len(self.data):
            raise WasiError(Errno.FAULT)
        return memoryview(self.data)[address : address + size]

    def store(self, address: int, data: bytes) -> None:
        self.view(address, len(data))[:] = data


class Module:
    """Calls what a module would call."""

    def __init__(self, source: Path, arguments: Sequence[bytes] = (b"m",)) -> None:
        self.memory = Bytes()
        self.instructions = 0
        trees = [
            MemoryTree(device=number, quota=Quota(bytes_left=1000, entries_left=10))
            for number in (2, 3)
        ]
        output, tmp = (tree.root() for tree in trees)
        entry = InputEntry(path=str(source), relative="", is_directory=True, size=0)
        self.world = Preview1(
            memory=self.memory,
            arguments=arguments,
            variables=[b"A=b"],
            clock=Clock(instructions=lambda: self.instructions),
            descriptors=preopened(((b"/input", entry), (b"/output", output), (b"/tmp", tmp))),
        )

    def put(self, text: bytes, at: int = PATH) -> tuple[int, int]:
        self.memory.store(at, text)
        return at, len(text)

    def open(self, directory: int, path: bytes, how: int = 0, rights: int = READ) -> int:
        self.world.path_open(directory, 0, *self.put(path), how, rights, rights, 0, RESULT)
        return self.u32()

    def vector(self, *spans: tuple[int, int]) -> tuple[int, int]:
        self.memory.store(100, b"".join(struct.pack("<II", *span) for span in spans))
        return 100, len(spans)

    def write(self, fd: int, data: bytes) -> int:
        self.world.fd_write(fd, *self.vector(self.put(data, DATA)), RESULT)
        return self.u32()

    def read(self, fd: int, size: int) -> bytes:
        self.world.fd_read(fd, *self.vector((DATA, size)), RESULT)
        return bytes(self.memory.view(DATA, self.u32()))

    def u32(self, at: int = RESULT) -> int:
        return int(struct.unpack("<I", self.memory.view(at, 4))[0])

    def u64(self, at: int = RESULT) -> int:
        return int(struct.unpack("<Q", self.memory.view(at, 8))[0])


@pytest.fixture
def module(tmp_path: Path) -> Module:
    (tmp_path / "greeting").write_bytes(b"hello")
    (tmp_path / "folder").mkdir()
    return Module(tmp_path)


def refused(errno: Errno) -> "pytest.RaisesExc[WasiError]":
    return pytest.raises(WasiError, match=f"^{errno.name}$")


def test_every_function_of_the_table_is_there() -> None:
    assert len(SIGNATURES) == 46
    assert all(callable(getattr(Preview1, name)) for name in SIGNATURES)


def test_arguments_and_variables_come_in(tmp_path: Path) -> None:
    module = Module(tmp_path, arguments=(b"one", b"", b"\xc3\xa9"))
    module.world.args_sizes_get(0, 4)
    assert (module.u32(0), module.u32(4)) == (3, 4 + 1 + 3)
    module.world.args_get(0, 64)
    assert [module.u32(4 * n) for n in range(3)] == [64, 68, 69]
    assert bytes(module.memory.view(64, 8)) == b"one\0\0\xc3\xa9\0"
    module.world.environ_get(0, 64)
    assert bytes(module.memory.view(64, 4)) == b"A=b\0"


def test_what_was_written_is_read_again(module: Module) -> None:
    fd = module.open(OUTPUT, b"x", CREATE, READ | WRITE)
    assert (fd, module.write(fd, b"hello "), module.write(fd, b"world")) == (6, 6, 5)
    module.world.fd_seek(fd, (1 << 64) - 5, 1, RESULT)
    assert (module.u64(), module.read(fd, 100)) == (6, b"world")
    assert module.read(fd, 100) == b""
    module.world.fd_pread(fd, *module.vector((DATA, 2), (DATA + 50, 3)), 1, RESULT)
    assert module.u32() == 5
    assert bytes(module.memory.view(DATA, 2)) == b"el"
    assert bytes(module.memory.view(DATA + 50, 3)) == b"lo "
    module.world.fd_fdstat_set_flags(fd, 1)
    module.world.fd_seek(fd, 0, 0, RESULT)
    module.write(fd, b"!")
    module.world.fd_tell(fd, RESULT)
    assert module.u64() == 12


def test_input_is_read_and_never_written(module: Module) -> None:
    assert module.read(module.open(INPUT, b"greeting"), 100) == b"hello"
    for path, how, rights in (
        (b"greeting", 0, WRITE),
        (b"greeting", TRUNCATE, READ),
        (b"new", CREATE, READ | WRITE),
    ):
        with refused(Errno.ROFS):
            module.open(INPUT, path, how, rights)
    with refused(Errno.ROFS):
        module.world.path_create_directory(INPUT, *module.put(b"new"))
    with refused(Errno.ROFS):
        module.world.path_unlink_file(INPUT, *module.put(b"greeting"))
    with refused(Errno.ROFS):
        module.world.path_rename(INPUT, *module.put(b"greeting"), TMP, *module.put(b"x", 1500))
    with refused(Errno.ROFS):
        module.world.path_filestat_set_times(INPUT, 0, *module.put(b"greeting"), 0, 5, 4)


@pytest.mark.parametrize(
    ("directory", "path", "how", "rights", "errno"),
    [
        (OUTPUT, b"none", 0, READ, Errno.NOENT),
        (OUTPUT, b"../x", CREATE, WRITE, Errno.NOTCAPABLE),
        (OUTPUT, b"x/", CREATE, WRITE, Errno.ISDIR),
        (INPUT, b"greeting", CREATE | EXCLUSIVE, READ, Errno.EXIST),
        (INPUT, b"greeting", DIRECTORY, READ, Errno.NOTDIR),
        (INPUT, b"folder", 0, WRITE, Errno.ISDIR),
        (INPUT, b"greeting", 64, READ, Errno.INVAL),
        (9, b"x", 0, READ, Errno.BADF),
        (1, b"x", 0, READ, Errno.NOTDIR),
    ],
)
def test_what_cannot_be_opened_says_why(
    module: Module, directory: int, path: bytes, how: int, rights: int, errno: Errno
) -> None:
    with refused(errno):
        module.open(directory, path, how, rights)


def test_a_descriptor_does_what_it_was_opened_for(module: Module) -> None:
    writes = module.open(TMP, b"x", CREATE, WRITE)
    reads = module.open(TMP, b"x", 0, READ)
    with refused(Errno.BADF):
        module.read(writes, 1)
    with refused(Errno.BADF):
        module.write(reads, b"x")
    with refused(Errno.BADF):
        module.world.fd_filestat_set_size(reads, 1)
    with refused(Errno.NOTCAPABLE):
        module.world.fd_fdstat_set_rights(reads, READ | WRITE, 0)
    with refused(Errno.ISDIR):
        module.read(TMP, 1)
    with refused(Errno.BADF):
        module.read(1, 1)
    with refused(Errno.BADF):
        module.write(0, b"x")


def test_the_standard_streams_are_the_log_and_an_empty_file(
    module: Module, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (module.read(0, 10), module.write(1, b"out"), module.write(2, b"err")) == (b"", 3, 3)
    assert capfd.readouterr() == ("out", "err")
    with refused(Errno.SPIPE):
        module.world.fd_seek(1, 0, 0, RESULT)


def test_descriptors_are_bounded_and_used_again(module: Module) -> None:
    for number in range(6, OPEN_MAX):
        assert module.open(INPUT, b"folder", DIRECTORY) == number
    with refused(Errno.MFILE):
        module.open(INPUT, b"folder", DIRECTORY)
    with refused(Errno.MFILE):
        module.open(INPUT, b"greeting")
    module.world.fd_close(8)
    assert module.open(INPUT, b"greeting") == 8


def test_no_descriptor_of_ours_stays_open(module: Module) -> None:
    def ours() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = ours()
    for _ in range(5):
        module.world.fd_close(module.open(INPUT, b"greeting"))
    module.world.fd_renumber(module.open(INPUT, b"greeting"), 0)
    module.world.fd_close(0)
    assert ours() == before


def test_directories_are_listed_in_pieces_and_as_they_were(module: Module) -> None:
    for name in (b"b", b"a", b"c"):
        module.world.fd_close(module.open(TMP, name, CREATE, WRITE))
    names: list[bytes] = []
    cookie = 0
    while True:
        module.world.fd_readdir(TMP, DATA, 40, cookie, RESULT)
        used = module.u32()
        entry = bytes(module.memory.view(DATA, 40))
        cookie, _, size, _ = struct.unpack_from("<QQIB", entry)
        names.append(entry[24 : 24 + size])
        if names[-1] not in (b".", b".."):
            module.world.path_unlink_file(TMP, *module.put(names[-1]))
        if used < 40:
            break
    assert names == [b".", b"..", b"a", b"b", b"c"]
    with refused(Errno.INVAL):
        module.world.fd_readdir(TMP, DATA, 40, 99, RESULT)


def test_links_cannot_be_made(module: Module) -> None:
    with refused(Errno.NOTSUP):
        module.world.path_symlink(PATH, 1, TMP, PATH, 1)
    with refused(Errno.NOTSUP):
        module.world.path_link(TMP, 0, PATH, 1, TMP, PATH, 1)


def test_the_clock_goes_with_the_instructions_and_with_sleeping(module: Module) -> None:
    module.world.clock_time_get(0, 0, RESULT)
    assert module.u64() == BIRTH_NS
    module.instructions = 3 * INSTRUCTIONS_PER_SECOND
    module.world.clock_time_get(1, 0, RESULT)
    assert module.u64() == 3 * 10**9
    relative = struct.pack("<QB7xI4xQQH6x", 7, 0, 1, 500, 0, 0)
    absolute = struct.pack("<QB7xI4xQQH6x", 8, 0, 0, BIRTH_NS + 2 * 10**9, 0, 1)
    module.memory.store(3000, relative + absolute)
    module.world.poll_oneoff(3000, 4000, 2, RESULT)
    assert (module.u32(), module.u64(4000)) == (1, 8), "what is overdue comes first"
    module.world.poll_oneoff(3000, 4000, 1, RESULT)
    module.world.clock_time_get(0, 0, RESULT)
    assert module.u64() == BIRTH_NS + 3 * 10**9 + 500
    with refused(Errno.INVAL):
        module.world.clock_time_get(4, 0, RESULT)
    for count in (0, SUBSCRIPTIONS_MAX + 1):
        with refused(Errno.INVAL):
            module.world.poll_oneoff(3000, 4000, count, RESULT)


def test_files_are_always_ready(module: Module) -> None:
    module.memory.store(
        3000, struct.pack("<QB7xI28x", 7, 2, 1) + struct.pack("<QB7xI28x", 8, 1, 99)
    )
    module.world.poll_oneoff(3000, 4000, 2, RESULT)
    assert module.u32() == 2
    events = [struct.unpack_from("<QH", module.memory.view(4000 + 32 * n, 10)) for n in (0, 1)]
    assert events == [(7, Errno.SUCCESS), (8, Errno.BADF)]


def test_randomness_is_the_same_every_time_and_never_repeats(tmp_path: Path) -> None:
    drawn = []
    for _ in range(2):
        module = Module(tmp_path)
        module.world.random_get(0, 32)
        module.world.random_get(32, 32)
        drawn.append(bytes(module.memory.view(0, 64)))
    assert drawn[0] == drawn[1]
    assert drawn[0][:32] != drawn[0][32:]


def test_times_of_files_are_the_modules_own(module: Module) -> None:
    fd = module.open(OUTPUT, b"x", CREATE, WRITE)
    module.instructions = INSTRUCTIONS_PER_SECOND
    module.write(fd, b"x")
    module.world.fd_filestat_get(fd, RESULT)
    assert (module.u64(RESULT + 32), module.u64(RESULT + 48)) == (1, BIRTH_NS + 10**9)
    module.world.fd_filestat_set_times(fd, 0, 77, 4)
    module.world.path_filestat_get(OUTPUT, 0, *module.put(b"x"), RESULT)
    assert module.u64(RESULT + 48) == 77
    module.world.path_filestat_get(INPUT, 0, *module.put(b"greeting"), RESULT)
    assert (module.u64(RESULT), module.u64(RESULT + 48)) == (1, BIRTH_NS)


@pytest.mark.parametrize("address", [(1 << 16) - 3, 0xFFFFFFFF])
def test_pointers_out_of_memory_are_a_fault_of_the_module(module: Module, address: int) -> None:
    calls = {
        "args_sizes_get": (address, 0),
        "random_get": (address, 4),
        "fd_read": (0, address, 1, RESULT),
        "fd_prestat_get": (3, address),
        "clock_time_get": (0, 0, address),
        "path_filestat_get": (3, 0, PATH, 1, address),
        "poll_oneoff": (address, 0, 1, RESULT),
        "fd_readdir": (3, address, 100, 0, RESULT),
    }
    module.put(b".")
    for name, arguments in calls.items():
        with refused(Errno.FAULT):
            getattr(module.world, name)(*arguments)


def test_vectors_are_bounded(module: Module) -> None:
    with refused(Errno.INVAL):
        module.world.fd_write(1, 0, 1025, RESULT)
    fd = module.open(OUTPUT, b"x", CREATE, WRITE)
    with refused(Errno.NOSPC):
        module.world.fd_write(fd, *module.vector((0, 1001)), RESULT)
    with refused(Errno.INVAL):
        module.world.fd_pwrite(fd, *module.vector((0, 1)), 1 << 63, RESULT)
    with refused(Errno.FBIG):
        module.world.fd_pwrite(fd, *module.vector((0, 1)), (1 << 63) - 1, RESULT)
    with refused(Errno.NOSPC):
        module.world.fd_filestat_set_size(fd, 1 << 40)


def test_exiting_ends_it(module: Module) -> None:
    with pytest.raises(Exited) as ended:
        module.world.proc_exit(7)
    assert ended.value.code == 7
