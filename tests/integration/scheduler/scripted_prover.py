"""Answers proofs of hardware as a test tells it, with real products and real openings."""

import asyncio
from dataclasses import dataclass, field

from assay_node.protocol import codec
from assay_node.protocol.errors import Refused
from assay_node.protocol.hardware_proof import (
    ProofChallenge,
    ProofCommitment,
    ProofPrepare,
    ProofQuestion,
    ProofReady,
    SignedProofResult,
)
from assay_node.protocol.ids import PeerId
from assay_node.protocol.messages import PROOF, PROOF_OPEN, PROOF_PREPARE, PROOF_RESULT, Ack
from assay_provider.proving.pretending import PretendingProducts
from assay_provider.proving.products import ProcessorProducts, Products
from assay_provider.proving.prover import Prover
from tests.fakes.network import FakeNetwork


@dataclass
class ScriptedProver:
    """One provider's prover. `silent_at` names the step at which it stops answering well."""

    network: FakeNetwork
    busy: str = ""
    silent_at: str = ""
    pretends: bool = False
    prepared: list[ProofPrepare] = field(default_factory=list)
    challenged: list[ProofChallenge] = field(default_factory=list)
    results: list[SignedProofResult] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: challenges are answered. Clear it to keep a round under way."""
    _provers: list[Prover] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hold.set()
        self.network.serve_requests(PROOF_PREPARE, self._prepare)
        self.network.serve_requests(PROOF, self._challenge)
        self.network.serve_requests(PROOF_OPEN, self._open)
        self.network.serve_requests(PROOF_RESULT, self._result)

    async def _prepare(self, _peer: PeerId, data: bytes) -> bytes:
        asked = codec.decode(ProofPrepare, data)
        if self.busy:
            return codec.encode(ProofReady(ready=False, reason=self.busy))
        if asked not in self.prepared:
            self.prepared.append(asked)
            self._provers = [
                Prover(self._products(asked, device.size), asked.beacon) for device in asked.devices
            ]
        return codec.encode(ProofReady(ready=True, reason=""))

    async def _challenge(self, _peer: PeerId, data: bytes) -> bytes:
        asked = codec.decode(ProofChallenge, data)
        self.challenged.append(asked)
        self._fall_silent("challenge")
        await self.hold.wait()
        roots = [
            prover.commit(asked.seed, number, part.works)
            for number, (prover, part) in enumerate(zip(self._provers, asked.parts, strict=True))
        ]
        if self.silent_at == "roots":
            roots = []
        return codec.encode(ProofCommitment(round=asked.round, roots=tuple(roots)))

    async def _open(self, _peer: PeerId, data: bytes) -> bytes:
        asked = codec.decode(ProofQuestion, data)
        self._fall_silent("open")
        return codec.encode(self._provers[asked.part].open(asked))

    async def _result(self, _peer: PeerId, data: bytes) -> bytes:
        self.results.append(codec.decode(SignedProofResult, data))
        return codec.encode(Ack())

    def _products(self, asked: ProofPrepare, size: int) -> Products:
        products = ProcessorProducts(asked.beacon, size)
        return PretendingProducts(products) if self.pretends else products

    def _fall_silent(self, step: str) -> None:
        if self.silent_at == step:
            raise Refused("not\x1b now")
