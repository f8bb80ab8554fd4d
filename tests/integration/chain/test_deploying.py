"""A market is deployed by a key of ours and verified; one that was not built here is found out."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from assay_node.chain import deployment as deployments
from assay_node.chain.client import SENDING, open_reader
from assay_node.chain.deployment import Deployment
from assay_node.chain.rpc import open_rpc
from assay_node.deploying.build import abi_digest
from assay_node.deploying.config import AllowedToken, DeployConfig, load
from assay_node.deploying.deploy import deploy, verify_deployment
from assay_node.devnet.anvil import contracts_folder
from assay_node.devnet.deploy import faucet
from assay_node.keys import SCRYPT_N_DEVELOPMENT, create_key, save_keystore
from assay_node.protocol.errors import ChainError, LocalError
from assay_node.protocol.ids import Address, Digest
from tests.fixtures.chain import ChainLab

LOCAL = contracts_folder() / "deployments" / "local.toml"
TREASURY = Address("0x" + "71" * 20)


async def test_a_deployment_says_how_it_was_built_and_can_be_verified(
    chain: ChainLab, tmp_path: Path
) -> None:
    assert chain.deployment.build is not None
    assert chain.deployment.build.abi_digest == abi_digest()
    assert chain.deployment.build.compiler["version"].startswith("0.8.37")
    path = tmp_path / "deployment.json"
    deployments.save(chain.deployment, path)
    assert deployments.load(path) == chain.deployment
    found = await verify_deployment(path, rpc_url=chain.url)
    assert found.reasons == ()
    hashes = {contract.name: contract.code_hash for contract in found.contracts}
    assert hashes == dict(chain.deployment.build.code_hashes)


async def test_what_is_not_what_was_built_is_found_out(chain: ChainLab, tmp_path: Path) -> None:
    mine = chain.deployment
    assert mine.build is not None
    elsewhere = replace(mine, treasury=TREASURY, token=mine.market)
    assert await reasons(elsewhere, chain, tmp_path) == [
        f"the Vault's token is {mine.token}, and {mine.market} in the deployment file",
        f"the Vault's treasury is {mine.treasury}, and {TREASURY} in the deployment file",
    ]
    swapped = replace(mine, vault=mine.market)
    (first, *_) = await reasons(swapped, chain, tmp_path)
    assert first.startswith("Vault: its code has")
    empty = replace(mine, providers=TREASURY)
    (first, *_) = await reasons(empty, chain, tmp_path)
    assert first == "Providers: there is no code at this address"
    other = replace(mine.build, abi_digest=Digest(b"\x01" * 32), compiler={"version": "0.4.0"})
    found = await reasons(replace(mine, build=other), chain, tmp_path)
    assert found[0].startswith("the file's ABI digest is 0x0101")
    assert found[1].startswith("the file was made by {'version': '0.4.0'}")


async def test_one_changed_byte_on_the_chain_is_found_out(chain: ChainLab, tmp_path: Path) -> None:
    other = Address("0x" + "ca" * 20)
    async with open_rpc(chain.url, timeout_s=10) as rpc:
        code = bytearray.fromhex(
            (await rpc.read("eth_getCode", chain.deployment.market, "latest"))[2:]
        )
        code[len(code) // 2] ^= 1
        await rpc.call("anvil_setCode", other, "0x" + code.hex())
    (first, *_) = await reasons(replace(chain.deployment, market=other), chain, tmp_path)
    assert first.startswith("Market: ")


async def reasons(deployment: Deployment, chain: ChainLab, tmp_path: Path) -> list[str]:
    path = tmp_path / "other.json"
    deployments.save(deployment, path)
    found = await verify_deployment(path, rpc_url=chain.url)
    assert not found.good
    return list(found.reasons)


async def test_a_market_on_a_token_that_is_there_and_the_wallet_has_no_power(
    chain: ChainLab,
) -> None:
    token = AllowedToken(
        address=chain.deployment.token, symbol="tUSD", decimals=6, reviewed="by this test"
    )
    config = DeployConfig(chain_id=31_337, token=token, treasury=TREASURY)
    key = create_key()
    await faucet(chain.url, chain.deployment, key.address, eth=1, microusd=1)
    told: list[str] = []
    found = await deploy(
        config, key, rpc_url=chain.url, sending=SENDING, journals=None, tell=told.append
    )
    assert (found.token, found.treasury) == (chain.deployment.token, TREASURY)
    assert found.vault != chain.deployment.vault
    assert [line.split(" at ")[0] for line in told if line.startswith("creating")] == [
        f"creating {name}"
        for name in ("Vault", "Providers", "Market", "Road", "Leases", "Court", "Schedulers")
    ]
    settings = replace(chain.settings, deployment=found)
    async with open_reader(settings) as reader:
        assert (await reader.head()).number >= found.deploy_block


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": "USDC"}, "calls itself 'tUSD' with 6 decimals, and 'USDC' with 6 was reviewed"),
        ({"decimals": 18}, "'tUSD' with 18 was reviewed"),
        ({"address": TREASURY}, "there is no contract at"),
        ({"address": None}, "is not an ERC-20 token"),
    ],
)
async def test_a_token_that_is_not_the_one_on_the_list_is_refused_before_anything_is_sent(
    chain: ChainLab, change: dict[str, object], reason: str
) -> None:
    good = AllowedToken(
        address=chain.deployment.token, symbol="tUSD", decimals=6, reviewed="by this test"
    )
    if change == {"address": None}:
        change = {"address": chain.deployment.market}
    token = replace(good, **change)  # type: ignore[arg-type]
    config = DeployConfig(chain_id=31_337, token=token, treasury=TREASURY)
    with pytest.raises(LocalError, match=reason):
        await deploy(config, create_key(), rpc_url=chain.url, sending=SENDING, journals=None)


async def test_another_chain_is_refused_and_an_empty_wallet_is_told_so(chain: ChainLab) -> None:
    config = load(LOCAL)
    with pytest.raises(LocalError, match="serves chain 31337, and the contracts belong on chain 5"):
        await deploy(
            replace(config, chain_id=5), create_key(), rpc_url=chain.url, sending=SENDING,
            journals=None,
        )  # fmt: skip
    with pytest.raises(ChainError, match="cannot pay for gas"):
        await deploy(config, create_key(), rpc_url=chain.url, sending=SENDING, journals=None)


async def test_the_commands_deploy_and_verify(chain: ChainLab, tmp_path: Path) -> None:
    home = tmp_path / "home"
    key = create_key()
    await faucet(chain.url, chain.deployment, key.address, eth=1, microusd=1)
    save_keystore(home / "wallets" / "default.json", key, "secret", scrypt_n=SCRYPT_N_DEVELOPMENT)
    password = home / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    environment = {
        **os.environ,
        "ASSAY_HOME": str(home),
        "ASSAY_PASSWORD_FILE": str(password),
        "ASSAY_CHAIN__RPC_URL": chain.url,
    }

    def assay(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assay_node", "contracts", *arguments],
            env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    out = tmp_path / "market.json"
    deployed = assay("deploy", "--market", str(LOCAL), "--out", str(out), "--yes", "--json")
    assert deployed.returncode == 0, deployed.stderr
    assert json.loads(deployed.stdout)["market"] == deployments.load(out).market
    verified = assay("verify", "--deployment", str(out), "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["good"] is True
    again = assay("deploy", "--market", str(LOCAL), "--out", str(out), "--yes")
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
    deployments.save(replace(deployments.load(out), treasury=TREASURY), out)
    wrong = assay("verify", "--deployment", str(out))
    assert wrong.returncode == 1
    assert "the Vault's treasury is" in wrong.stderr
