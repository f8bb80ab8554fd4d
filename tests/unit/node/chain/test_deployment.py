import json
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.chain.deployment import Deployment, load, save
from assay_node.protocol.errors import LocalError, MalformedMessage
from assay_node.protocol.ids import Address

DEPLOYMENT = Deployment(
    chain_id=31_337,
    token=Address("0x" + "01" * 20),
    vault=Address("0x" + "02" * 20),
    providers=Address("0x" + "03" * 20),
    market=Address("0x" + "04" * 20),
    road=Address("0x" + "06" * 20),
    leases=Address("0x" + "07" * 20),
    treasury=Address("0x" + "05" * 20),
    deploy_block=7,
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deployment.json"
    save(DEPLOYMENT, path)
    assert load(path) == DEPLOYMENT
    assert [entry.name for entry in path.parent.iterdir()] == ["deployment.json"]


def test_checksummed_addresses_as_the_deploy_script_writes_them_are_lowered(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deployment.json"
    save(DEPLOYMENT, path)
    fields = json.loads(path.read_text()) | {"token": "0x" + "Ab" * 20}
    path.write_text(json.dumps(fields))
    assert load(path).token == "0x" + "ab" * 20


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"market": None}, "market is missing or not a string"),
        ({"road": None}, "road is missing or not a string"),
        ({"market": "0x12"}, "'0x12' is not an Ethereum address"),
        ({"chainId": "1"}, "chainId is missing or not an integer"),
        ({"chainId": True}, "chainId is missing or not an integer"),
        ({"chainId": 0}, "chain_id is at least 1"),
        ({"deployBlock": -1}, "deploy_block at least 0"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    path = tmp_path / "deployment.json"
    save(DEPLOYMENT, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LocalError, match=reason):
        load(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "x" * 20_000, "\udcff"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deployment.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LocalError, match="deployment file"):
        load(path)


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="assay dev up"):
        load(tmp_path / "nothing.json")


def test_addresses_in_memory_are_lower_case() -> None:
    with pytest.raises(MalformedMessage, match="vault is not written in lower case"):
        replace(DEPLOYMENT, vault=Address("0x" + "Ab" * 20))
