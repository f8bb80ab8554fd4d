"""The control of the demo: its script run by native torch under each provider's settings."""

import asyncio
import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from assay_node.protocol.errors import LocalError

RUN_S: Final = 300.0
"""One run takes seconds on an idle core."""
_COMPLAINT_CHARACTERS: Final = 400


async def native_digests(
    folder: Path, target: Path, environments: Sequence[Mapping[str, str]]
) -> tuple[str, ...]:
    """Run `train.py FOLDER OUTPUT` under each environment, as many at once as there are cores.

    Args:
        folder: the job's folder, with the script.
        target: where each run gets a folder for its output.
        environments: all variables of each run.

    Returns:
        The SHA-256 of each run's output files, in the order of the environments.

    Raises:
        LocalError: a run failed; the text has its last words.
    """
    limit = asyncio.Semaphore(os.cpu_count() or 1)

    async def one(number: int, environment: Mapping[str, str]) -> str:
        output = target / str(number)
        output.mkdir(parents=True)
        async with limit:
            await _run([str(folder / "train.py"), str(folder), str(output)], environment)
        return await asyncio.to_thread(digest_of, output)

    try:
        async with asyncio.TaskGroup() as tasks:
            runs = [tasks.create_task(one(*numbered)) for numbered in enumerate(environments)]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None  # the first failure is the reason to give
    return tuple(run.result() for run in runs)


def digest_of(folder: Path) -> str:
    """Return the SHA-256, in hexadecimal, of a folder's files: names, sizes and bytes."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


async def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env=dict(environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(RUN_S):
            said, _ = await process.communicate()
    except TimeoutError:
        raise LocalError(f"{arguments[0]} did not end within {RUN_S:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        tail = said.decode(errors="replace").strip()[-_COMPLAINT_CHARACTERS:]
        raise LocalError(f"{arguments[0]} ended with code {process.returncode}: {tail}")
