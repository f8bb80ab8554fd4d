"""The process that proves a device: real, from its start to its end."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assay_node.proof_arithmetic.questions import questions
from assay_node.proof_arithmetic.verification import Secret, WrongProof, check_opening
from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_proof import ProofPart, ProofQuestion
from assay_node.protocol.ids import Digest
from assay_provider.proving.device_worker import WorkerProcess
from assay_provider.proving.worker_messages import Compute, Load

BEACON, SEED, ROUND = (Digest(bytes((n,)) * 32) for n in (1, 2, 3))
PART = ProofPart(device=None, size=1024, works=3)
LOAD = Load(device=None, beacon=BEACON, size=PART.size, pretends=False)


@pytest.fixture
async def worker():
    process = WorkerProcess()
    yield process
    await process.stop()


async def prove(worker: WorkerProcess) -> None:
    root = await worker.compute(Compute(seed=SEED, number=0, works=PART.works))
    secret = Secret.draw(BEACON, PART.size)
    for part, question in questions(ROUND, (PART,)):
        opening = await worker.open(question)
        check_opening(opening, question, part, seed=SEED, root=root, secret=secret)


async def test_a_process_proves_the_processor(worker):
    await worker.load(LOAD)
    await prove(worker)


async def test_a_pretending_process_is_found_out(worker):
    await worker.load(Load(device=None, beacon=BEACON, size=PART.size, pretends=True))
    with pytest.raises(WrongProof):
        await prove(worker)


async def test_a_gpu_that_is_not_there_is_a_sentence(worker):
    load = Load(device=Digest(b"\x07" * 32), beacon=BEACON, size=256, pretends=False)
    with pytest.raises(LocalError, match="torch"):
        await worker.load(load)


async def test_steps_out_of_turn_are_answered(worker):
    await worker.load(LOAD)
    question = ProofQuestion(round=ROUND, part=0, works=(0,), rows=(0,))
    with pytest.raises(LocalError, match="not committed to"):
        await worker.open(question)
    await prove(worker)


async def test_a_killed_process_is_an_error_for_whoever_waits(worker):
    await worker.load(LOAD)
    asked = asyncio.create_task(worker.compute(Compute(seed=SEED, number=0, works=2000)))
    await asyncio.sleep(0)
    os.kill(worker._process.pid, signal.SIGKILL)
    with pytest.raises(LocalError, match="ended"):
        await asked


async def test_stopping_ends_it_in_the_middle_of_its_work(worker):
    await worker.load(LOAD)
    asked = asyncio.create_task(worker.compute(Compute(seed=SEED, number=0, works=2000)))
    await asyncio.sleep(0)
    await worker.stop()
    assert worker._process.returncode == -signal.SIGKILL
    with pytest.raises(LocalError, match="ended"):
        await asked


CUT_OFF = """
import asyncio, sys
from assay_provider.proving.device_worker import WorkerProcess
from assay_provider.proving.worker_messages import Compute, Load

async def main():
    worker = WorkerProcess()
    await worker.load(Load(device=None, beacon=bytes(32), size=2048, pretends=False))
    work = asyncio.create_task(worker.compute(Compute(seed=bytes(32), number=0, works=2000)))
    await asyncio.sleep(0.2)  # it is in the middle of minutes of work, and reads nothing
    print(worker._process.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_it_dies_with_a_daemon_that_is_killed():
    daemon = subprocess.Popen([sys.executable, "-c", CUT_OFF], stdout=subprocess.PIPE, text=True)
    pid = int(daemon.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    descriptor = os.pidfd_open(pid)
    try:
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
        _until_gone(descriptor)
    finally:
        os.close(descriptor)


def _until_gone(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(20_000), "the worker outlived its daemon"
