"""Write scikit-learn's handwritten digits as CSV: 64 pixels (0 to 16) and the label, one a line."""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def write_digits(path: Path) -> None:
    digits = load_digits()
    table = np.column_stack([digits.data, digits.target]).astype(int)
    np.savetxt(path, table, fmt="%d", delimiter=",")


if __name__ == "__main__":
    write_digits(Path(sys.argv[1]))
