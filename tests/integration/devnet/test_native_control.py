"""The demo's control: one script under several environments, in processes of their own."""

import os
from pathlib import Path

import pytest

from assay_node.cli.dev import _native_environment
from assay_node.devnet.demo import SETUPS
from assay_node.devnet.native_control import digest_of, native_digests
from assay_node.protocol.errors import LocalError

SCRIPT = """
import os, pathlib, sys
folder, output = map(pathlib.Path, sys.argv[1:])
assert (folder / "train.py").exists()
names = ("OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "PYTHONPATH")
(output / "seen").write_text(" ".join(os.environ.get(name, "-") for name in names))
"""


async def test_each_run_has_its_providers_environment_and_its_own_digest(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    environments = [_native_environment(setup) for setup in SETUPS]
    digests = await native_digests(tmp_path, tmp_path / "runs", environments)
    seen = [(tmp_path / "runs" / str(n) / "seen").read_text() for n in range(len(SETUPS))]
    assert [line.split()[0] for line in seen] == [str(setup.threads) for setup in SETUPS]
    assert len(set(digests)) == len(set(seen)) > 1
    assert digests[0] == digest_of(tmp_path / "runs" / "0")


async def test_a_script_that_fails_is_said_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('no digits here')")
    with pytest.raises(LocalError, match="no digits here"):
        await native_digests(tmp_path, tmp_path / "runs", [dict(os.environ)] * 2)


def test_a_digest_knows_names_and_where_files_end(tmp_path: Path) -> None:
    digests = set()
    for number, files in enumerate(({"a": "bc"}, {"a": "b", "c": ""}, {"b": "bc"}, {"a": "bc "})):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        digests.add(digest_of(folder))
    assert len(digests) == 4
