"""One digest for each program, whatever the setting; and a control that has several."""

import os
import sys

import pytest

from tests.exact import matrix
from tests.exact.programs import PROGRAMS
from tests.exact.runner import ALL
from tests.exact.settings import CONTROLS, EXPECTED_SETTING, MODES, NATIVE, SETTINGS, Setting

WHOLE = os.environ.get("EXACT_TORCH_MATRIX") == "whole"
ROWS = [
    pytest.param(setting, mode, id=f"{mode}-{setting.name}")
    for setting in SETTINGS
    for mode in setting.modes
    if setting.in_tests or WHOLE
]
BATCH_POSITIONS = [name for name in PROGRAMS if name.startswith("batch_position_")]
DISAGREEING_MIN = len(ALL) // 2
"""Plain PyTorch disagrees with itself on most of the corpus wherever ATen has vector paths."""

pytestmark = pytest.mark.timeout(matrix.TIMEOUT_S)


@pytest.mark.parametrize(("setting", "mode"), ROWS)
def test_every_setting_gives_the_committed_digests(setting: Setting, mode: str) -> None:
    if setting.older_torch and matrix.older_python() is None:
        pytest.skip(f"no older torch: `make matrix` installs one, ${matrix.OLDER_PYTHON_VARIABLE}")
    document = matrix.run(setting, mode)
    if "refused" in document and setting.may_refuse:
        pytest.skip(f"the engine's self-test refused it here: {document['refused']}")
    assert "refused" not in document, document["refused"]
    different = matrix.differing(document, matrix.expected()["digests"][mode])
    assert not different, "\n".join([matrix.replay(setting, mode), *different])


@pytest.mark.parametrize("mode", MODES)
def test_every_program_has_a_committed_digest(mode: str) -> None:
    assert sorted(matrix.expected()["digests"][mode]) == sorted(ALL)


def test_digests_belong_to_this_version_of_the_specification() -> None:
    import exact_torch

    assert matrix.expected()["spec_version"] == exact_torch.SPEC_VERSION


def test_the_modes_differ_where_something_is_contracted() -> None:
    """Three modes with one digest would mean that the mode is not looked at."""
    digests = matrix.expected()["digests"]
    for name in ("mlp_sgd_momentum", "gpt_training", "cnn_adam", "lstm_training"):
        assert len({digests[mode][name] for mode in MODES}) == len(MODES), name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", BATCH_POSITIONS)
def test_a_row_has_one_result_at_every_place_of_every_batch(name: str, mode: str) -> None:
    result = matrix.run(EXPECTED_SETTING, mode)["programs"][name]
    assert "error" not in result, result["error"]
    assert len(result["tensors"]) >= 5
    assert len(set(result["tensors"].values())) == 1, result["tensors"]


@pytest.mark.parametrize("mode", MODES)
def test_training_resumed_from_a_checkpoint_has_the_bits_of_training_that_never_stopped(
    mode: str,
) -> None:
    tensors = matrix.run(EXPECTED_SETTING, mode)["programs"]["checkpoint_round_trip"]["tensors"]
    names = [name.removeprefix("straight.") for name in tensors if name.startswith("straight.")]
    assert names
    for name in names:
        assert tensors[f"straight.{name}"] == tensors[f"resumed.{name}"], name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["draws_of_a_generator", "draws_of_the_default"])
def test_a_seed_gives_its_numbers_again(name: str, mode: str) -> None:
    programs = matrix.run(EXPECTED_SETTING, mode)["programs"]
    other = matrix.run(EXPECTED_SETTING, MODES[0])["programs"]
    assert programs[name]["tensors"] == other[name]["tensors"], "no mode changes random numbers"


def test_plain_pytorch_disagrees_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Without this the matrix could agree because its settings change nothing."""
    settings = [s for s in CONTROLS if (s.in_tests or WHOLE) and not s.older_torch]
    split = matrix.disagreeing(matrix.run(setting, NATIVE) for setting in settings)
    with capsys.disabled():
        share = f"{len(split)} of {len(ALL)} programs"
        sys.stdout.write(f"\nplain PyTorch gave more than one digest for {share}\n")
    assert len(split) >= DISAGREEING_MIN, split
