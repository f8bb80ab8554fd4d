"""What a provider makes of its self-test of exact_torch, whatever that says."""

import dataclasses
import json

import pytest

from assay_node.cli.provider_view import exact_line
from assay_node.protocol.job_spec import EXACT_SPECIFICATION
from assay_provider.inventory import exact
from assay_provider.inventory.exact import ExactSupport, try_exact
from assay_provider.runtime.exact import ExactRun, ExactSetup
from assay_provider.runtime.sandbox import SandboxUnavailable, Verdict
from tests.fakes.sandbox import FakeSandbox, a_result

SETUP = ExactSetup(engine="int8", threads=2, instruction_set="avx2")


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_missing", lambda: "")


@pytest.fixture
def sandbox() -> FakeSandbox:
    return FakeSandbox()


async def tried(sandbox: FakeSandbox) -> ExactSupport:
    return await try_exact(sandbox, SETUP, memory_bytes=1 << 30, cpus=1.5)


def finds(
    sandbox: FakeSandbox,
    *,
    specification: int = EXACT_SPECIFICATION,
    engine: str = "int8",
    reason: str = "",
) -> None:
    text = json.dumps({"specification": specification, "engine": engine, "reason": reason})
    sandbox.write_output = lambda folder: (folder / "found.json").write_text(text)


async def test_the_self_test_runs_as_exact_jobs_do(sandbox: FakeSandbox) -> None:
    finds(sandbox)
    support = await tried(sandbox)
    assert support == ExactSupport(
        modes=("E14", "E21", "FMA"), engine="int8", remark="", setup=SETUP
    )
    ((request, slot),) = sandbox.requests
    assert slot == 0
    assert request.exact == ExactRun(mode="E14", setup=SETUP)
    assert (request.limits.memory_bytes, request.limits.cpus) == (1 << 30, 1.5)
    (files,) = sandbox.inputs
    compile(files["self_test.py"], "self_test.py", "exec")


@pytest.mark.parametrize(
    ("complaint", "engine", "remark"),
    [("", "native", ""), ("there is no C++ compiler", "float64", "there is no C++ compiler")],
)
async def test_missing_kernels_are_compiled_once_and_tested_again(
    sandbox: FakeSandbox,
    monkeypatch: pytest.MonkeyPatch,
    complaint: str,
    engine: str,
    remark: str,
) -> None:
    compiled: list[ExactSetup] = []

    async def compile_them(setup: ExactSetup) -> str:
        compiled.append(setup)
        finds(sandbox, engine="native")
        return complaint

    monkeypatch.setattr(exact, "_build_kernels", compile_them)
    finds(sandbox, engine="float64")
    setup = ExactSetup(engine="auto", instruction_set="avx2")
    support = await try_exact(sandbox, setup, memory_bytes=1 << 30, cpus=1.0)
    assert compiled == [setup]
    assert (support.engine, support.setup.engine, support.remark) == (engine, engine, remark)
    assert support.modes
    again = await try_exact(sandbox, setup, memory_bytes=1 << 30, cpus=1.0)
    assert (again.engine, compiled) == ("native", [setup])


async def test_an_engine_without_kernels_compiles_nothing(
    sandbox: FakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "_build_kernels", None)
    finds(sandbox, engine="int8")
    assert (await tried(sandbox)).engine == "int8"


async def test_what_was_passed_over_is_kept(sandbox: FakeSandbox) -> None:
    finds(sandbox, reason="native: no compiler")
    support = await tried(sandbox)
    assert support.modes
    shown = exact_line(dataclasses.asdict(support))
    assert shown.endswith("computed by the engine int8 (native: no compiler)")


async def test_an_engine_that_is_refused_is_said(sandbox: FakeSandbox) -> None:
    sandbox.result = a_result(
        Verdict.ERROR, log_tail=b"Traceback ...\nEngineRefused: int8: 1 of 9 products wrong\x1b\n"
    )
    support = await tried(sandbox)
    assert support.modes == ()
    assert support.remark.endswith("failed: EngineRefused: int8: 1 of 9 products wrong?")
    sandbox.result = a_result(Verdict.OUT_OF_MEMORY, log_tail=b"")
    assert "out_of_memory" in (await tried(sandbox)).remark


async def test_another_specification_is_no_support(sandbox: FakeSandbox) -> None:
    finds(sandbox, specification=EXACT_SPECIFICATION + 1)
    support = await tried(sandbox)
    assert support.modes == ()
    assert f"version {EXACT_SPECIFICATION + 1} of its specification" in support.remark


async def test_a_sandbox_that_fails_is_no_support(sandbox: FakeSandbox) -> None:
    sandbox.fault = SandboxUnavailable("no namespaces here")
    assert (await tried(sandbox)).remark == "no namespaces here"


async def test_without_torch_nothing_is_run(
    sandbox: FakeSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(exact.importlib.util, "find_spec", lambda _: None)
    assert (await tried(sandbox)).remark == "torch is not installed"
    assert sandbox.requests == []
