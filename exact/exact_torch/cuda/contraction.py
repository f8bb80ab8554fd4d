"""Matrix products on the GPU: three routes to the same integers, and the FMA chain."""

from enum import StrEnum
from typing import Final

import torch

from exact_torch.arithmetic import contraction
from exact_torch.arithmetic.bits import F32, F64, I64
from exact_torch.arithmetic.contraction import Precision
from exact_torch.cuda.program import GRID_YZ_MAX, THREADS, Program, divided_up, walk

FLOAT64_CAPABILITIES: Final = frozenset({(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)})
"""Devices whose float64 runs at half of float32's rate or more; others have 1/32 or 1/64."""

DIGITS_WORK_MAX: Final = 1 << 26
"""Multiply-adds up to which one fused kernel should beat three or more launches."""

PLANES_SIDE_MIN: Final = 128
"""Rows, columns and K from which int8 products on tensor cores should be worth their planes."""

PLANES_INNER_MAX: Final = 1 << 16
"""K of one int8 product: 2^16 products of at most 2^14 are exact in int32."""

PRODUCTS_BYTES_MAX: Final = 1 << 28
"""Memory for int32 products of planes; wider results are computed in slabs of columns."""

WIDE_TILES_MIN: Final = 128
"""Tiles of 128 x 128 from which they are used: about one on each multiprocessor."""

ALIGNMENT: Final = 16
ROWS_MIN: Final = 32
"""cuBLASLt's int8 products want K and N divisible by 16, and more than 16 rows."""

DIGITS: Final = {Precision.E14: 2, Precision.E21: 3}
"""Balanced digits of 7 bits that hold an integer of a precision."""


class Route(StrEnum):
    """How an integer product is computed; the bits are the same."""

    DIGITS = "digits"
    """One kernel: quantises tiles to digits, multiplies them by dp4a."""

    PLANES = "planes"
    """Planes of int8 digits through `torch._int_mm`, recombined."""

    FLOAT64 = "float64"
    """Integers as float64 through one float64 product."""


class Contractions:
    """Products of one program's kernels.

    Args:
        program: what launches kernels.
        route: takes every E14 and E21 product; by default the sizes decide.
    """

    def __init__(self, program: Program, route: Route | None) -> None:
        self._program = program
        self._route = route

    def contract(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        precision: Precision,
        addend: torch.Tensor | None,
        factors: tuple[float, float],
    ) -> torch.Tensor:
        """Return alpha·(a @ b) + beta·addend, float32; `factors` are alpha and beta.

        Args:
            a: (M, K) or (batches, M, K), not empty.
            b: (K, N) or (batches, K, N), not empty.
            precision: how the product is computed.
            addend: broadcastable to the result.
            factors: of the product and of the addend.
        """
        left = _Side(a.to(F32))
        right = _Side(b.to(F32).transpose(-1, -2))
        batches = max(left.batches, right.batches)
        out = torch.empty((batches, left.rows, right.rows), dtype=F32, device=a.device)
        shape = out.shape if a.dim() == 3 or b.dim() == 3 else out.shape[1:]
        epilogue = _Epilogue(addend, shape, factors)
        if precision is Precision.FMA:
            self._tiles(_chain_kernel(out), left, right, None, None, epilogue, out)
        else:
            self._integers(left, right, precision, epilogue, out)
        return out.reshape(shape)

    def _integers(
        self,
        left: "_Side",
        right: "_Side",
        precision: Precision,
        epilogue: "_Epilogue",
        out: torch.Tensor,
    ) -> None:
        """Quantise both sides and multiply by the route that is chosen."""
        largest = self._largest_of_rows(left), self._largest_of_rows(right)
        route = self._route or _route(left.inner, out)
        if route is Route.PLANES and out.shape[0] == 1:
            self._planes(left, right, largest, precision, epilogue, out)
        elif route is Route.FLOAT64:
            self._float64(left, right, largest, precision, epilogue, out)
        else:
            self._tiles(f"exact_contract_{precision}", left, right, *largest, epilogue, out)

    def _largest_of_rows(self, side: "_Side") -> torch.Tensor:
        """Return each row's largest pattern of |x|, as int32 (batches, rows)."""
        largest = torch.zeros((side.batches, side.rows), dtype=torch.int32, device=side.x.device)
        per_block = 8 if side.is_along else 32
        tiles = divided_up(side.rows, per_block)
        parts = min(divided_up(side.inner, 4096), max(1, 1024 // (tiles * side.batches)))
        self._program.launch(
            "exact_largest_of_rows",
            (tiles, parts, min(side.batches, GRID_YZ_MAX)),
            THREADS,
            (side.x, side.batches, side.rows, side.inner, *side.strides, largest),
        )
        return largest

    def _tiles(
        self,
        kernel: str,
        left: "_Side",
        right: "_Side",
        largest_left: torch.Tensor | None,
        largest_right: torch.Tensor | None,
        epilogue: "_Epilogue",
        out: torch.Tensor,
    ) -> None:
        """Compute all in one kernel, a tile of results a block."""
        size = 128 if kernel.endswith("128") else 64
        batches, rows, columns = out.shape
        tiles = divided_up(rows, size) * divided_up(columns, size)
        self._program.launch(
            kernel,
            (tiles, 1, min(batches, GRID_YZ_MAX)),
            THREADS,
            (
                batches, rows, columns, left.inner,
                left.x, *left.strides, largest_left, left.shared(left.rows),
                right.x, *right.strides, largest_right, right.shared(right.rows),
                *epilogue.addend, *epilogue.strides, *epilogue.factors, out,
            ),
        )  # fmt: skip

    def _planes(
        self,
        left: "_Side",
        right: "_Side",
        largest: tuple[torch.Tensor, torch.Tensor],
        precision: Precision,
        epilogue: "_Epilogue",
        out: torch.Tensor,
    ) -> None:
        """Compute one product through int8 ones: K in parts, results in slabs of columns."""
        _, rows, columns = out.shape
        count = DIGITS[precision]
        bits = contraction.BITS[precision]
        planes = count * (count + 1) // 2
        padded = max(_aligned(rows), ROWS_MIN)
        width = max(ROWS_MIN, PRODUCTS_BYTES_MAX // (4 * planes * padded) // ALIGNMENT * ALIGNMENT)
        parts = range(0, left.inner, PLANES_INNER_MAX)
        totals = torch.empty_like(out, dtype=I64) if len(parts) > 1 else None
        for start in parts:
            inner = min(PLANES_INNER_MAX, left.inner - start)
            a = self._digit_planes(left, largest[0], start, inner, count, bits)
            b = self._digit_planes(right, largest[1], start, inner, count, bits)
            for column in range(0, columns, width):
                slab = b[:, column : column + width]
                products = a.new_empty((planes, a.shape[1], slab.shape[1]), dtype=torch.int32)
                for x, y, product in zip(a, slab, products, strict=True):
                    torch._int_mm(x, y.t(), out=product)
                wanted = min(width, columns - column)
                walk(
            self._program,
                    "exact_recombine", rows * wanted,
                    products, products.stride(0), products.stride(1), count, rows, wanted, column,
                    columns, totals, start == 0, start == parts[-1], *largest, bits,
                    *epilogue.addend, *epilogue.strides[1:], *epilogue.factors, out,
                )  # fmt: skip

    def _digit_planes(
        self, side: "_Side", largest: torch.Tensor, start: int, inner: int, count: int, bits: int
    ) -> torch.Tensor:
        """Return int8 (planes, rows, K) of K from `start`, padded with zeros."""
        rows, length = max(_aligned(side.rows), ROWS_MIN), _aligned(inner)
        x = side.x[..., start : start + inner]
        planes = torch.empty(
            (count * (count + 1) // 2, rows, length), dtype=torch.int8, device=x.device
        )
        self._program.launch(
            "exact_digit_planes",
            (divided_up(rows, 64), divided_up(length, 64), 1),
            THREADS,
            (x, side.rows, inner, *side.strides[1:], largest, count, bits, rows, length, planes),
        )
        return planes

    def _float64(
        self,
        left: "_Side",
        right: "_Side",
        largest: tuple[torch.Tensor, torch.Tensor],
        precision: Precision,
        epilogue: "_Epilogue",
        out: torch.Tensor,
    ) -> None:
        """Compute through one float64 product of integers."""
        bits = contraction.BITS[precision]
        a, b = (
            self._integers_of(side, found, bits)
            for side, found in zip((left, right), largest, strict=True)
        )
        product = contraction.product_float64(a, b.transpose(-1, -2), bits).contiguous()
        walk(
            self._program,
            "exact_finish_product", out.numel(),
            product, *out.shape, largest[0], left.shared(left.rows), largest[1],
            right.shared(right.rows), bits,
            *epilogue.addend, *epilogue.strides, *epilogue.factors, out,
        )  # fmt: skip

    def _integers_of(self, side: "_Side", largest: torch.Tensor, bits: int) -> torch.Tensor:
        """Return a side's integers as float64 (batches, rows, K)."""
        batches, rows, inner = side.batches, side.rows, side.inner
        shape = (batches, rows, inner) if side.is_along else (batches, inner, rows)
        integers = torch.empty(shape, dtype=F64, device=side.x.device)
        walk(
            self._program,
            "exact_integers", integers.numel(),
            side.x, batches, rows, inner, *side.strides, largest, bits, integers,
        )  # fmt: skip
        return integers if side.is_along else integers.transpose(-1, -2)


class _Side:
    """An operand of a product as rows x K: A as it is, B transposed."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x if x.dim() == 3 else x.unsqueeze(0)
        self.batches, self.rows, self.inner = self.x.shape
        self.strides = self.shared(self.x.stride(0)), self.x.stride(1), self.x.stride(2)

    @property
    def is_along(self) -> bool:
        """Whether a row's elements lie together, rather than neighbouring rows' elements."""
        return self.strides[2] <= self.strides[1]

    def shared(self, stride: int) -> int:
        """Return the stride from batch to batch: 0 where one is shared by all."""
        return stride if self.batches > 1 else 0


class _Epilogue:
    """What is done with each result: alpha times it, and beta times the addend."""

    def __init__(
        self, addend: torch.Tensor | None, shape: torch.Size, factors: tuple[float, float]
    ) -> None:
        self.factors = factors
        self.addend: tuple[torch.Tensor | None] = (None,)
        self.strides: tuple[int, ...] = (0, 0, 0)
        if addend is not None:
            spread = addend.to(F32).expand(shape)
            self.addend = (spread,)
            self.strides = (0,) * (3 - spread.dim()) + spread.stride()


def _route(inner: int, out: torch.Tensor) -> Route:
    """Choose by sizes; by arithmetic on the device's rates, not by measurement."""
    work = out.numel() * inner
    if work <= DIGITS_WORK_MAX:
        return Route.DIGITS
    smallest = min(*out.shape[1:], inner)
    if out.shape[0] == 1 and smallest >= PLANES_SIDE_MIN:
        return Route.PLANES
    return Route.FLOAT64 if _has_fast_float64(out.device) else Route.DIGITS


def _has_fast_float64(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    return torch.cuda.get_device_capability(device) in FLOAT64_CAPABILITIES


def _chain_kernel(out: torch.Tensor) -> str:
    """Return the FMA kernel: wide tiles where they leave enough blocks."""
    batches, rows, columns = out.shape
    tiles = batches * divided_up(rows, 128) * divided_up(columns, 128)
    return "exact_contract_FMA_128" if tiles >= WIDE_TILES_MIN else "exact_contract_FMA_64"


def _aligned(size: int) -> int:
    return divided_up(size, ALIGNMENT) * ALIGNMENT
