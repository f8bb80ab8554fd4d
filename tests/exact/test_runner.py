"""The runner and the matrix notice what they are there to notice."""

import math
import os

import pytest
import torch

from tests.exact import matrix
from tests.exact.models import texts
from tests.exact.models.wordpiece import WordPiece, words
from tests.exact.programs import FAMILIES, PROGRAMS
from tests.exact.programs.inputs import integers, lattice
from tests.exact.runner import digest, digests
from tests.exact.settings import SETTINGS, VARIABLES, Setting

VALUE = torch.tensor([[1.0, -2.0], [0.5, math.nan]])


def test_one_bit_changes_the_digest() -> None:
    other = VALUE.clone()
    other[0, 0] = math.nextafter(1.0, 2.0)
    assert digests({"a": other}) == digests({"a": VALUE}), "that is less than a float32 bit"
    other.view(torch.int32)[0, 0] ^= 1
    assert digests({"a": other}) != digests({"a": VALUE})


@pytest.mark.parametrize(
    "other",
    [VALUE.reshape(4), VALUE.view(torch.int32), VALUE.double(), VALUE.t().contiguous(), -VALUE],
    ids=["shape", "type", "precision", "order", "sign"],
)
def test_type_shape_and_values_are_in_the_digest(other: torch.Tensor) -> None:
    assert digest({"a": other}) != digest({"a": VALUE})


def test_names_are_in_the_digest() -> None:
    assert digest({"a": VALUE}) != digest({"b": VALUE})


def test_layout_and_the_kind_of_nan_are_not_in_the_digest() -> None:
    other = VALUE.t().contiguous().t()
    other.view(torch.int32)[1, 1] = -0x3FFFFF  # 0xFFC00001
    assert other.isnan()[1, 1]
    assert not other.is_contiguous()
    assert digest({"a": other}) == digest({"a": VALUE})


def test_a_zero_keeps_its_sign() -> None:
    assert digest({"a": torch.tensor(-0.0)}) != digest({"a": torch.tensor(0.0)})


def test_differences_are_named_and_missing_data_is_none() -> None:
    wanted = {"same": "1" * 64, "other": "2" * 64, "failed": "3" * 64, "absent": "4" * 64}
    programs = {
        "same": {"digest": "1" * 64},
        "other": {"digest": "9" * 64},
        "failed": {"error": "UnsupportedOp: aten::svd"},
    }
    lines = matrix.differing({"programs": programs}, wanted)
    assert [line.partition(":")[0] for line in lines] == ["other", "failed", "absent"]
    assert "aten::svd" in lines[1]
    lacking = {"programs": {**programs, "absent": {"missing": "no data"}}}
    assert len(matrix.differing(lacking, wanted)) == 2


def test_programs_with_several_digests_are_counted() -> None:
    one = {"programs": {"a": {"digest": "1"}, "b": {"digest": "1"}, "c": {"missing": ""}}}
    two = {"programs": {"a": {"digest": "1"}, "b": {"digest": "2"}, "c": {"digest": "3"}}}
    assert matrix.disagreeing([one, two]) == ["b"]


def test_a_setting_is_not_disturbed_by_the_environment_around_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "disturbed")
    environment = matrix.environment(Setting(name="x", variables={"MKL_CBWR": "AVX2"}))
    assert environment["MKL_CBWR"] == "AVX2"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert "disturbed" not in {environment.get(name) for name in VARIABLES}
    assert environment["PATH"] == os.environ["PATH"]


def test_settings_have_names_of_their_own() -> None:
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


def test_the_corpus_is_as_large_as_promised_and_knows_nothing_of_the_package() -> None:
    assert len(PROGRAMS) >= 30
    for family in FAMILIES:
        assert "import exact_torch" not in (matrix.ROOT / family.__file__).read_text()


def test_inputs_are_the_hash_that_they_say() -> None:
    """Against the same hash in plain integers: another input would be another corpus."""

    def hashed(index: int, seed: int) -> int:
        x = ((index + seed * 1_000_003) * 2654435761) & 0xFFFFFFFF
        x = ((x ^ (x >> 15)) * 2246822519) & 0xFFFFFFFF
        x = ((x ^ (x >> 13)) * 3266489917) & 0xFFFFFFFF
        return x ^ (x >> 16)

    wanted = [(hashed(n, 5) >> 8) * 2.0**-23 - 1.0 for n in range(12)]
    assert lattice(3, 4, seed=5).flatten().tolist() == wanted
    assert integers(12, seed=5, below=7).tolist() == [(hashed(n, 5) >> 7) % 7 for n in range(12)]


def test_words_and_pieces() -> None:
    assert words("Façade's 東京\tok\x00!") == ["facade", "'", "s", "東", "京", "ok", "!"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##known", "##able", "unknow", "##n", "!"]
    tokenizer = WordPiece(pieces)
    assert tokenizer.numbers("unable UNKNOWN! qq") == [2, 4, 6, 7, 8, 9, 1, 3]
    assert tokenizer.numbers("u" * 101) == [2, 1, 3]


def test_sentences_are_sentences() -> None:
    found = texts.sentences(200)
    assert len(set(found)) == 200
    assert all(texts.WORDS_MIN <= len(line.split()) <= texts.WORDS_MAX for line in found)
    with pytest.raises(ValueError, match="sentences, not"):
        texts.sentences(10**6)
