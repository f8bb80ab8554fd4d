"""`python -m exact_torch`: run a script under a mode, report its ops, or test this machine."""

import argparse
import runpy
import sys
from pathlib import Path

import exact_torch
from exact_torch.self_test import self_test


def main() -> int:
    """Parse, then run the script as `python SCRIPT ARGS...` would; return the exit status.

    0: it ran; 1: no engine of this machine passes its self-test; 2: there is no such script;
    3: an op was refused.
    """
    parser = argparse.ArgumentParser(
        prog="python -m exact_torch",
        description="Run a PyTorch script so that its results are the same bits on any hardware.",
        epilog="Without a script, test the engines of this machine and say which one is used.",
    )
    parser.add_argument(
        "--mode",
        default="E21",
        choices=[str(p) for p in exact_torch.Precision],
        help="precision of contractions (default: E21)",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="list the ops that the script uses; refused ones run as plain torch",
    )
    parser.add_argument("--device", default="cpu", help="device to test (default: cpu)")
    parser.add_argument("script", nargs="?", help="Python script to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own arguments")
    options = parser.parse_args()
    if options.script is None:
        return _test(options.device)
    if not Path(options.script).is_file():
        sys.stderr.write(f"exact_torch: there is no script {options.script}\n")
        return 2
    sys.argv = [options.script, *options.arguments]
    # in place of the working directory, which `-m` puts there
    sys.path[0] = str(Path(options.script).resolve().parent)
    try:
        if options.report:
            return _report(options.script, options.mode)
        with exact_torch.mode(options.mode):
            runpy.run_path(options.script, run_name="__main__")
    except exact_torch.ExactTorchError as error:
        sys.stderr.write(f"exact_torch: {type(error).__name__}: {error}\n")
        return 1 if isinstance(error, exact_torch.EngineRefused) else 3
    return 0


def _test(device: str) -> int:
    found = self_test(device)
    reason = f" ({found.reason})" if found.reason else ""
    sys.stdout.write(f"{found.device}: {found.engine or 'refused'}{reason}\n")
    return 0 if found.passed else 1


def _report(script: str, precision: str) -> int:
    """Run the script and print what it used, also where it leaves by `sys.exit`."""

    def program() -> None:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as leaving:
            if leaving.code:
                sys.stderr.write(f"exact_torch: {script} left with {leaving.code}\n")

    found = exact_torch.report(program, precision)
    sys.stdout.write(f"{found}\n")
    return 3 if found.refused else 0


if __name__ == "__main__":
    sys.exit(main())
