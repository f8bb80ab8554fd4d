"""PyTorch whose bits do not depend on the hardware.

`with exact_torch.mode("E21"):` runs an unmodified program, training or inference, so that its
results are the same bits on any CPU or GPU, for any number of threads and any batch position, or
stops it with `UnsupportedOp`. docs/exact-torch.md is the specification.
"""

from exact_torch.arithmetic.contraction import Precision
from exact_torch.digests import digest
from exact_torch.errors import EngineRefused, ExactTorchError, UnsupportedOp, UntestedTorch
from exact_torch.mode import mode
from exact_torch.report import Report, report
from exact_torch.self_test import SelfTest, self_test

SPEC_VERSION = 1
"""Version of the specification: any change of any bit changes it."""

__all__ = [
    "SPEC_VERSION",
    "EngineRefused",
    "ExactTorchError",
    "Precision",
    "Report",
    "SelfTest",
    "UnsupportedOp",
    "UntestedTorch",
    "digest",
    "mode",
    "report",
    "self_test",
]
