"""The report of a program's ops, and the command that runs or reports a script."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import exact_torch
from exact_torch.__main__ import main
from exact_torch.table import Rule
from tests.exact.comparing import lattice, same_bits


def program() -> None:
    layer = torch.nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(layer.parameters())
    x = lattice(2, 3, 4)
    y = functional.dropout(functional.scaled_dot_product_attention(layer(x), x, x), 0.1)
    y.sum().backward()
    optimizer.step()


def refused() -> None:
    program()
    torch.fft.rfft(lattice(4))
    torch.fft.rfft(lattice(6))
    torch.linalg.svd(lattice(3, 3))


def test_every_op_is_listed_with_its_rule() -> None:
    found = exact_torch.report(program, "E14")
    assert found.refused == ()
    uses = {use.name: use for use in found.used}
    assert list(uses) == sorted(uses)
    assert uses["addmm"].rule is Rule.CONTRACTION
    assert uses["addmm"].count == 1
    assert uses["torch.nn.functional.scaled_dot_product_attention"].rule is Rule.COMPOSITION
    assert uses["torch.nn.functional.dropout"].count == 1
    assert uses["torch.optim.adam.adam"].count == 1
    assert uses["_softmax_backward_data"].count == 1
    assert all(use.meaning for use in found.used)
    text = str(found)
    assert all(name in text for name in uses)
    assert text.endswith("0 refused: the program runs under E14")


def test_all_refused_ops_are_found_in_one_run() -> None:
    found = exact_torch.report(refused)
    assert [refusal.op for refusal in found.refused] == ["aten::_fft_r2c", "aten::_linalg_svd"]
    transform = found.refused[0]
    assert transform.count == 2
    assert transform.shapes == ("float32[4]",)
    assert "torch.fft.rfft(lattice(4))" in transform.line
    assert Path(__file__).name in transform.line
    text = str(found)
    assert "refused: aten::_fft_r2c(float32[4]), 2 calls" in text
    assert text.endswith("2 refused: the program is refused under E21")


def test_refused_variants_of_defined_ops_run_as_plain_torch() -> None:
    results = []

    def variants() -> None:
        results.append(torch.round(torch.tensor([1.234]), decimals=1))
        wide = torch.ones(1, 2, 3, dtype=torch.float64)
        results.append(functional.scaled_dot_product_attention(wide, wide, wide))

    found = exact_torch.report(variants)
    assert {refusal.op for refusal in found.refused} >= {
        "aten::round",
        "scaled_dot_product_attention",
    }
    assert results[0].tolist() == pytest.approx([1.2])
    assert torch.equal(results[1], torch.ones(1, 2, 3, dtype=torch.float64))


def test_a_reported_program_computes_what_it_computes_under_the_mode() -> None:
    results = []

    def compute() -> None:
        torch.manual_seed(3)
        results.append(torch.softmax(torch.rand(5, 5) @ lattice(5, 5), -1))

    exact_torch.report(compute)
    with exact_torch.mode("E21"):
        compute()
    assert same_bits(*results)


def test_json_has_the_same_fields() -> None:
    found = exact_torch.report(refused)
    read = json.loads(found.to_json())
    assert read["precision"] == "E21"
    assert [use["name"] for use in read["used"]] == [use.name for use in found.used]
    assert read["refused"][1]["shapes"] == ["float32[3, 3]"]
    assert read["used"][0]["rule"] in {str(rule) for rule in Rule}


def test_what_the_program_raises_is_not_caught_and_nothing_stays() -> None:
    step = torch.optim.SGD.step

    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        exact_torch.report(fail)
    assert torch.optim.SGD.step is step
    assert torch.fft.rfft(lattice(4)).shape == (3,)


GOOD = "import sys, torch\nprint(torch.arange(int(sys.argv[1])).float().exp().sum().item())\n"
BAD = "import torch\ntorch.fft.rfft(torch.ones(4))\n"


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command on a script's text; return its status, output and errors."""

    def run(text: str, *options: str) -> tuple[int, str, str]:
        script = tmp_path / "script.py"
        script.write_text(text)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.setattr(sys, "argv", ["exact_torch", *options, str(script), "3"])
        status = main()
        return status, *capsys.readouterr()

    return run


def test_the_command_runs_a_script_as_python_would(tmp_path: Path) -> None:
    script = tmp_path / "good.py"
    script.write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-m", "exact_torch", str(script), "3"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "EXACT_TORCH_ENGINE": "float64"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(11.107, rel=1e-4)


def test_the_command_names_the_refused_op_and_the_line(
    command: Callable[..., tuple[int, str, str]],
) -> None:
    status, _, errors = command(BAD)
    assert status == 3
    assert "aten::_fft_r2c(float32[4])" in errors
    assert "script.py:2: torch.fft.rfft(torch.ones(4))" in errors


def test_the_command_reports(command: Callable[..., tuple[int, str, str]]) -> None:
    status, output, _ = command(GOOD, "--report", "--mode", "E14")
    assert status == 0
    assert "the program runs under E14" in output
    status, output, errors = command(BAD + "raise SystemExit('left early')\n", "--report")
    assert status == 3
    assert "refused: aten::_fft_r2c(float32[4]), 1 calls" in output
    assert "left early" in errors
