"""The wheel holds our packages under names of our own, their data files, and nothing else."""

import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All paths inside the wheel, built without a network and without a build environment."""
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_top_level_names(names: list[str]) -> None:
    # plain `node` and `scheduler` are other people's packages and would be overwritten in silence
    assert {name.split("/")[0] for name in names} == {
        "assay_node",
        "assay_provider",
        "assay_scheduler",
        "exact_torch",
        "assay-0.1.0.dist-info",
    }


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("node", "assay_node/chain/abi/*.json"),
        ("node", "assay_node/store/migrations/**/*.py"),
        ("node", "**/py.typed"),
        ("scheduler", "**/py.typed"),
        ("provider_agent", "**/py.typed"),
        ("provider_agent", "assay_provider/runtime/*.txt"),
        ("exact", "**/py.typed"),
        ("exact", "exact_torch/native/kernels/*"),
        ("exact", "exact_torch/cuda/sources/*"),
        ("provider_agent", "assay_provider/runtime/wasm/probes/*"),
    ],
)
def test_data_files_are_in_the_wheel(names: list[str], folder: str, pattern: str) -> None:
    source = ROOT / folder
    wanted = {str(path.relative_to(source)) for path in source.glob(pattern)}
    assert wanted, f"{folder}/{pattern} matches nothing any more"
    assert wanted <= set(names)


def test_nothing_is_in_the_wheel_that_is_no_source(names: list[str]) -> None:
    kinds = {Path(name).suffix for name in names if ".dist-info/" not in name}
    plain = {".py", ".typed", ".json", ".txt", ".sql", ".mako", ".ini"}
    assert kinds <= plain | {".cpp", ".hpp", ".inc", ".cu", ".wat"}
    assert "assay-0.1.0.dist-info/licenses/LICENSE" in names
