"""This machine's processor through each library: right products, real memory. Never how fast."""

import pytest

from assay_node.protocol.errors import LocalError
from assay_provider.inventory.benchmark.measuring import Device, Unsupported
from assay_provider.inventory.benchmark.numpy_device import NumpyDevice

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from assay_provider.inventory.benchmark.torch_device import TorchDevice  # noqa: E402


def torch_device() -> TorchDevice:
    return TorchDevice(gpu=False, memory_available_bytes=64 << 20, name="processor")


def numpy_device() -> NumpyDevice:
    return NumpyDevice(memory_available_bytes=64 << 20, name="processor")


@pytest.mark.parametrize("device", [torch_device(), numpy_device()], ids=["torch", "numpy"])
def test_a_processor_in_all_its_dtypes(device: Device) -> None:
    for dtype in device.dtypes:
        work = device.product(dtype, 64)
        work.run(2)
        assert work.amount == 2 * 64**3
    triad = device.triad(1 << 20)
    triad.run(1)
    assert triad.amount in (3 << 20, 5 << 20)
    assert device.memory_bytes() == 16 << 20
    with pytest.raises(Unsupported):
        device.copies(1 << 20)


@pytest.mark.parametrize("device", [torch_device(), numpy_device()], ids=["torch", "numpy"])
def test_chunks_tell_one_seed_from_another(device: Device) -> None:
    for seed in (0, 1, 2**20):
        chunk = device.chunk(1 << 20)
        chunk.write(seed)
        assert chunk.holds(seed)
        other = device.chunk(1 << 20)
        other.write(seed)
        assert not other.holds(seed + 1)


def test_a_single_wrong_word_shows() -> None:
    chunk = torch_device().chunk(1 << 20)
    chunk.write(3)
    chunk._words[12_345] += 1  # type: ignore[attr-defined]
    assert not chunk.holds(3)


def test_a_wrong_product_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch_device()
    monkeypatch.setattr(device, "_multiplying", lambda dtype, left, right: lambda: left)
    for dtype in device.dtypes:
        with pytest.raises(LocalError, match="a row of 64 is off by"):
            device.product(dtype, 64)


def test_what_the_library_cannot_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch, "_int_mm")
    with pytest.raises(Unsupported, match="no int8"):
        torch_device().product("int8", 64)


def test_a_gpu_that_is_not_there_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(LocalError, match="sees no GPU"):
        TorchDevice(gpu=True, memory_available_bytes=0, name="GPU")
