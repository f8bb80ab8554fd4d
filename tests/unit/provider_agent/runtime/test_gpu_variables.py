from assay_provider.runtime.gpu_variables import variables_with_gpus, without_driver_variables
from assay_provider.runtime.sandbox import GpuGrant

GRANT = GpuGrant(nodes=(), mounts=(), variables={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})


def test_the_drivers_libraries_come_before_a_jobs_own() -> None:
    own = {"LD_LIBRARY_PATH": "/opt/python/lib:/input/lib", "A": "1"}

    assert variables_with_gpus(own, GRANT) == {
        "A": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "LD_LIBRARY_PATH": "/opt/driver/lib:/opt/python/lib:/input/lib",
    }


def test_without_a_path_of_its_own_there_is_no_empty_entry() -> None:
    # An empty entry would mean the working directory.
    assert variables_with_gpus({}, GRANT)["LD_LIBRARY_PATH"] == "/opt/driver/lib"


def test_an_environments_words_to_loader_and_toolkit_are_dropped() -> None:
    image = {
        "LD_PRELOAD": "/proc/self/cwd/evil.so",
        "LD_LIBRARY_PATH": "/usr/local/cuda/compat",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "nvidia_driver_capabilities": "all",
        "CUDA_HOME": "/usr/local/cuda",
        "OLD_": "kept",
    }

    assert without_driver_variables(image) == {"CUDA_HOME": "/usr/local/cuda", "OLD_": "kept"}
