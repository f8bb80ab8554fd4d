"""Code on a chain against code as built, byte for byte but for the immutables."""

from dataclasses import replace

from assay_node.deploying.build import BuiltContract
from assay_node.deploying.verification import fault_in

BUILT = BuiltContract(
    name="Vault",
    runtime=b"\x60\x00" + bytes(4) + b"\x61" + bytes(4) + b"\x62" + bytes(2),
    immutables=(((2, 4), (7, 4)), ((12, 2),)),
    compiler={},
)
GOOD = b"\x60\x00" + b"\xaa" * 4 + b"\x61" + b"\xaa" * 4 + b"\x62" + b"\xbb" * 2


def test_what_was_built_is_good_whatever_its_immutables_are() -> None:
    assert fault_in(GOOD, BUILT) == ""
    assert fault_in(GOOD.replace(b"\xaa", b"\x01"), BUILT) == ""


def test_any_other_byte_that_differs_is_a_fault() -> None:
    for place in (0, 1, 6, 11):
        changed = bytearray(GOOD)
        changed[place] ^= 1
        assert fault_in(bytes(changed), BUILT) == (
            f"its code differs from what was built, from byte {place} on"
        )


def test_an_immutable_with_two_values_is_a_fault() -> None:
    changed = bytearray(GOOD)
    changed[8] ^= 1
    assert fault_in(bytes(changed), BUILT) == "one of its immutables has two values"


def test_missing_and_longer_code_are_faults() -> None:
    assert fault_in(b"", BUILT) == "there is no code at this address"
    assert fault_in(GOOD + b"\x00", BUILT) == "its code has 15 bytes, and 14 as built"
    assert fault_in(GOOD, replace(BUILT, immutables=())).startswith("its code differs")
