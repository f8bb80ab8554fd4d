import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_class import (
    cpu_class_name,
    gpu_class_name,
    hardware_class_digest,
)


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


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
        ("NVIDIA H100 PCIe", "nvidia-h100-pcie"),
        ("NVIDIA H200", "nvidia-h200"),
        ("NVIDIA A100-SXM4-40GB", "nvidia-a100-sxm4-40gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "nvidia-a100-sxm4-40gb-mig-1g.5gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb+me", "nvidia-a100-sxm4-40gb-mig-1g.5gb-me"),
        ("NVIDIA GeForce RTX 4090", "nvidia-geforce-rtx-4090"),
        ("GeForce GTX 1080 Ti", "nvidia-geforce-gtx-1080-ti"),
        ("Tesla V100-SXM2-16GB", "nvidia-tesla-v100-sxm2-16gb"),
        ("Tesla T4", "nvidia-tesla-t4"),
        ("Quadro RTX 6000", "nvidia-quadro-rtx-6000"),
        ("NVIDIA RTX 6000 Ada Generation", "nvidia-rtx-6000-ada-generation"),
        ("NVIDIA L40S", "nvidia-l40s"),
        ("NVIDIA GH200 480GB", "nvidia-gh200-480gb"),
        (
            "NVIDIA RTX PRO 6000 Blackwell Server Edition",
            "nvidia-rtx-pro-6000-blackwell-server-edition",
        ),
        ("AMD Instinct MI300X", "amd-instinct-mi300x"),
        ("Radeon RX 7900 XTX", "gpu-radeon-rx-7900-xtx"),
        ("", "gpu"),
        ("._NVIDIA_ .. -- ./. (R)", "nvidia-r"),
        ("NVIDIA " + "Very Long Edition " * 20, "nvidia" + "-very-long-edition" * 3),
        ("x" * 100, "gpu"),
    ],
)
def test_every_model_of_gpu_has_a_class(model: str, name: str) -> None:
    assert gpu_class_name(model) == name
    assert len(hardware_class_digest(name)) == 32


@given(model=st.text(max_size=200))
def test_whatever_a_driver_calls_a_gpu_its_class_can_be_staked_for(model: str) -> None:
    assert len(hardware_class_digest(gpu_class_name(model))) == 32
