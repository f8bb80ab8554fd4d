"""Asks providers for proofs of their hardware, keeps and tells the results, hears those of others.

Only this scheduler's own results decide whom it gives work to. What others found is kept and shown,
and makes it ask a provider sooner that failed with them; believing it would let whoever runs a
scheduler, which costs a bond that no false result endangers, clear its own providers or slander
those of others.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from assay_node.ports import GossipMessage
from assay_node.protocol import codec
from assay_node.protocol.errors import AssayError, ChainError, MalformedMessage
from assay_node.protocol.hardware_proof import (
    ProofResult,
    ProofVerdict,
    SignedProofResult,
    claims,
    epoch_block,
    open_result,
    result_digest,
)
from assay_node.protocol.ids import Address, Digest, to_hex
from assay_node.protocol.messages import PROOF_RESULT, PROOFS_TOPIC
from assay_node.protocol.offer import Offer
from assay_node.protocol.typed_data import Domain
from assay_node.services.membership import Membership
from assay_node.services.parts import SchedulerParts
from assay_node.services.proof_round import Busy, ProofRound, Verifier
from assay_node.services.proof_schedule import BUSY_MAX, ProofSchedule
from assay_scheduler.hardware import RESULTS_KEPT, Hardware, HardwareView, judge

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often it is looked who is due."""
TELL_S_MAX: Final = 10.0
VERIFIERS_MAX: Final = 64
"""Other schedulers whose results are kept; each has a bond, so filling this costs money."""
HEARD_AGE_S_MIN: Final = 3600.0
"""Others' failures do not make a provider prove again what it has just proven."""
_FAILED: Final = (ProofVerdict.WRONG, ProofVerdict.SLOW, ProofVerdict.SILENT)

Document = dict[str, Any]


@dataclass(slots=True)
class _Found:
    """What is known of one provider: this scheduler's results, newest first, and others' newest."""

    own: list[ProofResult]
    heard: dict[Address, ProofResult]


class Proofs:
    """The scheduler's view of its providers' hardware."""

    def __init__(self, parts: SchedulerParts, membership: Membership, domain: Domain) -> None:
        self._parts = parts
        self._terms = parts.policy.proof
        self._membership = membership
        self._domain = domain
        self._schedule = ProofSchedule(terms=self._terms)
        self._verifier = Verifier()
        self._found: dict[Address, _Found] = {}
        self._verifiers: set[Address] = set()
        self._asking: set[Address] = set()
        self.on_change: Callable[[], None] = lambda: None

    async def restore(self) -> None:
        """Load what was found before a restart."""
        for signed in reversed(await self._parts.store.proofs()):
            try:
                self._note(open_result(signed, self._domain))
            except MalformedMessage as error:  # signed for contracts deployed before these
                logger.info("forgot a proof of hardware: %s", error)

    async def run(self) -> None:
        """Ask and hear for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._hear_loop())
            if self._terms.interval_s > 0:
                tasks.create_task(self._ask_loop(tasks))

    def view(self, offer: Offer) -> HardwareView:
        """Return where a provider's hardware stands now."""
        found = self._found.get(offer.operator)
        judged = judge(
            found.own if found else (),
            claims(offer.benchmark, [gpu.device for gpu in offer.gpus]),
            now=self._parts.clock.now(),
            age_s_max=self._terms.age_s_max,
        )
        return replace(
            judged, required=self._terms.required, being_asked=offer.operator in self._asking
        )

    def documents(self, operator: Address) -> list[Document]:
        """Return the newest result of each verifier about a provider; its own first."""
        found = self._found.get(operator)
        if found is None:
            return []
        heard = sorted(found.heard.values(), key=lambda result: (-result.asked_at, result.verifier))
        return [_document(result) for result in (*found.own[:1], *heard)]

    # Asking

    async def _ask_loop(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            chosen = self._schedule.next_round(self._eligible(), now=self._parts.clock.now())
            offers = [offer for o in chosen if (offer := self._membership.offer_of(o)) is not None]
            if offers:
                self._asking.update(offer.operator for offer in offers)
                tasks.create_task(self._hold_round(offers))

    def _eligible(self) -> dict[Address, Digest]:
        """Return who can be asked now, with its class; note who is new, and unproven by now."""
        now = self._parts.clock.now()
        eligible = {}
        views = self._membership.views(())
        for view in views:
            found = self._found.get(view.operator)
            self._schedule.admit(view.operator, now=now, asked_before=bool(found and found.own))
            if view.connected and view.operator not in self._asking:
                eligible[view.operator] = view.offer.hardware_class
                if found and found.own and view.hardware.state is Hardware.UNPROVEN:
                    self._schedule.hasten(view.operator, now=now)
        self._schedule.forget(view.operator for view in views)
        return eligible

    async def _hold_round(self, offers: Sequence[Offer]) -> None:
        """Prepare all, then ask all that are ready at the same moment."""
        try:
            rounds = await self._rounds(offers)
            ready = await asyncio.gather(*(self._prepare(one) for one in rounds))
            together = [one for one, is_ready in zip(rounds, ready, strict=True) if is_ready]
            await asyncio.gather(*(self._ask(one) for one in together))
        except ChainError as error:
            logger.warning("no proof of hardware now: %s", error)
            for offer in offers:
                self._schedule.hasten(offer.operator, now=self._parts.clock.now())
        finally:
            self._asking.difference_update(offer.operator for offer in offers)
            self.on_change()

    async def _rounds(self, offers: Sequence[Offer]) -> list[ProofRound]:
        chain = self._parts.chain
        block = epoch_block((await chain.head()).number)
        beacon = await chain.block_hash(block)
        if beacon is None:
            raise ChainError(f"the chain does not give block {block}")
        return [
            ProofRound(
                network=self._parts.network,
                verifier=self._verifier,
                clock=self._parts.clock,
                scheduler=self._parts.signer.address,
                offer=offer,
                seconds=self._terms.seconds,
                epoch_block=block,
                beacon=beacon,
            )
            for offer in offers
        ]

    async def _prepare(self, one: ProofRound) -> bool:
        operator, now = one.offer.operator, self._parts.clock.now()
        try:
            await one.prepare()
        except AssayError as error:
            kind = "is busy" if isinstance(error, Busy) else "gave no answer"
            logger.info("%s %s when asked for a proof: %s", operator, kind, error)
            if self._schedule.was_busy(operator, now=now):
                text = f"could not be asked {BUSY_MAX} times in a row; at last: {error}"
                await self._conclude(one, one.result(ProofVerdict.SILENT, text, asked_at=now))
            return False
        return True

    async def _ask(self, one: ProofRound) -> None:
        await self._conclude(one, await one.ask())

    async def _conclude(self, one: ProofRound, result: ProofResult) -> None:
        """Sign a result, keep it, and tell the provider and everybody."""
        body = codec.encode(result)
        signature = self._parts.signer.sign_digest(result_digest(self._domain, body))
        signed = SignedProofResult(body=body, signature=signature)
        await self._parts.store.add_proof(result, signed, kept=RESULTS_KEPT)
        self._note(result)
        state = self.view(one.offer).state
        unlucky = result.verdict in (ProofVerdict.SLOW, ProofVerdict.SILENT)
        self._schedule.answered(
            result.operator,
            now=self._parts.clock.now(),
            again_soon=unlucky and state is not Hardware.DISPROVED,
        )
        logger.info("hardware of %s: %s (%s)", result.operator, result.verdict, result.detail)
        await self._tell(one, signed)

    async def _tell(self, one: ProofRound, signed: SignedProofResult) -> None:
        data = codec.encode(signed)
        try:
            await self._parts.network.request(
                one.offer.peer_id, PROOF_RESULT, data, timeout_s=TELL_S_MAX
            )
        except AssayError as error:
            logger.info("a proof's result was not told to its provider: %s", error)
        try:
            await self._parts.network.publish(PROOFS_TOPIC, data)
        except AssayError as error:
            logger.debug("a proof's result was not gossiped: %s", error)

    # Hearing

    async def _hear_loop(self) -> None:
        async for message in self._parts.network.subscribe(PROOFS_TOPIC):
            await self._hear(message)

    async def _hear(self, message: GossipMessage) -> None:
        """Take another scheduler's result; anything wrong with it is dropped with a log line.

        1. It is signed by the verifier it names, which is another one. 2. It is about a provider of
        ours, and newer than what that verifier said last. 3. The verifier has a bond.
        """
        try:
            signed = codec.decode(SignedProofResult, message.data)
            result = open_result(signed, self._domain)  # 1
            if result.verifier == self._parts.signer.address or not self._is_news(result):  # 2
                return
            if not await self._may_tell(result.verifier):  # 3
                logger.info("dropped a proof's result of %s, who has no bond", result.verifier)
                return
            if not await self._parts.store.add_proof(result, signed, kept=1):
                return
        except AssayError as error:
            logger.info("dropped a proof's result from %s: %s", message.source, error)
            return
        self._note(result)
        now = self._parts.clock.now()
        own = self._found[result.operator].own
        if result.verdict in _FAILED and (not own or now - own[0].asked_at > HEARD_AGE_S_MIN):
            self._schedule.hasten(result.operator, now=now)

    def _is_news(self, result: ProofResult) -> bool:
        if self._membership.offer_of(result.operator) is None:
            return False
        found = self._found.get(result.operator)
        known = found.heard.get(result.verifier) if found else None
        is_old = known is not None and known.asked_at >= result.asked_at
        return not is_old and result.asked_at <= self._parts.clock.now() + LOOK_S

    async def _may_tell(self, verifier: Address) -> bool:
        if verifier in self._verifiers:
            return True
        bond = await self._parts.chain.scheduler_bond(verifier)
        if bond.amount_microusd == 0 or len(self._verifiers) >= VERIFIERS_MAX:
            return False
        self._verifiers.add(verifier)
        return True

    def _note(self, result: ProofResult) -> None:
        found = self._found.setdefault(result.operator, _Found([], {}))
        if result.verifier != self._parts.signer.address:
            found.heard[result.verifier] = result
            return
        found.own.insert(0, result)
        del found.own[RESULTS_KEPT:]


def _document(result: ProofResult) -> Document:
    return {
        "verifier": result.verifier,
        "verdict": result.verdict,
        "detail": result.detail,
        "asked_at": result.asked_at,
        "seconds": result.milliseconds / 1000,
        "figures": [
            {
                "device": None if figure.device is None else to_hex(figure.device),
                "claimed_mflops": figure.claimed_mflops,
                "proven_mflops": figure.proven_mflops,
            }
            for figure in result.figures
        ],
    }
