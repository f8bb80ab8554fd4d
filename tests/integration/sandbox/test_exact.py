"""Jobs under exact_torch in the real sandbox: one result under whatever the owner chose."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from assay_node.protocol.units import GIB
from assay_provider.inventory.exact import try_exact
from assay_provider.runtime.bubblewrap import BubblewrapSandbox
from assay_provider.runtime.exact import ExactRun, ExactSetup
from assay_provider.runtime.sandbox import RunRequest, RunResult, Verdict

pytest.importorskip("torch")

TRAINING = """
import sys
import torch

x = ((torch.arange(64 * 48) * 37 % 101).float() / 101 - 0.5).reshape(64, 48)
y = torch.arange(64) % 10
model = torch.nn.Sequential(torch.nn.Linear(48, 96), torch.nn.ReLU(), torch.nn.Linear(96, 10))
with torch.no_grad():
    for number, p in enumerate(model.parameters()):
        p.copy_(((torch.arange(p.numel()) * 53 % 97).float() / 97 - 0.5).reshape(p.shape) / 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(8):
    loss = torch.nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with open(sys.argv[1], "wb") as file:
    for p in model.parameters():
        file.write(p.detach().numpy().tobytes())
"""

Run = Callable[..., Awaitable[tuple[RunResult, bytes]]]


@pytest.fixture
def tier() -> str:
    """One tier is enough: the walls do not compute."""
    return "t1"


@pytest.fixture
def run(sandbox: BubblewrapSandbox, make_request: Callable[..., RunRequest]) -> Run:
    """Run a script of the input; return the result, and the output file's bytes."""

    async def run(
        program: str, exact: ExactRun | None = None, env: dict[str, str] | None = None
    ) -> tuple[RunResult, bytes]:
        request = make_request(
            *("python", "/input/main.py", "/output/result"),
            env=env,
            memory_bytes=1 * GIB,
            cpus=2.0,
            wall_seconds=120,
        )
        (request.input_directory / "main.py").write_text(program)
        result = await sandbox.run(replace(request, exact=exact), 0)
        output = request.output_directory / "result"
        return result, output.read_bytes() if output.exists() else b""

    return run


async def test_two_setups_give_the_same_bytes_and_not_torchs_own(run: Run) -> None:
    setups = (
        ExactSetup(engine="float64", threads=1, instruction_set="baseline"),
        ExactSetup(engine="auto", threads=2, instruction_set="native"),
    )
    outputs = []
    for setup in setups:
        result, output = await run(TRAINING, ExactRun(mode="E21", setup=setup))
        assert result.verdict is Verdict.OK, result.log_tail
        outputs.append(output)
    assert outputs[0] == outputs[1]
    result, as_it_is = await run(TRAINING)
    assert result.verdict is Verdict.OK, result.log_tail
    assert len(as_it_is) == len(outputs[0])
    assert as_it_is != outputs[0], "the mode changed nothing: it was not in force"


async def test_what_has_no_definition_ends_the_job_with_its_name_and_line(run: Run) -> None:
    program = "import torch\nx = torch.ones(8)\ny = torch.fft.rfft(x)\n"
    result, output = await run(program, ExactRun(mode="E21", setup=ExactSetup(engine="float64")))
    assert (result.verdict, result.exit_code) == (Verdict.ERROR, 3)
    assert output == b""
    log = result.log_tail.decode()
    assert "UnsupportedOp: aten::_fft_r2c" in log
    assert "main.py:3: y = torch.fft.rfft(x)" in log


async def test_the_package_comes_before_what_a_job_calls_by_its_name(run: Run) -> None:
    program = (
        "import exact_torch, sys\n"
        "open(sys.argv[1], 'w').write(str(hasattr(exact_torch, 'UnsupportedOp')))\n"
    )
    result, output = await run(program)
    assert (result.verdict, output) == (Verdict.OK, b"True")
    exact = ExactRun(mode="FMA", setup=ExactSetup(engine="float64"))
    result, output = await run(program, exact, {"PYTHONPATH": "/input/elsewhere"})
    assert (result.verdict, output) == (Verdict.OK, b"True")


async def test_the_self_test_passes_here_with_the_engine_that_is_always_there(
    sandbox: BubblewrapSandbox,
) -> None:
    setup = ExactSetup(engine="float64", threads=2)
    support = await try_exact(sandbox, setup, memory_bytes=1 * GIB, cpus=1.0)
    assert (support.modes, support.engine) == (("E14", "E21", "FMA"), "float64"), support.remark


async def test_an_engine_that_cannot_be_had_is_refused_with_the_reason(
    sandbox: BubblewrapSandbox,
) -> None:
    setup = ExactSetup(engine="abacus")
    support = await try_exact(sandbox, setup, memory_bytes=1 * GIB, cpus=1.0)
    assert support.modes == ()
    assert "EXACT_TORCH_ENGINE=abacus" in support.remark
