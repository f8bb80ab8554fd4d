"""T0 with real wasmtime: what a module may do, and how each of its ends is called."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.protocol.units import KIB, MIB
from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.sandbox import Grade, RunRequest, RunResult, Verdict
from assay_provider.runtime.tiers import wasm
from assay_provider.runtime.wasm_self_test import module_text
from assay_provider.runtime.wasm_tier import WasmSandbox
from tests.integration.sandbox.conftest import needs_root
from tests.integration.sandbox.traces import (
    cgroup_folders,
    host_mounts,
    processes_of,
    sandbox_processes,
    until,
)

pytestmark = pytest.mark.usefixtures("has_cgroups")

IMPORTS = """
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
"""

RunModule = Callable[..., Awaitable[RunResult]]


@pytest.fixture
def tier() -> str:
    """In the place of those that run native programs."""
    return "t0"


@pytest.fixture
def modules(sandbox: BubblewrapSandbox) -> WasmSandbox:
    found = wasm(sandbox)
    if not isinstance(found, WasmSandbox):
        pytest.skip(f"no T0 here: {found}")
    return found


@pytest.fixture
def module(modules: WasmSandbox, make_request: Callable[..., RunRequest]) -> RunModule:
    """Run a module in the text format in slot 0."""

    async def run(text: bytes | str, *words: str, **options: float) -> RunResult:
        request = make_request("/input/m.wat", *words, **options)
        data = text.encode() if isinstance(text, str) else text
        (request.input_directory / "m.wat").write_bytes(data)
        return await modules.run(replace(request, runtime="wasm"), 0)

    return run


def _program(body: str, more: str = "", memory: str = '(memory (export "memory") 1)') -> str:
    return f'(module {IMPORTS} {memory} {more} (func (export "_start") {body}))'


async def test_the_self_test_finds_every_promise_kept(modules: WasmSandbox) -> None:
    (report,) = await modules.self_test()

    assert report.failures == ()
    assert (report.tier, report.grade) == ("t0", Grade.ENFORCED)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", 0),
        ("(call $exit (i32.const 0))", 0),
        ("(call $exit (i32.const 3))", 3),
        ("(call $exit (i32.const 1000))", 255),
        ("unreachable", 134),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", 134),
        ("(drop (i32.load (i32.const 65536)))", 134),
        ("(drop (i64.load offset=4294967295 (i32.const -1)))", 134),
    ],
)
async def test_exit_codes_arrive(module: RunModule, body: str, code: int) -> None:
    result = await module(_program(body))

    assert result.exit_code == code, result
    assert result.verdict is (Verdict.ERROR if code else Verdict.OK)


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("(module)", 126, "_start"),
        (b"\0asm\1\0\0\0\xff", 126, "no module"),
        (b"\xff\xfe", 126, "no module"),
        (b"", 126, "no module"),
        ('(module (import "env" "x" (func)) (func (export "_start")))', 126, "'env' 'x'"),
        (module_text("threads"), 126, "no module"),
        (module_text("relaxed"), 126, "no module"),
        ('(module (memory i64 1) (func (export "_start")))', 126, "no module"),
    ],
)
async def test_what_is_no_program_is_the_jobs_error(
    module: RunModule, text: bytes | str, code: int, said: str
) -> None:
    result = await module(text)

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, code)
    assert said in result.log_tail.decode()


@pytest.mark.parametrize("name", ["m.wat", "/usr/bin/true", "/input/none", "/input/../etc/passwd"])
async def test_the_module_lies_below_input(
    modules: WasmSandbox, make_request: Callable[..., RunRequest], name: str
) -> None:
    request = replace(make_request(name), runtime="wasm")
    result = await modules.run(request, 0)

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 127)


async def test_endless_recursion_is_an_error_and_harms_nothing(module: RunModule) -> None:
    result = await module(_program("(call $f)", "(func $f (call $f))"))

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 134)
    assert b"stack" in result.log_tail


async def test_memory_that_was_refused_explains_a_failure_and_only_that(module: RunModule) -> None:
    grow = "(drop (memory.grow (i32.const 8000)))"
    failed = await module(_program(f"{grow} unreachable"))
    coped = await module(_program(grow))
    large = await module(_program("", memory='(memory (export "memory") 8000)'))

    assert failed.verdict is Verdict.OUT_OF_MEMORY
    assert coped.verdict is Verdict.OK
    assert large.verdict is Verdict.OUT_OF_MEMORY


async def test_all_of_the_memory_that_was_ordered_can_be_used(module: RunModule) -> None:
    touch = """
      (local $at i32)
      (if (i32.eq (memory.grow (i32.const 4095)) (i32.const -1)) (then unreachable))
      (loop $each
        (i32.store8 (local.get $at) (i32.const 1))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $each (i32.lt_u (local.get $at) (i32.const 268435456))))"""
    result = await module(_program(touch), memory_bytes=256 * MIB)

    assert result.verdict is Verdict.OK, result
    assert result.memory_peak_bytes > 256 * MIB


async def test_too_many_instructions_end_as_too_much_time_does(module: RunModule) -> None:
    """A sleep passes at once, and the clock that it moves is not the wall's."""
    sleeping = """
      (i64.store (i32.const 24) (i64.const 9000000000000000))
      (drop (call $poll (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))"""
    poll = """(import "wasi_snapshot_preview1" "poll_oneoff"
        (func $poll (param i32 i32 i32 i32) (result i32)))"""
    slept = await module(
        f'(module {poll} (memory (export "memory") 1) (func (export "_start") {sleeping}))',
        wall_seconds=20,
    )
    assert slept.verdict is Verdict.OK, slept
    looped = await module(module_text("loop"), wall_seconds=1)
    assert looped.verdict is Verdict.TIMEOUT
    assert looped.exit_code is None


async def test_output_is_counted_to_the_byte(module: RunModule) -> None:
    def writing(size: int) -> str:
        return _program(
            f"""
            (if (call $open (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 1)
                  (i64.const 64) (i64.const 64) (i32.const 0) (i32.const 8)) (then unreachable))
            (i32.store (i32.const 16) (i32.const 1024))
            (i32.store (i32.const 20) (i32.const {size}))
            (if (call $write (i32.load (i32.const 8)) (i32.const 16) (i32.const 1) (i32.const 24))
              (then unreachable))""",
            '(data (i32.const 0) "x")',
        )

    exactly = await module(writing(10 * KIB), output_bytes=10 * KIB)
    assert exactly.verdict is Verdict.OK, exactly
    over = await module(writing(10 * KIB + 1), output_bytes=10 * KIB)
    assert over.verdict is Verdict.OUTPUT_TOO_LARGE
    far_over = await module(writing(60 * KIB), output_bytes=10 * KIB, output_files_max=1)
    assert far_over.verdict is Verdict.OUTPUT_TOO_LARGE


async def test_the_log_is_what_it_printed(module: RunModule) -> None:
    result = await module(
        _program(
            """(i32.store (i32.const 8) (i32.const 100)) (i32.store (i32.const 12) (i32.const 6))
            (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))""",
            '(data (i32.const 100) "hello\\n")',
        )
    )

    assert result.log_tail == b"hello\n"


OPENING = """
  (func (export "_start") (local $fd i32)
    (local.set $fd (i32.const 3))
    (loop $each
      (if (i32.eqz (call $open (local.get $fd) (i32.const 1) (i32.const 16) (i32.const SIZE)
            (i32.const 0) (i64.const 2) (i64.const 2) (i32.const 0) (i32.const 0)))
        (then (call $exit (local.get $fd))))
      (local.set $fd (i32.add (local.get $fd) (i32.const 1)))
      (br_if $each (i32.lt_u (local.get $fd) (i32.const 16)))))
"""


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../etc/passwd", "../../../../etc/shadow", "./../proc/1/environ"),
        *("/proc/self/environ", "/proc/1/mem", "../sys/kernel/notes", "/dev/null", "../dev/mem"),
        *("../output/../proc/version", "../input/greeting", "../tmp", "/run/docker.sock"),
        *("../opt/wasm/wasmtime", "/opt/environment/bin/python", "../usr/bin/env", "../root/.ssh"),
    ],
)
async def test_no_path_leads_out(module: RunModule, path: str) -> None:
    opening = OPENING.replace("SIZE", str(len(path)))
    result = await module(
        f'(module {IMPORTS} (memory (export "memory") 1) (data (i32.const 16) "{path}") {opening})'
    )

    assert result.verdict is Verdict.OK, result


async def test_a_link_in_the_input_leads_nowhere(
    modules: WasmSandbox, make_request: Callable[..., RunRequest]
) -> None:
    request = replace(make_request("/input/m.wat"), runtime="wasm")
    (request.input_directory / "link").symlink_to("/etc/passwd")
    (request.input_directory / "m.wat").symlink_to("/etc/passwd")
    result = await modules.run(request, 0)

    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 127)


async def test_a_flood_of_log_is_drained_and_its_end_kept(module: RunModule) -> None:
    result = await module(
        _program(
            """(local $n i32)
            (i32.store (i32.const 8) (i32.const 65536)) (i32.store (i32.const 12) (i32.const 65536))
            (loop $each
              (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))
              (local.set $n (i32.add (local.get $n) (i32.const 1)))
              (br_if $each (i32.lt_u (local.get $n) (i32.const 3200))))
            (i32.store (i32.const 8) (i32.const 100)) (i32.store (i32.const 12) (i32.const 4))
            (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0)))""",
            '(data (i32.const 100) "end\\n")',
            memory='(memory (export "memory") 3)',
        ),
        log_bytes=1000,
    )

    assert result.verdict is Verdict.OK, result
    assert result.log_tail == bytes(996) + b"end\n"


async def test_kills_at_any_moment_leave_nothing(
    modules: WasmSandbox, sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    mounts = host_mounts()
    for number in range(20):
        request = replace(make_request("/input/m.wat"), runtime="wasm")
        (request.input_directory / "m.wat").write_bytes(module_text("loop"))
        running = asyncio.ensure_future(modules.run(request, 0))
        await asyncio.sleep(0.02 * number)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        left = [path.name for path in request.output_directory.parent.iterdir()]
        assert sorted(left) == ["input", "output"]

    await until(lambda: not sandbox_processes(sandbox))
    assert cgroup_folders(sandbox.settings.instance) == []
    assert host_mounts() == mounts


@needs_root
async def test_a_module_runs_under_its_slots_uid_and_in_its_cgroup(
    modules: WasmSandbox, sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]
) -> None:
    request = replace(make_request("/input/m.wat"), runtime="wasm")
    (request.input_directory / "m.wat").write_bytes(module_text("loop"))
    running = asyncio.ensure_future(modules.run(request, 5))
    await until(lambda: len(processes_of(sandbox.host_uid(5))) == 3)
    inside = {pid for f in cgroup_folders(sandbox.settings.instance) for pid in _members(f)}
    processes = set(processes_of(sandbox.host_uid(5)))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert processes <= inside


def _members(folder: Path) -> list[int]:
    return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
