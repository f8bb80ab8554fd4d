"""Asks one provider for a proof of its hardware, and finds out what it shows."""

import asyncio
import logging
import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from assay_node.ports import Clock, Network
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, RemoteError
from assay_node.protocol.hardware_proof import (
    REASON_CHARACTERS_MAX,
    ROUND_TRIPS_MIN,
    ROWS_OPENED,
    UNCLAIMED_MFLOPS,
    WORKS_MAX,
    ProofChallenge,
    ProofCommitment,
    ProofDevice,
    ProofFigure,
    ProofOpening,
    ProofPart,
    ProofPrepare,
    ProofQuestion,
    ProofReady,
    ProofResult,
    ProofVerdict,
    claims,
    judged,
    measured,
    sized_part,
)
from assay_node.protocol.ids import DIGEST_BYTES, Address, Digest, PeerId
from assay_node.protocol.messages import PROOF, PROOF_OPEN, PROOF_PREPARE
from assay_node.protocol.offer import Offer

if TYPE_CHECKING:  # NumPy takes 0.1 s and 25 MB, and many schedulers ask for no proof
    from assay_node.proof_arithmetic.verification import Secret

logger = logging.getLogger(__name__)

PREPARE_S_MAX: Final = 120.0
"""Making and loading the largest matrices takes some ten seconds on a slow disk and two cores."""
PING_S_MAX: Final = 10.0
OPEN_S_MAX: Final = 60.0
"""A page of an opening is below 1 MiB, and computed in less than a second."""
SLOWNESS_MAX: Final = 10.0
"""Times longer than advertised that a commitment may take before nobody waits for it."""

_M = TypeVar("_M")


class Busy(RemoteError):
    """The provider cannot prove anything now: it runs jobs, or has proven enough for the hour."""


class Verifier:
    """The arithmetic of checking, in a thread: one opening at a time, and one epoch's secrets."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._secrets: dict[tuple[Digest, int], Secret] = {}

    async def prepare(self, beacon: Digest, size: int) -> None:
        """Draw the secret of an epoch and side, unless it is there: 0.1 to 0.8 s."""
        async with self._turn:
            await asyncio.to_thread(self._secret, beacon, size)

    async def check(
        self,
        opening: ProofOpening,
        question: ProofQuestion,
        part: ProofPart,
        *,
        seed: Digest,
        root: Digest,
        beacon: Digest,
    ) -> None:
        """Check one page of an opening.

        Raises:
            WrongProof: it is not what honest work gives.
        """

        def check() -> None:
            from assay_node.proof_arithmetic.verification import check_opening

            secret = self._secret(beacon, part.size)
            check_opening(opening, question, part, seed=seed, root=root, secret=secret)

        async with self._turn:
            await asyncio.to_thread(check)

    def _secret(self, beacon: Digest, size: int) -> "Secret":
        from assay_node.proof_arithmetic.verification import Secret

        found = self._secrets.get((beacon, size))
        if found is None:
            found = Secret.draw(beacon, size)
            of_epoch = {key: kept for key, kept in self._secrets.items() if key[0] == beacon}
            self._secrets = {**of_epoch, (beacon, size): found}
        return found


@dataclass(slots=True, kw_only=True)
class ProofRound:
    """One provider's part in a round: prepare, then ask, at the same moment as the others."""

    network: Network
    verifier: Verifier
    clock: Clock
    scheduler: Address
    offer: Offer
    seconds: float
    epoch_block: int
    beacon: Digest
    round: Digest = field(default_factory=lambda: Digest(secrets.token_bytes(DIGEST_BYTES)))
    _parts: tuple[ProofPart, ...] = ()
    _round_trip_s: float = 0.0

    async def prepare(self) -> None:
        """Have the provider get ready, and measure the round trip to it.

        Raises:
            Busy: it cannot now, with its reason.
            RemoteError: it does not answer, or does not know proofs.
        """
        claimed = claims(self.offer.benchmark, [gpu.device for gpu in self.offer.gpus])
        self._parts = tuple(sized_part(d, c, self.seconds) for d, c in claimed.items())
        for size in sorted({part.size for part in self._parts}):
            await self.verifier.prepare(self.beacon, size)
        asked = ProofPrepare(
            round=self.round,
            epoch_block=self.epoch_block,
            beacon=self.beacon,
            devices=tuple(ProofDevice(device=p.device, size=p.size) for p in self._parts),
        )
        await self._until_ready(asked, PREPARE_S_MAX)
        started = _now()
        await self._until_ready(asked, PING_S_MAX)
        self._round_trip_s = _now() - started

    async def ask(self) -> ProofResult:
        """Challenge the provider, which is ready, and return what that shows.

        1. Enough is asked for that the round trips do not count. 2. The clock runs from the
        challenge to the commitment. 3. Rows are drawn only then, opened page by page, and checked.
        4. If all are right, speed decides.
        """
        asked_at = self.clock.now()
        parts = self._stretched()  # 1
        challenge = ProofChallenge(
            round=self.round, seed=Digest(secrets.token_bytes(DIGEST_BYTES)), parts=parts
        )
        elapsed = 0.0
        try:
            started = _now()  # 2
            committed = await self._ask(
                PROOF, challenge, ProofCommitment, timeout_s=self._patience_s(parts)
            )
            elapsed = _now() - started
            await self._open(challenge, committed)  # 3
        except _Wrong as error:
            verdict, detail = ProofVerdict.WRONG, str(error)
        except AssayError as error:
            verdict, detail = ProofVerdict.SILENT, f"was ready, and then: {error}"
        else:
            verdict, detail = judged(self._figures(parts, elapsed))  # 4
        shown = verdict in (ProofVerdict.PROVEN, ProofVerdict.SLOW)
        return self.result(
            verdict,
            detail,
            asked_at=asked_at,
            parts=parts,
            elapsed_s=elapsed if shown else float("inf"),
        )

    def result(
        self,
        verdict: ProofVerdict,
        detail: str,
        *,
        asked_at: float,
        parts: tuple[ProofPart, ...] = (),
        elapsed_s: float = float("inf"),
    ) -> ProofResult:
        """Return a result about this provider; an endless time shows no figure at all."""
        figures = self._figures(parts or self._parts, elapsed_s)
        return ProofResult(
            verifier=self.scheduler,
            operator=self.offer.operator,
            round=self.round,
            beacon=self.beacon,
            verdict=verdict.value,
            detail=_plain(detail),
            figures=figures,
            milliseconds=0 if elapsed_s == float("inf") else round(elapsed_s * 1000),
            rows=ROWS_OPENED * len(figures),
            asked_at=int(asked_at),
        )

    async def _until_ready(self, asked: ProofPrepare, timeout_s: float) -> None:
        ready = await self._ask(PROOF_PREPARE, asked, ProofReady, timeout_s=timeout_s)
        if not ready.ready:
            raise Busy(ready.reason or "busy, it says")

    async def _open(self, challenge: ProofChallenge, committed: ProofCommitment) -> None:
        from assay_node.proof_arithmetic.questions import questions
        from assay_node.proof_arithmetic.verification import WrongProof

        roots = committed.roots
        if committed.round != self.round or len(roots) != len(challenge.parts):
            raise _Wrong("the commitment is not for what was asked for")
        for part, question in questions(self.round, challenge.parts):
            opening = await self._ask(PROOF_OPEN, question, ProofOpening, timeout_s=OPEN_S_MAX)
            try:
                await self.verifier.check(
                    opening,
                    question,
                    part,
                    seed=challenge.seed,
                    root=roots[question.part],
                    beacon=self.beacon,
                )
            except WrongProof as error:
                raise _Wrong(str(error)) from None

    def _stretched(self) -> tuple[ProofPart, ...]:
        factor = max(1.0, ROUND_TRIPS_MIN * self._round_trip_s / self.seconds)
        return tuple(
            replace(part, works=min(WORKS_MAX, round(part.works * factor))) for part in self._parts
        )

    def _patience_s(self, parts: tuple[ProofPart, ...]) -> float:
        figures = self._claimed(parts)
        expected = max(
            part.operations / ((figure or UNCLAIMED_MFLOPS) * 1e6)
            for part, figure in zip(parts, figures, strict=True)
        )
        return SLOWNESS_MAX * (expected + 1)

    def _figures(self, parts: tuple[ProofPart, ...], elapsed_s: float) -> tuple[ProofFigure, ...]:
        return measured(parts, self._claimed(parts), elapsed_s)

    def _claimed(self, parts: tuple[ProofPart, ...]) -> list[int]:
        claimed = claims(self.offer.benchmark, [gpu.device for gpu in self.offer.gpus])
        return [claimed[part.device] for part in parts]

    async def _ask(
        self, protocol: str, message: object, answer: type[_M], *, timeout_s: float
    ) -> _M:
        peer: PeerId = self.offer.peer_id
        data = await self.network.request(
            peer, protocol, codec.encode(message), timeout_s=timeout_s
        )
        return codec.decode(answer, data)


class _Wrong(RemoteError):
    """What was opened is not what honest work gives."""


def _now() -> float:
    return asyncio.get_running_loop().time()


def _plain(text: str) -> str:
    """Return a peer's words fit for a result that others read."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable[:REASON_CHARACTERS_MAX]
