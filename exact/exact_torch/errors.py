"""What can go wrong: an op without a definition, an engine that is not exact, an unknown torch.

ExactTorchError
├── UnsupportedOp       the program uses an op that has no hardware-independent definition
├── EngineRefused       an engine failed its self-test here, or cannot be had
└── UntestedTorch       this torch's op sequences were never compared with the others'
"""

import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

import torch

_PACKAGE: Final = str(Path(__file__).parent)
_NOT_THE_USERS: Final = (
    _PACKAGE,
    str(Path(torch.__file__).parent),
    sysconfig.get_paths()["stdlib"],
    "<frozen",
)
_SHAPES_SHOWN: Final = 8


class ExactTorchError(RuntimeError):
    """Any failure of this package; its text says what to do."""


class UnsupportedOp(ExactTorchError):
    """An op has no hardware-independent definition, so the program was stopped before running it.

    Attributes:
        op: the op's name, such as "aten::_fft_r2c".
        reason: why, in words.
        shapes: dtype and shape of each tensor argument, such as "float32[2, 3]".
        line: the program's own source line, as "file.py:12: y = torch.fft.rfft(x)".
    """

    def __init__(self, op: str, reason: str, arguments: Sequence[object] = ()) -> None:
        self.op = op
        self.reason = reason
        self.shapes = tuple(_shape(a) for a in arguments if isinstance(a, torch.Tensor))
        self.line = user_line()
        shown = ", ".join(self.shapes[:_SHAPES_SHOWN]) or "no tensors"
        super().__init__(f"{op}({shown}): {reason}\n  at {self.line}")


class EngineRefused(ExactTorchError):
    """An engine cannot be used on this machine; the text says which check failed."""


class UntestedTorch(ExactTorchError):
    """This version of torch was never compared with the tested ones."""


def user_line() -> str:
    """Return the innermost source line that belongs to neither torch nor this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_NOT_THE_USERS) or _is_site_package(frame):
            break
        frame = frame.f_back
    if frame is None:
        return "an unknown line"
    summary = traceback.extract_stack(frame, limit=1)[0]
    return f"{summary.filename}:{summary.lineno}: {summary.line or '?'}"


def _is_site_package(frame: FrameType) -> bool:
    """Whether the frame is of a package installed beside torch, below the standard library."""
    path = frame.f_code.co_filename
    return "site-packages" in path and not path.startswith(_NOT_THE_USERS[:2])


def _shape(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
