"""`python -m bench [NAME ...]`: run all figures, or those of the named files."""

import importlib
import sys
from pathlib import Path

from bench.figures import save

NOT_FIGURES = {"__init__", "__main__", "figures", "gpu_check"}


def main() -> None:
    known = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in NOT_FIGURES)
    chosen = sys.argv[1:] or known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        sys.exit(f"bench: no figure {unknown[0]!r}; there are: {', '.join(known)}")
    for name in chosen:
        print(f"== {name}", flush=True)
        figures = importlib.import_module(f"bench.{name}").run()
        save(figures)
        for figure in figures:
            print(figure.line(), flush=True)


if __name__ == "__main__":
    main()
