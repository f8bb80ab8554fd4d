"""A local chain: the native Anvil binary as a child process that cannot outlive us."""

import asyncio
import logging
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from assay_node.chain.rpc import open_rpc
from assay_node.protocol.errors import ChainUnavailable, LocalError

logger = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"
CHAIN_ID: Final = 31_337
"""Anvil's own default; wallets and tools know it as "a local chain"."""

MNEMONIC: Final = "test test test test test test test test test test test junk"
"""The well-known phrase behind Anvil's funded accounts: no secret, worthless on any other chain."""

START_S_MAX: Final = 30.0
"""Loading the state of a long-lived chain takes seconds on a busy machine, never this long."""

STOP_S_MAX: Final = 20.0
"""SIGTERM makes Anvil write its whole state first; only then is it killed."""

STATES_ON_DISK_MAX: Final = 16
"""Anvil writes the state after each old block to disk and never deletes it: 4 GB in 9,000 blocks.
Nothing of ours reads states that old."""

_POLL_S: Final = 0.05
_RPC_TIMEOUT_S: Final = 2.0
_STDERR_BYTES_MAX: Final = 2_000
_PORT_ATTEMPTS: Final = 3  # a free port may be taken between our look and Anvil's bind

# Run by a small interpreter that then becomes Anvil: prctl(2) has to be called in the child, and
# `preexec_fn` may deadlock in a process with threads. The parent is compared because it may have
# died before prctl took effect. Linux sends the signal when the *thread* that forked ends, so start
# Anvil from a thread that stays (the main one).
_LAUNCHER: Final = """\
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGTERM = 1, 15
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnvilSettings:
    """How to run the chain. `port` 0 chooses a free one; without `state` nothing is kept."""

    port: int = 0
    block_time_s: float = 0.25
    state: Path | None = None
    state_interval_s: int = 5
    """How much a chain that is killed outright may lose; a clean stop loses nothing."""
    binary: Path | None = None


class AnvilProcess:
    """A running Anvil. Use as an async context manager; it answers before `__aenter__` returns.

    `stop` and `start` may be called in between: a chain with a `state` file then continues where it
    was, on the same port.
    """

    def __init__(self, settings: AnvilSettings | None = None) -> None:
        self._settings = settings or AnvilSettings()
        self._port = self._settings.port
        self._process: asyncio.subprocess.Process | None = None
        self._swap: tempfile.TemporaryDirectory[str] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The JSON-RPC endpoint."""
        return f"http://{HOST}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process ID while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    async def start(self) -> None:
        """Start the chain and wait until it answers.

        Raises:
            LocalError: no binary, the port is taken, or Anvil gave up; with what it said.
        """
        binary = find_anvil(self._settings.binary)
        attempts = _PORT_ATTEMPTS if self._port == 0 else 1
        for left in reversed(range(attempts)):
            port = self._port or _free_port()
            _check_port_free(port)
            try:
                self._process = await self._launch(binary, port)
            except LocalError:
                if left == 0:
                    raise
            else:
                self._port = port
                logger.info("anvil answers", extra={"url": self.url, "pid": self.pid})
                return

    async def stop(self) -> None:
        """Stop the chain after it has written its state. Harmless when it is not running."""
        process, self._process = self._process, None
        try:
            if process is not None:
                await _terminate(process)
        finally:
            self._remove_swap()

    async def kill(self) -> None:
        """Kill the chain outright, as a power cut would: what is not in the state file is lost."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        self._remove_swap()

    def _remove_swap(self) -> None:
        swap, self._swap = self._swap, None
        if swap is not None:
            swap.cleanup()

    async def _launch(self, binary: Path, port: int) -> asyncio.subprocess.Process:
        self._remove_swap()
        self._swap = tempfile.TemporaryDirectory(prefix="assay-anvil-", ignore_cleanup_errors=True)
        with tempfile.TemporaryFile() as stderr:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), str(binary)),
                *self._arguments(port, Path(self._swap.name)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
            )
            try:
                await _wait_until_answering(process, port, stderr, self._settings.state)
            except BaseException:
                try:
                    await _terminate(process)
                finally:
                    self._remove_swap()
                raise
        return process

    def _arguments(self, port: int, swap: Path) -> list[str]:
        settings = self._settings
        arguments = [
            *("--quiet", "--host", HOST, "--port", str(port), "--chain-id", str(CHAIN_ID)),
            *("--block-time", f"{settings.block_time_s:g}", "--mnemonic", MNEMONIC),
            *("--cache-path", str(swap), "--max-persisted-states", str(STATES_ON_DISK_MAX)),
            "--enable-tx-gas-limit",  # EIP-7825, which Anvil leaves out unless asked
        ]
        if settings.state is not None:
            interval = str(settings.state_interval_s)
            arguments += ["--state", str(settings.state), "--state-interval", interval]
        return arguments


def find_anvil(chosen: Path | None = None) -> Path:
    """Return the native Anvil binary: `chosen`, the checkout's pinned one, or PATH's.

    npm's launcher `node_modules/.bin/anvil` is never used: it neither passes signals on nor says
    how its child ended.

    Raises:
        LocalError: there is none; the text says how to get it.
    """
    if chosen is not None:
        if os.access(chosen, os.X_OK):
            return chosen
        raise LocalError(f"{chosen}, named as the anvil binary, is not an executable file")
    pinned = _pinned_binary("anvil")
    if pinned.is_file():
        return pinned
    on_path = shutil.which("anvil")
    if on_path is not None:
        return Path(on_path)
    raise LocalError(
        f"no anvil binary: run `make setup` beside {contracts_folder()}, or install Foundry "
        "(https://getfoundry.sh)"
    )


def contracts_folder() -> Path:
    """Return the checkout's `contracts/`, which may not exist in an installed package."""
    return Path(__file__).resolve().parents[3] / "contracts"


def _pinned_binary(tool: str) -> Path:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"@foundry-rs/{tool}-{sys.platform}-{machine}"
    return contracts_folder() / "node_modules" / package / "bin" / tool


async def _wait_until_answering(
    process: asyncio.subprocess.Process, port: int, stderr: IO[bytes], state: Path | None
) -> None:
    async with open_rpc(f"http://{HOST}:{port}", timeout_s=_RPC_TIMEOUT_S) as rpc:
        try:
            async with asyncio.timeout(START_S_MAX):
                while process.returncode is None:
                    try:
                        await rpc.call("eth_blockNumber")
                    except ChainUnavailable:
                        await asyncio.sleep(_POLL_S)
                    else:
                        return
        except TimeoutError:
            raise LocalError(f"anvil did not answer within {START_S_MAX:g} s") from None
    stderr.seek(0)
    said = stderr.read(_STDERR_BYTES_MAX).decode(errors="replace").strip()
    if state is not None and "EOF while parsing" in said:
        raise LocalError(
            f"{state} was cut short while the chain was killed: remove it, and the data of the "
            "market that ran on it, to start a new chain"
        )
    raise LocalError(f"anvil stopped with status {process.returncode}: {said or 'no reason given'}")


async def _terminate(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        # Shielded: a cancelled stop must still leave no process behind.
        await asyncio.wait_for(asyncio.shield(process.wait()), STOP_S_MAX)
    except (TimeoutError, asyncio.CancelledError):
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _check_port_free(port: int) -> None:
    # Else we would take another chain's answers for our child's.
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise LocalError(
                f"port {port} is taken; choose another or stop what listens there"
            ) from None
