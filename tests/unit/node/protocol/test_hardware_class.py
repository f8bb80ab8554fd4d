import hashlib

import pytest

from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_class import cpu_class_name, hardware_class_digest


def test_a_digest_is_the_hash_of_the_name_and_stays_what_it_is() -> None:
    """On chain for good: providers register under this value."""
    assert hardware_class_digest("cpu-x86_64") == hashlib.sha256(b"cpu-x86_64").digest()
    assert hardware_class_digest("cpu-x86_64").hex().startswith("006c7cc65b2a3ab6")


def test_names_of_architectures_make_classes() -> None:
    assert cpu_class_name("x86_64") == "cpu-x86_64"
    assert hardware_class_digest(cpu_class_name("aarch64")) != hardware_class_digest("cpu-x86_64")


@pytest.mark.parametrize("name", ["", "CPU", "cpu x86", "-cpu", "cpu\n", "c" * 65, "ü"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(LocalError):
        hardware_class_digest(name)
