"""Answers schedulers that ask for a proof of this machine's hardware.

A stranger must not burn the owner's electricity: only schedulers that this provider works for are
answered, one round at a time, so many an hour, each of bounded size, and never while a job runs.
The slots are kept free from the first request of a round to its end; whoever asks and then goes
away loses them after `IDLE_S`.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import ChainReader, Clock
from assay_node.protocol import codec
from assay_node.protocol.errors import LocalError, Refused
from assay_node.protocol.hardware_proof import (
    EPOCH_BLOCKS,
    ROWS_OPENED,
    UNCLAIMED_MFLOPS,
    ProofChallenge,
    ProofCommitment,
    ProofPart,
    ProofPrepare,
    ProofQuestion,
    ProofReady,
    SignedProofResult,
    claims,
    epoch_block,
    open_result,
)
from assay_node.protocol.ids import Address, Digest, PeerId
from assay_node.protocol.messages import Ack
from assay_node.protocol.typed_data import Domain
from assay_provider.personas import Conduct
from assay_provider.proving.device_worker import DeviceWorker
from assay_provider.proving.record import add_result, add_round
from assay_provider.proving.terms import ProofTerms
from assay_provider.proving.worker_messages import Compute, Load
from assay_provider.slots import Slots
from assay_provider.supply import Supply

logger = logging.getLogger(__name__)

IDLE_S: Final = 30.0
"""A scheduler that says nothing for so long in the middle of a round has gone."""
LOAD_S_MAX: Final = 110.0
"""Making matrices of the largest side takes some seconds; it is less than a scheduler waits."""
ROWS_MAX: Final = 4 * ROWS_OPENED
"""Rows opened of each device in a round: a few pages asked for twice are no abuse."""
HOUR_S: Final = 3600.0


@dataclass(slots=True, kw_only=True)
class _Round:
    """A round under way. `expires_at` is in seconds of `time.monotonic`."""

    prepare: ProofPrepare
    peer_id: PeerId
    workers: list[DeviceWorker]
    began_at: float
    expires_at: float
    loaded: "asyncio.Future[None]"
    parts: tuple[ProofPart, ...] = ()
    rows_opened: dict[int, int] = field(default_factory=dict)
    steps_running: int = 0


class ProofService:
    """Serves `/assay/proof/...`. `new_worker` starts what proves one device."""

    def __init__(
        self,
        *,
        supply: Supply,
        slots: Slots,
        chain: ChainReader,
        clock: Clock,
        domain: Domain,
        conduct: Conduct,
        scheduler_of: Callable[[PeerId], Awaitable[Address | None]],
        new_worker: Callable[[], DeviceWorker],
    ) -> None:
        self._supply = supply
        self._slots = slots
        self._chain = chain
        self._clock = clock
        self._domain = domain
        self._conduct = conduct
        self._scheduler_of = scheduler_of
        self._new_worker = new_worker
        self._round: _Round | None = None
        self._taken: dict[Address, deque[float]] = {}
        """When each scheduler's newest rounds began, in Unix seconds."""
        self._changed = asyncio.Event()

    @property
    def _terms(self) -> ProofTerms:
        return self._supply.proof

    async def prepare(self, peer_id: PeerId, payload: bytes) -> bytes:
        """Answer a PROOF_PREPARE: load the matrices and keep the slots free, or say why not.

        Raises:
            MalformedMessage: the bytes are no such request.
            Refused: it is not for us to answer, whatever we are doing.
        """
        asked = codec.decode(ProofPrepare, payload)
        current = self._round
        if current is not None and (current.peer_id, current.prepare) == (peer_id, asked):
            await asyncio.shield(current.loaded)
            self._stay(current)
            return codec.encode(ProofReady(ready=True, reason=""))
        scheduler = await self._check(peer_id, asked)
        if (busy := self._busy(scheduler)) is not None:
            return codec.encode(ProofReady(ready=False, reason=busy))
        self._count(scheduler)
        await self._begin(peer_id, asked)
        return codec.encode(ProofReady(ready=True, reason=""))

    async def challenge(self, peer_id: PeerId, payload: bytes) -> bytes:
        """Answer a PROOF: compute all parts at once and commit to them.

        Raises:
            MalformedMessage: the bytes are no challenge.
            Refused: there is no such round, or it asks for too much.
        """
        asked = codec.decode(ProofChallenge, payload)
        current = self._current(peer_id, asked.round)
        self._check_parts(current, asked.parts)
        current.parts = asked.parts
        current.steps_running += 1
        try:
            roots = await asyncio.gather(
                *(
                    worker.compute(Compute(seed=asked.seed, number=number, works=part.works))
                    for number, (worker, part) in enumerate(
                        zip(current.workers, asked.parts, strict=True)
                    )
                )
            )
        except LocalError as error:
            logger.warning("could not prove this machine's hardware: %s", error)
            await self._end(current)
            raise Refused("this provider could not compute it") from None
        finally:
            current.steps_running -= 1
            self._stay(current)
        return codec.encode(ProofCommitment(round=asked.round, roots=tuple(roots)))

    async def open(self, peer_id: PeerId, payload: bytes) -> bytes:
        """Answer a PROOF_OPEN with rows of what was committed to.

        Raises:
            MalformedMessage: the bytes are no question.
            Refused: there is no such round, or enough was opened.
        """
        asked = codec.decode(ProofQuestion, payload)
        current = self._current(peer_id, asked.round)
        if asked.part >= len(current.parts):
            raise Refused("nothing was committed to for that device")
        opened = current.rows_opened.get(asked.part, 0) + len(asked.rows)
        if opened > ROWS_MAX:
            raise Refused(f"at most {ROWS_MAX} rows of a device are opened")
        current.rows_opened[asked.part] = opened
        current.steps_running += 1
        try:
            return codec.encode(await current.workers[asked.part].open(asked))
        except LocalError as error:
            logger.warning("could not open what was committed to: %s", error)
            raise Refused("this provider could not open it") from None
        finally:
            current.steps_running -= 1
            self._stay(current)

    async def result(self, peer_id: PeerId, payload: bytes) -> bytes:
        """Take a PROOF_RESULT: what the scheduler found. It ends the round.

        Raises:
            MalformedMessage: it is no result, or not signed by whom it names.
            Refused: it is not that scheduler's, or about somebody else.
        """
        result = open_result(codec.decode(SignedProofResult, payload), self._domain)
        scheduler = await self._scheduler_of(peer_id)
        if scheduler is None or result.verifier != scheduler:
            raise Refused("results come from the scheduler that signed them")
        if result.operator != self._supply.operator:
            raise Refused("this result is about another operator")
        logger.info("hardware proof of scheduler %s: %s", scheduler, result.verdict)
        if self._terms.kept_in is not None:
            await asyncio.to_thread(add_result, self._terms.kept_in, result)
        current = self._round
        if current is not None and current.prepare.round == result.round:
            await self._end(current)
        return codec.encode(Ack())

    async def run(self) -> None:
        """End rounds that were left lying, for ever; at the end, whatever is under way."""
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                while (current := self._round) is not None:
                    left_s = current.expires_at - time.monotonic()
                    if current.steps_running == 0 and left_s <= 0:
                        logger.info("a hardware proof was left unfinished by its scheduler")
                        await self._end(current)
                    else:
                        await asyncio.sleep(min(max(left_s, 0.1), IDLE_S))
        finally:
            if self._round is not None:
                await self._end(self._round)

    async def _check(self, peer_id: PeerId, asked: ProofPrepare) -> Address:
        """Refuse what is not for us; return the scheduler that asks.

        1. A scheduler asks that this provider works for. 2. It asks for what is offered here.
        3. The matrices are those of the chain's epoch, or the one beside it: nobody chooses them.
        """
        scheduler = await self._scheduler_of(peer_id)
        if scheduler is None:  # 1
            raise Refused("hardware is proven to the schedulers that this provider works for")
        offered = self._claims()
        if not {device.device for device in asked.devices} <= offered.keys():  # 2
            raise Refused("that device is not offered here")
        own = epoch_block((await self._chain.head()).number)
        known = asked.epoch_block % EPOCH_BLOCKS == 0
        if not known or abs(asked.epoch_block - own) > EPOCH_BLOCKS:  # 3
            raise Refused(f"block {asked.epoch_block} makes no matrices now; block {own} does")
        if await self._chain.block_hash(asked.epoch_block) != asked.beacon:
            raise Refused(f"the chain gives block {asked.epoch_block} another hash")
        return scheduler

    def _busy(self, scheduler: Address) -> str | None:
        """Return why no round can begin now; None when one can."""
        now, limit = self._clock.now(), self._terms.rounds_per_hour
        if limit == 0:
            return "this provider proves its hardware to nobody"
        if self._round is not None:
            return "another proof is under way"
        if self._slots.free < self._supply.slots:
            return "jobs are running"
        taken = self._taken.get(scheduler, deque())
        if len(taken) == limit and now - taken[0] < HOUR_S:
            return f"one scheduler is given at most {limit} proofs an hour"
        return None

    def _count(self, scheduler: Address) -> None:
        limit = self._terms.rounds_per_hour
        self._taken.setdefault(scheduler, deque(maxlen=limit)).append(self._clock.now())

    async def _begin(self, peer_id: PeerId, asked: ProofPrepare) -> None:
        now = time.monotonic()
        current = _Round(
            prepare=asked,
            peer_id=peer_id,
            workers=[self._new_worker() for _ in asked.devices],
            began_at=now,
            expires_at=now + LOAD_S_MAX + IDLE_S,
            loaded=asyncio.get_running_loop().create_future(),
        )
        self._round = current
        self._slots.withhold()
        self._changed.set()
        loads = [
            worker.load(
                Load(
                    device=device.device,
                    beacon=asked.beacon,
                    size=device.size,
                    pretends=self._conduct.pretends,
                )
            )
            for worker, device in zip(current.workers, asked.devices, strict=True)
        ]
        current.steps_running += 1
        try:
            async with asyncio.timeout(LOAD_S_MAX):
                await asyncio.gather(*loads)
        except (LocalError, TimeoutError) as error:
            logger.warning(
                "cannot prove this machine's hardware: %s", str(error) or "loading hangs"
            )
            await self._end(current)
            raise Refused("this provider could not load the matrices") from None
        except BaseException:
            await self._end(current)
            raise
        finally:
            current.steps_running -= 1
        current.loaded.set_result(None)
        self._stay(current)

    def _check_parts(self, current: _Round, parts: tuple[ProofPart, ...]) -> None:
        """Refuse a challenge that is not what was prepared for, or too large."""
        prepared = [(device.device, device.size) for device in current.prepare.devices]
        if [(part.device, part.size) for part in parts] != prepared:
            raise Refused("the challenge is not for what was prepared")
        if current.parts:
            raise Refused("a round has one challenge")
        offered = self._claims()
        for part in parts:
            figure = (offered[part.device] or UNCLAIMED_MFLOPS) * 1e6
            if part.operations > figure * self._terms.seconds_max:
                raise Refused(
                    f"the challenge takes longer than {self._terms.seconds_max:g} s at the "
                    "advertised figure"
                )

    def _current(self, peer_id: PeerId, round_id: Digest) -> _Round:
        current = self._round
        if current is None or (current.peer_id, current.prepare.round) != (peer_id, round_id):
            raise Refused("no such round is under way: prepare it first")
        if not current.loaded.done():
            raise Refused("the matrices are still being loaded")
        return current

    def _claims(self) -> dict[Digest | None, int]:
        return claims(self._supply.benchmark, [gpu.device for gpu in self._supply.gpus])

    def _stay(self, current: _Round) -> None:
        current.expires_at = time.monotonic() + IDLE_S

    async def _end(self, current: _Round) -> None:
        if self._round is not current:
            return
        self._round = None
        for worker in current.workers:
            await worker.stop()
        self._slots.give_back()
        if not current.loaded.done():
            current.loaded.set_exception(Refused("the round has ended"))
            current.loaded.exception()  # nobody may be waiting for it
        if self._terms.kept_in is not None:
            seconds = time.monotonic() - current.began_at
            await asyncio.to_thread(add_round, self._terms.kept_in, seconds=seconds)
