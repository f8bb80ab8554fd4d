"""`python -m exact_torch`: run a script under a mode, or test the engines of this machine."""

import argparse
import runpy
import sys

import exact_torch
from exact_torch.self_test import self_test


def main() -> int:
    """Parse, then run the script as `python SCRIPT ARGS...` would."""
    parser = argparse.ArgumentParser(
        prog="python -m exact_torch",
        description="Run a PyTorch script so that its results are the same bits on any hardware.",
        epilog="Without a script, test the engines of this machine and say which one is used.",
    )
    parser.add_argument(
        "--mode", default="E21", choices=[str(p) for p in exact_torch.Precision],
        help="precision of contractions (default: E21)",
    )
    parser.add_argument("--device", default="cpu", help="device to test (default: cpu)")
    parser.add_argument("script", nargs="?", help="Python script to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own arguments")
    options = parser.parse_args()
    if options.script is None:
        found = self_test(options.device)
        print(f"{found.device}: {found.engine or 'refused'}{f' ({found.reason})' if found.reason else ''}")
        return 0 if found.passed else 1
    sys.argv = [options.script, *options.arguments]
    sys.path.insert(0, str(__import__("pathlib").Path(options.script).resolve().parent))
    try:
        with exact_torch.mode(options.mode):
            runpy.run_path(options.script, run_name="__main__")
    except exact_torch.ExactTorchError as error:
        sys.stderr.write(f"exact_torch: {type(error).__name__}: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
