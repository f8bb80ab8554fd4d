"""The mode: what is refused and how it is said, nesting, threads, what leaves, the command."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import exact_torch
from exact_torch import EngineRefused, ExactTorchError, UnsupportedOp, UntestedTorch
from exact_torch import mode as exact_mode
from exact_torch.arithmetic.contraction import Precision
from exact_torch.engines import kernels_for, using
from exact_torch.mode import table
from exact_torch.state import active_precision

NAN_BITS = 0x7FC00000


def test_a_refusal_names_op_shapes_and_the_programs_line() -> None:
    with exact_torch.mode("E21"), pytest.raises(UnsupportedOp) as refused:
        torch.fft.rfft(torch.ones(3, 4))  # the line
    error = refused.value
    assert error.op == "aten::_fft_r2c"
    assert error.shapes == ("float32[3, 4]",)
    assert "test_mode.py" in error.line
    assert "torch.fft.rfft(torch.ones(3, 4))  # the line" in error.line
    assert all(part in str(error) for part in (error.op, *error.shapes, error.line))


def test_a_refusal_in_backward_names_the_line_that_called_it() -> None:
    class Strange(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: object, g: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(g)

    x = torch.ones(3, requires_grad=True)
    with exact_torch.mode("E21"), pytest.raises(UnsupportedOp, match="bessel_j0"):
        Strange.apply(x).sum().backward()


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda: torch.ones(2, 2, dtype=torch.float64) @ torch.ones(2, 2).double(), "float64"),
        (lambda: torch.ones(2, dtype=torch.complex64) * 2, "complex"),
        (lambda: torch.linalg.svd(torch.ones(2, 2)), "no hardware-independent definition"),
    ],
)
def test_what_has_no_definition_is_refused(compute: Callable[[], object], reason: str) -> None:
    with exact_torch.mode("E14"), pytest.raises(UnsupportedOp, match=reason):
        compute()


def test_a_refused_op_leaves_no_half_written_state() -> None:
    x = torch.ones(3)
    with exact_torch.mode(), pytest.raises(UnsupportedOp):
        x.bernoulli_(0.5).add_(torch.special.bessel_j0(x))
    assert torch.isfinite(x).all()
    assert torch.ones(2).exp()[0] == torch.tensor(2.7182817459106445)  # the mode is left


def test_modes_nest_and_the_inner_one_counts() -> None:
    a = torch.tensor([[1.0, 2.0**-16]])
    b = torch.tensor([[0.0], [1.0]])
    with exact_torch.mode("E21"):
        fine = a @ b
        with exact_torch.mode("E14"):
            assert active_precision() is Precision.E14
            coarse = a @ b
        assert active_precision() is Precision.E21
        assert torch.equal(a @ b, fine)
    assert float(fine) == 2.0**-16
    assert float(coarse) == 0.0


def test_it_is_a_decorator() -> None:
    @exact_torch.mode("E14")
    def compute() -> Precision:
        return active_precision()

    assert compute() is Precision.E14
    assert compute() is Precision.E14


def test_an_unknown_precision_names_the_known() -> None:
    with pytest.raises(ValueError, match="E21, E14, FMA"):
        exact_torch.mode("E22")


def test_threads_started_inside_run_under_the_mode() -> None:
    found: list[object] = []

    def compute() -> None:
        try:
            torch.fft.rfft(torch.ones(4))
        except UnsupportedOp as refused:
            found.append(refused)

    original = threading.Thread.run
    with exact_torch.mode():
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
    assert len(found) == 1
    assert threading.Thread.run is original
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert len(found) == 1  # outside, torch computes as ever


def test_nan_leaves_with_canonical_bits() -> None:
    negative = torch.tensor([-0x400000 + 5], dtype=torch.int32).view(torch.float32)
    assert torch.isnan(negative)
    with exact_torch.mode():
        for leave in (
            lambda x: x.numpy().view("uint32")[0],
            lambda x: x.view(torch.int32).item(),
        ):
            assert int(leave(negative.clone())) == NAN_BITS
    assert exact_torch.digest(negative) == exact_torch.digest(torch.tensor([float("nan")]))


def test_in_place_and_out_forms_are_the_functional_ones() -> None:
    x = torch.linspace(-3, 3, 50)
    with exact_torch.mode():
        expected = x.exp()
        assert torch.equal(x.clone().exp_(), expected)
        out = torch.empty(0)
        assert torch.exp(x, out=out) is out
        assert torch.equal(out, expected)
        a = torch.ones(3, 4)
        product = torch.empty(3, 3)
        torch.mm(a, a.t(), out=product)
        assert torch.equal(product, torch.full((3, 3), 4.0))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (torch.uint8, [0, 255, 0, 255, 0, 2]),
        (torch.int32, [0, 2**31 - 1, -(2**31), 2**31 - 1, -1, 2]),
        (torch.int64, [0, 2**63 - 1, -(2**63), 3 * 2**40, -1, 2]),
    ],
)
def test_conversions_to_integers_saturate(kind: torch.dtype, expected: list[int]) -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 3 * 2.0**40, -1.5, 2.9])
    with exact_torch.mode():
        assert x.to(kind).tolist() == expected
        assert torch.zeros(6, dtype=kind).copy_(x).tolist() == expected


def test_subnormals_are_kept_where_a_program_flushed_them() -> None:
    torch.set_flush_denormal(True)
    try:
        with exact_torch.mode():
            assert float(torch.tensor([2.0**-140]) * 0.5) == 2.0**-141
        assert float(torch.tensor([2.0**-140]) * 0.5) == 0.0
    finally:
        torch.set_flush_denormal(False)


def test_an_unknown_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "9.1.0+cpu")
    with pytest.raises(UntestedTorch, match=r"9\.1\.0 was never compared"), exact_torch.mode():
        pass


def test_an_unknown_engine_is_refused() -> None:
    refused = pytest.raises(EngineRefused, match="there are auto, native, float64, int8")
    with using("float32"), refused, exact_torch.mode():
        pass


def test_engines_are_chosen_once_and_given_back() -> None:
    cpu = torch.device("cpu")
    before = kernels_for(cpu)
    with using("float64"):
        assert kernels_for(cpu).name == "float64"
    assert kernels_for(cpu) is before


def test_every_error_is_one_of_the_package() -> None:
    for error in (UnsupportedOp, EngineRefused, UntestedTorch):
        assert issubclass(error, ExactTorchError)


def test_every_definition_says_what_it_means() -> None:
    definitions = table()
    assert len(definitions) > 400
    for name, definition in definitions.items():
        assert len(definition.meaning) > 3, name
        assert definition.run is not None or definition.rule in {
            exact_torch.table.Rule.MOVES,
            exact_torch.table.Rule.INTEGER,
            exact_torch.table.Rule.IEEE,
        }, f"{name} is computed by torch, and its rule is {definition.rule}"


# ---- the command ---------------------------------------------------------------------------------


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "exact_torch", *arguments],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | environment,
    )  # fmt: skip


def test_the_command_runs_a_script_with_its_arguments(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("VALUE = 2.0\n")
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, torch, helper\n"
        "from exact_torch.state import active_precision\n"
        "assert __name__ == '__main__'\n"
        "print(sys.argv[1:], active_precision(), float(torch.ones(3).sum()) * helper.VALUE)\n"
    )
    done = command("--mode", "E14", str(script), "a", "--b")
    assert done.stdout == "['a', '--b'] E14 6.0\n", done.stderr
    assert done.returncode == 0


def test_the_command_says_what_was_refused(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("import torch\ntorch.fft.rfft(torch.ones(4))\n")
    done = command(str(script))
    assert done.returncode == 3
    assert done.stderr.startswith("exact_torch: UnsupportedOp: aten::_fft_r2c(float32[4])")
    assert "job.py:2" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_passes_a_scripts_own_exit_and_traceback_on(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("import sys\nsys.exit(7)\n")
    assert command(str(script)).returncode == 7
    script.write_text("1 / 0\n")
    done = command(str(script))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_the_command_tests_the_engines() -> None:
    done = command()
    assert done.returncode == 0
    assert done.stdout.startswith("cpu: ")
    refused = command(EXACT_TORCH_ENGINE="none")
    assert refused.returncode == 1
    assert "there are auto, native" in refused.stdout
    assert exact_mode is exact_torch.mode
