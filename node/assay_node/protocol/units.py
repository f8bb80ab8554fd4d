"""Money and limits. Money is an integer number of micro-USD; sizes are bytes; times are seconds."""

from decimal import Decimal, InvalidOperation
from typing import Final

from assay_node.protocol.errors import LocalError, MalformedMessage

MICROUSD_PER_USD: Final = 1_000_000
UINT8_MAX: Final = (1 << 8) - 1
UINT32_MAX: Final = (1 << 32) - 1
UINT64_MAX: Final = (1 << 64) - 1
UINT256_MAX: Final = (1 << 256) - 1

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
_SIZE_UNITS: Final = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB}


def usd_to_microusd(text: str) -> int:
    """Return dollars as micro-USD: "0.25" and "$0.25" give 250000.

    Raises:
        LocalError: it is not a non-negative amount in whole micro-USD.
    """
    try:
        amount = Decimal(text.strip().removeprefix("$")) * MICROUSD_PER_USD
        if amount.is_finite() and amount >= 0 and amount == amount.to_integral_value():
            return int(amount)
    except InvalidOperation:
        pass
    raise LocalError(f"{text!r} is not an amount in dollars with at most 6 decimals, such as 0.25")


def microusd_to_text(amount: int) -> str:
    """Return micro-USD as people read money: 250000 gives "$0.25", 1234 gives "$0.001234"."""
    sign = "-" if amount < 0 else ""
    whole, rest = divmod(abs(amount), MICROUSD_PER_USD)
    cents = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole}.{cents}"


def parse_size(text: str) -> int:
    """Return bytes for "512M", "2GiB", "1048576" (binary units).

    Raises:
        LocalError: it is anything else.
    """
    lowered = text.strip().lower()
    digits = lowered.rstrip("bikmg")
    suffix = lowered[len(digits) :].removesuffix("ib")
    if digits.strip().isdecimal() and suffix in _SIZE_UNITS:
        return int(digits) * _SIZE_UNITS[suffix]
    raise LocalError(f"{text!r} is not a size such as 512M or 2G")


def size_to_text(size: int) -> str:
    """Return bytes as people read sizes: 536870912 gives "512 MiB"."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.4g} {name}"
    return f"{size} B"


def check_uint(value: int, bits: int, name: str) -> None:
    """Refuse an integer outside 0 .. 2^bits - 1.

    Raises:
        MalformedMessage: naming the field.
    """
    if not 0 <= value < 1 << bits:
        raise MalformedMessage(f"{name} {value} does not fit {bits} unsigned bits")
