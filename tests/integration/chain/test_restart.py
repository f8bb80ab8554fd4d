"""The local chain as a process: stopped, killed, restarted, and gone with its parent."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from assay_node.chain.client import ChainSettings, open_chain
from assay_node.chain.deployment import Deployment
from assay_node.devnet.anvil import AnvilProcess, AnvilSettings, find_anvil
from assay_node.devnet.deploy import deploy, faucet
from assay_node.keys import LocalKey, create_key
from assay_node.ports import TransactionState
from assay_node.protocol.errors import ChainUnavailable, LocalError
from assay_node.protocol.ids import Address
from tests.fixtures.chain import a_class, anvil_settings, quick, until

USD = 1_000_000
SCHEDULER = Address("0x" + "88" * 20)
START_ANVIL = """
import asyncio, sys
from pathlib import Path
from assay_node.devnet.anvil import AnvilProcess, AnvilSettings

async def main():
    async with AnvilProcess(AnvilSettings(binary=Path(sys.argv[1]))) as anvil:
        print(anvil.pid, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


async def a_funded_chain(anvil: AnvilProcess) -> tuple[Deployment, LocalKey]:
    deployment, key = await deploy(anvil.url), create_key()
    await faucet(anvil.url, deployment, key.address, eth=1, microusd=100 * USD)
    return deployment, key


async def test_a_restart_is_unavailable_for_a_while_and_loses_nothing(tmp_path: Path) -> None:
    async with AnvilProcess(anvil_settings(state=tmp_path / "state.json")) as anvil:
        deployment, key = await a_funded_chain(anvil)
        settings = ChainSettings(rpc_url=anvil.url, deployment=deployment)
        async with open_chain(settings, key) as wallet:
            await wallet.deposit(100 * USD)
            await wallet.fund_budget(SCHEDULER, 40 * USD)
            head = await wallet.head()
            seed = await wallet.block_hash(head.number)
            await anvil.stop()
            for call in (wallet.head(), wallet.account(key.address), wallet.withdraw(USD)):
                with pytest.raises(ChainUnavailable):
                    await call
            await anvil.start()
            assert (await wallet.account(key.address)).free_microusd == 60 * USD
            assert await wallet.budget(key.address, SCHEDULER) == 40 * USD
            assert await wallet.block_hash(head.number) == seed
            await wallet.withdraw(10 * USD)
            assert (await wallet.account(key.address)).free_microusd == 50 * USD


async def test_calls_under_way_when_the_chain_goes_end_as_unavailable(tmp_path: Path) -> None:
    async with AnvilProcess(anvil_settings(state=tmp_path / "state.json")) as anvil:
        deployment, key = await a_funded_chain(anvil)
        settings = ChainSettings(rpc_url=anvil.url, deployment=deployment)
        async with open_chain(settings, key) as wallet:

            async def read_for_ever() -> None:
                while True:
                    await wallet.account(key.address)

            readers = [asyncio.create_task(read_for_ever()) for _ in range(8)]
            await asyncio.sleep(0.1)
            await anvil.kill()
            ends = await asyncio.gather(*readers, return_exceptions=True)
            assert {type(end) for end in ends} == {ChainUnavailable}


async def test_a_transaction_that_the_chain_forgot_is_sent_again(tmp_path: Path) -> None:
    async with AnvilProcess(anvil_settings(state=tmp_path / "state.json")) as anvil:
        deployment, key = await a_funded_chain(anvil)
        settings = quick(ChainSettings(rpc_url=anvil.url, deployment=deployment))
        async with open_chain(settings, key) as wallet:
            head = await wallet.head()
            await wallet._rpc.call("evm_setIntervalMining", 0)  # nothing is mined from here on
            await wallet.keep_seed(a_class(), head.number - 1)
            assert await wallet.pursue() == []
            await anvil.stop()
            await anvil.start()
            (outcome,) = await until(wallet.pursue)
            assert outcome.state is TransactionState.SUCCEEDED


async def test_a_killed_chain_comes_back_with_its_last_dump(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with AnvilProcess(anvil_settings(state=state, state_interval_s=1)) as anvil:
        deployment, key = await a_funded_chain(anvil)
        settings = ChainSettings(rpc_url=anvil.url, deployment=deployment)
        async with open_chain(settings, key) as wallet:
            await wallet.deposit(100 * USD)
            await _next_dump(state)
            await _next_dump(state)  # the first may have begun before the deposit
            await anvil.kill()
            await anvil.start()
            assert (await wallet.account(key.address)).free_microusd == 100 * USD


async def test_the_chain_dies_with_a_parent_that_is_killed_outright() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START_ANVIL, str(find_anvil(anvil_settings().binary)),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    os.kill(child, 0)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(20):
        await until(lambda: asyncio.to_thread(_gone, child))


async def test_a_taken_port_and_a_missing_binary_are_explained() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {port} is taken"):
            await AnvilProcess(anvil_settings(port=port)).start()
    with pytest.raises(LocalError, match="not an executable file"):
        await AnvilProcess(AnvilSettings(binary=Path("/nonexistent/anvil"))).start()


async def test_a_chain_that_gives_up_says_why(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"no": "state"}')
    with pytest.raises(LocalError, match="anvil stopped with status"):
        await AnvilProcess(anvil_settings(state=state)).start()


async def test_a_state_file_torn_by_a_kill_is_named_with_the_remedy(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"block": {"number')
    with pytest.raises(LocalError, match=r"state\.json was cut short .* remove it"):
        await AnvilProcess(anvil_settings(state=state)).start()


async def _next_dump(state: Path) -> None:
    before = _written(state)
    async with asyncio.timeout(20):
        await until(lambda: asyncio.to_thread(lambda: _written(state) > before))
        # Anvil writes in place: the file is whole some time after it was touched.
        await until(lambda: asyncio.to_thread(_is_whole, state))


def _written(state: Path) -> int:
    return state.stat().st_mtime_ns if state.exists() else 0


def _is_whole(state: Path) -> bool:
    try:
        json.loads(state.read_text())
    except ValueError:
        return False
    return True


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
