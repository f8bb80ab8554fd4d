"""Runs one module, inside the sandbox.

    python -m assay_provider.runtime.wasm.runner LIMITS COUNT WORD... NAME=VALUE...

LIMITS is JSON (`Limits`), COUNT says how many words the command has. The report and the files of
/output are left in the real /output, as `report.json` and `files/`: what the module knows under
these names are files in memory.
"""

import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import wasmtime

from assay_provider.runtime.wasm.clock import INSTRUCTIONS_PER_SECOND, Clock
from assay_provider.runtime.wasm.errno import Errno, WasiError
from assay_provider.runtime.wasm.file_tree import (
    InputEntry,
    MemoryDirectory,
    MemoryFile,
    MemoryTree,
    Quota,
    files_below,
    is_directory,
    resolve,
)
from assay_provider.runtime.wasm.guest_memory import LinearMemory
from assay_provider.runtime.wasm.preview1 import (
    SIGNATURES,
    WITHOUT_RESULT,
    Exited,
    Preview1,
    preopened,
)
from assay_provider.runtime.wasm.task import FILES, REPORT, Limits, Report, Task

MODULE_BYTES_MAX: Final = 64 << 20
"""Compiling takes memory many times the module's size."""
STACK_BYTES: Final = 1 << 20
TABLE_ELEMENTS_MAX: Final = 1 << 20
DEPTH_MAX: Final = 31
"""Entries below each other in /output: one less than is taken over, for they lie in a folder."""

EXIT_CODE_TRAPPED: Final = 134
"""As if by SIGABRT: a trap is how a module aborts."""
EXIT_CODE_NOT_A_PROGRAM: Final = 126
"""What shells report for a file that cannot be executed."""
EXIT_CODE_NOT_FOUND: Final = 127
EXIT_CODE_MAX: Final = 255

WASI: Final = "wasi_snapshot_preview1"


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """What a module finds, and what is left of it afterwards."""

    preview1: Preview1
    memory: LinearMemory
    store: wasmtime.Store
    output: MemoryDirectory
    scratch: MemoryDirectory
    fuel: int

    def instructions(self) -> int:
        return self.fuel - self.store.get_fuel()


class _NoProgram(Exception):
    """The command names nothing that can be run; the text says why."""

    def __init__(self, exit_code: int, why: str) -> None:
        super().__init__(why)
        self.exit_code = exit_code


def main() -> None:
    """Run the task of the command line."""
    limits, count, *words = sys.argv[1:]
    task = Task(
        limits=Limits(**json.loads(limits)),
        command=words[: int(count)],
        variables=words[int(count) :],
    )
    report = run(task)
    Path(task.output, REPORT).write_text(json.dumps(dataclasses.asdict(report)), encoding="ascii")


def run(task: Task) -> Report:
    """Compile and run the module, and leave its output if it ended well."""
    source = InputEntry(path=task.input, relative="", is_directory=True, size=0)
    try:
        code = _read_module(task, source)
        memory = LinearMemory(task.limits.memory_bytes)
        engine = wasmtime.Engine(_configuration(memory))
        module = _compile(engine, code)
    except _NoProgram as error:
        _say(str(error))
        return Report(exit_code=error.exit_code)
    world = _world(task, source, memory, engine)
    _start_watch(engine, task.limits.deadline)
    exit_code, timed_out = _execute(engine, module, world)
    return _finish(task, world, exit_code, timed_out=timed_out)


def _read_module(task: Task, source: InputEntry) -> bytes:
    name = task.command[0]
    inside = name.removeprefix("/input/")
    if inside == name:
        raise _NoProgram(EXIT_CODE_NOT_FOUND, f"{name!a} is not a path below /input")
    try:
        found = resolve(source, os.fsencode(inside)).node()
    except WasiError:
        raise _NoProgram(EXIT_CODE_NOT_FOUND, f"there is no {name!a}") from None
    assert isinstance(found, InputEntry), "all of /input is"
    if found.is_directory or found.size > MODULE_BYTES_MAX:
        raise _NoProgram(
            EXIT_CODE_NOT_A_PROGRAM,
            f"{name!a} is no module of at most {MODULE_BYTES_MAX} bytes",
        )
    return Path(found.path).read_bytes()


def _configuration(memory: LinearMemory) -> wasmtime.Config:
    """Return the WebAssembly of our T0: version 2.0 without what differs between machines."""
    config = wasmtime.Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.cranelift_nan_canonicalization = True
    config.parallel_compilation = False
    config.memory_init_cow = False  # needs memories that are wasmtime's own
    config.max_wasm_stack = STACK_BYTES
    config.wasm_simd = True
    config.wasm_bulk_memory = True
    config.wasm_multi_value = True
    config.wasm_reference_types = True
    config.wasm_tail_call = True
    config.wasm_threads = False
    config.wasm_relaxed_simd = False
    config.wasm_multi_memory = False
    config.wasm_memory64 = False
    config.wasm_gc = False
    config.wasm_function_references = False
    config.wasm_exceptions = False
    config.wasm_stack_switching = False
    config.wasm_custom_page_sizes = False
    config.wasm_wide_arithmetic = False
    memory.install(config)
    return config


def _compile(engine: wasmtime.Engine, code: bytes) -> wasmtime.Module:
    try:
        # The text format is for modules that people write by hand: tests and examples.
        binary = code if code.startswith(b"\0asm") else bytes(wasmtime.wat2wasm(code))
        module = wasmtime.Module(engine, binary)
    except (wasmtime.WasmtimeError, UnicodeDecodeError) as error:
        raise _NoProgram(EXIT_CODE_NOT_A_PROGRAM, f"no module that runs here: {error}") from None
    for needed in module.imports:
        if needed.module != WASI or needed.name not in SIGNATURES:
            raise _NoProgram(
                EXIT_CODE_NOT_A_PROGRAM,
                f"the module needs {needed.module!a} {needed.name!a}; there is {WASI} alone",
            )
    if "_start" not in {export.name for export in module.exports}:
        raise _NoProgram(EXIT_CODE_NOT_A_PROGRAM, "the module exports no function _start")
    return module


def _world(task: Task, source: InputEntry, memory: LinearMemory, engine: wasmtime.Engine) -> _World:
    limits = task.limits
    store = wasmtime.Store(engine)
    fuel = limits.wall_seconds * INSTRUCTIONS_PER_SECOND
    store.set_fuel(fuel)
    store.set_epoch_deadline(1)
    store.set_limits(table_elements=TABLE_ELEMENTS_MAX, instances=1, tables=16, memories=1)
    output = MemoryTree(
        device=2,
        quota=Quota(bytes_left=limits.output_room_bytes, entries_left=limits.output_files_max),
    ).root()
    scratch = MemoryTree(
        device=3,
        quota=Quota(bytes_left=limits.scratch_bytes, entries_left=limits.scratch_files_max),
    ).root()
    directories = ((b"/input", source), (b"/output", output), (b"/tmp", scratch), (b".", scratch))
    preview1 = Preview1(
        memory=memory,
        arguments=[os.fsencode(word) for word in task.command],
        variables=[os.fsencode(variable) for variable in sorted(task.variables)],
        clock=Clock(instructions=lambda: fuel - store.get_fuel()),
        descriptors=preopened(directories),
    )
    return _World(
        preview1=preview1, memory=memory, store=store, output=output, scratch=scratch, fuel=fuel
    )


def _execute(
    engine: wasmtime.Engine, module: wasmtime.Module, world: _World
) -> tuple[int | None, bool]:
    """Return the exit code, and whether it was the time that ended it."""
    linker = wasmtime.Linker(engine)
    _define(linker, world.preview1)
    try:
        instance = linker.instantiate(world.store, module)
        start = instance.exports(world.store)["_start"]
        assert isinstance(start, wasmtime.Func), "_compile looked for it"
        start(world.store)
    except Exited as ended:
        return min(ended.code, EXIT_CODE_MAX), False
    except wasmtime.Trap as trap:
        if trap.trap_code in (wasmtime.TrapCode.INTERRUPT, wasmtime.TrapCode.OUT_OF_FUEL):
            return None, True
        _say(str(trap))
        return EXIT_CODE_TRAPPED, False
    except wasmtime.WasmtimeError as error:
        _say(str(error))
        return EXIT_CODE_TRAPPED, False
    return 0, False


def _define(linker: wasmtime.Linker, preview1: Preview1) -> None:
    kinds = {"i32": wasmtime.ValType.i32(), "i64": wasmtime.ValType.i64()}
    for name, parameters in SIGNATURES.items():
        results = [] if name in WITHOUT_RESULT else [wasmtime.ValType.i32()]
        kind = wasmtime.FuncType([kinds[p] for p in parameters], results)
        linker.define_func(WASI, name, kind, _imported(getattr(preview1, name), parameters))


def _imported(function: Callable[..., None], parameters: Sequence[str]) -> Callable[..., Any]:
    masks = [0xFFFFFFFF if kind == "i32" else 0xFFFFFFFFFFFFFFFF for kind in parameters]

    def call(*values: int) -> int:
        try:
            function(*(value & mask for value, mask in zip(values, masks, strict=True)))
        except WasiError as error:
            return int(error.errno)
        return int(Errno.SUCCESS)

    return call


def _start_watch(engine: wasmtime.Engine, deadline: float) -> None:
    """End the module at its deadline: the next loop or call it makes traps."""
    left = max(0.0, deadline - time.monotonic())
    timer = threading.Timer(left, engine.increment_epoch)
    timer.daemon = True
    timer.start()


def _finish(task: Task, world: _World, exit_code: int | None, *, timed_out: bool) -> Report:
    report = Report(
        exit_code=exit_code,
        timed_out=timed_out,
        # Whoever was refused memory and ended well got on without it.
        memory_refused=world.memory.refused if exit_code != 0 else 0,
        scratch_full=world.scratch.tree.quota.full,
        output_full=world.output.tree.quota.full,
        instructions=world.instructions(),
    )
    if exit_code != 0:
        return report
    return _hand_over(task, world.output, report)


def _hand_over(task: Task, output: MemoryDirectory, report: Report) -> Report:
    found = list(files_below(output))
    size = sum(node.size for _, node in found if isinstance(node, MemoryFile))
    if size > task.limits.output_bytes or len(found) > task.limits.output_files_max:
        return dataclasses.replace(report, output_too_large=True)
    deep = next((path for path, _ in found if path.count("/") >= DEPTH_MAX), None)
    if deep is not None:
        refused = f"{deep[:120]!a} lies more than {DEPTH_MAX - 1} directories deep"
        return dataclasses.replace(report, refused=refused)
    target = Path(task.output, FILES)
    target.mkdir()
    for path, node in found:
        if is_directory(node):
            (target / path).mkdir()
        else:
            assert isinstance(node, MemoryFile), "/output holds nothing else"
            (target / path).write_bytes(node.data)
            node.data = bytearray()
    return report


def _say(text: str) -> None:
    """Write to the job's log."""
    sys.stderr.write(f"assay: {text.encode('ascii', 'backslashreplace').decode('ascii')}\n")


if __name__ == "__main__":
    main()
