"""A `DeviceWorker` in this process: the real prover, and failures that a test orders."""

import asyncio

from assay_node.protocol.errors import LocalError
from assay_node.protocol.hardware_proof import ProofOpening, ProofQuestion
from assay_node.protocol.ids import Digest
from assay_provider.proving.pretending import PretendingProducts
from assay_provider.proving.products import ProcessorProducts, Products
from assay_provider.proving.prover import Prover
from assay_provider.proving.worker_messages import Compute, Load


class FakeWorkers:
    """Makes workers and knows which of them still live. Call it for a new one."""

    def __init__(self) -> None:
        self.alive: set[FakeWorker] = set()
        self.started = 0
        self.fails_at = ""
        self.loading = asyncio.Event()
        self.loading.set()

    def __call__(self) -> "FakeWorker":
        worker = FakeWorker(self)
        self.alive.add(worker)
        self.started += 1
        return worker


class FakeWorker:
    def __init__(self, workers: FakeWorkers) -> None:
        self._workers = workers
        self._prover: Prover | None = None

    async def load(self, load: Load) -> None:
        self._fail("load")
        await self._workers.loading.wait()
        products: Products = ProcessorProducts(load.beacon, load.size)
        if load.pretends:
            products = PretendingProducts(products)
        self._prover = Prover(products, load.beacon)

    async def compute(self, compute: Compute) -> Digest:
        self._fail("compute")
        assert self._prover is not None
        return self._prover.commit(compute.seed, compute.number, compute.works)

    async def open(self, question: ProofQuestion) -> ProofOpening:
        self._fail("open")
        assert self._prover is not None
        return self._prover.open(question)

    async def stop(self) -> None:
        self._workers.alive.discard(self)

    def _fail(self, step: str) -> None:
        if self._workers.fails_at == step:
            raise LocalError(f"the device hangs at {step}")
