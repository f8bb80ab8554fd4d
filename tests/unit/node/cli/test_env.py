"""`assay env`: every command on a small image, and what each says when it cannot."""

import json
from pathlib import Path

import pytest

from tests.builders.images import folder, member, write_oci
from tests.unit.node.cli.conftest import Assay

PYTHON = (folder("usr"), folder("usr/bin"), member("usr/bin/python3.12", b"ELF", mode=0o755))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return write_oci(tmp_path / "image.tar", PYTHON, [member("x", b"1")], env=["LD_PRELOAD=/x"])


def test_an_image_is_built_listed_shown_exported_and_let_go(
    assay: Assay, image: Path, tmp_path: Path
) -> None:
    built = assay("env", "build", "--oci", str(image), "--name", "mine")
    assert built.code == 0, built.err
    cid = built.out.strip()
    assert "variables left out: LD_PRELOAD" in built.err
    assert "layer 2 of 2" in built.err
    listed = assay("env", "list")
    assert [line.split() for line in listed.out.splitlines()] == [
        [cid, *listed.out.split()[1:3], listed.out.split()[3], "Python", "3.12", "mine"]
    ]
    assert "host-python: the provider's own Python, a fallback for development" in listed.err
    shown = assay("env", "show", cid)
    assert shown.out.splitlines()[0].startswith("mine, for ")
    assert "2 entries" in shown.out or "3 entries" in shown.out
    assert "  OMP_NUM_THREADS=1" in shown.out
    target = tmp_path / "export.tar"
    assert assay("env", "export", cid, "-o", str(target)).code == 0
    again = json.loads(assay("env", "build", "--oci", str(target), "--json").out)
    assert (again["cid"], again["name"], again["left_out"]) == (cid, "mine", [])
    document = json.loads(assay("env", "list", "--json").out)
    assert [one["cid"] for one in document["environments"]] == [cid]
    assert document["fallback"] == "host-python"
    assert assay("env", "prune", cid).out.strip() == cid
    assert json.loads(assay("env", "list", "--json").out)["environments"] == []
    assert "not in the artifact store" in assay("env", "show", cid).err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("build",), "give one of --requirements FILE, --oci ARCHIVE and --folder FOLDER"),
        (("build", "--oci", "a", "--folder", "b"), "give one of"),
        (("build", "--oci", "/missing"), "/missing does not exist"),
        (("build", "--oci", "/etc/passwd", "--python", "3.11"), "go with --requirements"),
        (("build", "--requirements", "/etc/passwd", "--base", "/missing"), "does not exist"),
        (("build", "--requirements", "/etc/passwd", "--base", "/", "--compiled"), "leave out"),
        (("build", "--requirements", "/etc/passwd", "--python", "2.3"), "python2.3 is not"),
        (("build", "--oci", "/etc/passwd"), "not an image archive"),
        (("show", "nonsense"), "this is not an environment"),
        (("show", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"), "another kind"),
        (("prune",), "name what is to go by CID, or say --all"),
        (("prune", "--all", "x"), "or say --all"),
        (("list", "--cached"), "no provider has kept layers"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    assay: Assay, words: tuple[str, ...], reason: str
) -> None:
    done = assay("env", *words)
    assert (done.code, done.out) == (1, "")
    assert reason in done.err
    assert "Traceback" not in done.err


def test_a_providers_cache_is_listed_and_pruned(assay: Assay, home: Path) -> None:
    from assay_provider.environments.cache import LayerCache
    from tests.unit.provider_agent.environments.test_cache import add

    cache = LayerCache(home / "provider" / "environments", quota_bytes=1000)
    used, unused = add(cache, b"used"), add(cache, b"unused")
    cache.take(used.cid)
    listed = json.loads(assay("env", "list", "--cached", "--json").out)
    assert {layer["cid"] for layer in listed["layers"]} == {used.cid, unused.cid}
    assert used.cid in assay("env", "list", "--cached").out
    assert assay("env", "prune", "--cached", "--all").out.strip() == unused.cid
    done = assay("env", "prune", "--cached", used.cid)
    assert (done.code, done.out) == (0, "")
    assert "jobs use it" in done.err
    cache.release(used.cid)
