"""Taking an order in: every check a requester can fail, each with a reason to act on."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Final

from assay_node.ports import (
    ArtifactLimits,
    Artifacts,
    ChainReader,
    Clock,
    NewEvent,
    SchedulerStore,
)
from assay_node.protocol import environment, job_spec
from assay_node.protocol.environment import MANIFEST_BYTES_MAX
from assay_node.protocol.errors import AssayError, MalformedMessage, Refused
from assay_node.protocol.ids import Address, Cid, Digest, PeerId, to_hex
from assay_node.protocol.job_spec import SPEC_BYTES_MAX, JobSpec
from assay_node.protocol.messages import Admitted, Submit
from assay_node.protocol.order import Order, SignedOrder, job_id
from assay_node.protocol.typed_data import Domain, recover
from assay_node.protocol.units import microusd_to_text, size_to_text
from assay_node.services.policy import Policy

logger = logging.getLogger(__name__)

UNFINISHED_PER_REQUESTER_MAX: Final = 1_000
"""One requester cannot fill the queue for all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Checks orders and stores the good ones durably."""

    scheduler: Address
    domain: Domain
    chain: ChainReader
    artifacts: Artifacts
    store: SchedulerStore
    clock: Clock
    policy: Policy
    _storing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def submit(self, peer: PeerId, submit: Submit) -> Admitted:
        """Admit an order, or say why not.

        1. The requester signed it for this chain and contract, or the key that it registered. 2. It
        is not here already (then the answer is the same as the first time). 3. It names this
        scheduler, on its terms. 4. Its times fit. 5. Its seed block lies ahead. 6. Its nonce is
        unspent. 7. The budget on chain covers it beside the requester's other jobs. 8. Spec, inputs
        and environment are here or can be fetched from the sender, and are well formed. 9. Nonce
        and budget still hold, and it is stored.

        Raises:
            Refused: the reason, in one sentence.
        """
        order = submit.signed_order.order
        job = await self._check_signature(submit.signed_order)  # 1
        if await self.store.job(job) is not None:  # 2
            return Admitted(job=job, already=True)
        self._check_terms(order)  # 3
        self._check_times(order)  # 4
        await self._check_seed(order)  # 5
        await self._check_money(order)  # 6, 7
        spec = await self._fetch(peer, job, order)  # 8
        text = f"order admitted; it can cost at most {microusd_to_text(order.max_cost_microusd)}"
        event = NewEvent(kind="admitted", text=text, data={"max_cost": order.max_cost_microusd})
        async with self._storing:  # 9
            await self._check_money(order)
            new = await self.store.admit(
                job, submit.signed_order, spec, now=self.clock.now(), event=event
            )
        return Admitted(job=job, already=not new)

    async def _check_signature(self, signed: SignedOrder) -> Digest:
        job = job_id(signed.order, self.domain)
        try:
            signer = recover(job, signed.signature)
        except MalformedMessage as error:
            raise Refused(f"bad signature: {error}") from None
        requester = signed.order.requester
        # A smart wallet orders by the key that it registered.
        if signer != requester and signer != await self.chain.signer_of(requester):
            raise Refused(
                "bad signature: the order is not signed by its requester for chain "
                f"{self.domain.chain_id} and market {self.domain.market}"
            )
        return job

    def _check_terms(self, order: Order) -> None:
        policy = self.policy
        if order.scheduler != self.scheduler:
            raise Refused(f"the order names another scheduler; this one is {self.scheduler}")
        if order.fee_microusd < policy.fee_microusd:
            raise Refused(
                f"the fee of {microusd_to_text(order.fee_microusd)} is below this scheduler's "
                f"{microusd_to_text(policy.fee_microusd)}"
            )
        fee = policy.fee_microusd + order.audit_fee_microusd
        if order.fee_microusd < fee:
            raise Refused(
                f"the fee of {microusd_to_text(order.fee_microusd)} is below "
                f"{microusd_to_text(fee)}: this scheduler's {microusd_to_text(policy.fee_microusd)}"
                f" and, for audits, {order.audit_bps / 100:g} % of what one can cost"
            )
        if order.max_seconds > policy.seconds_max:
            raise Refused(
                f"a time limit of {order.max_seconds} s is above this scheduler's "
                f"{policy.seconds_max} s; lower --timeout"
            )

    def _check_times(self, order: Order) -> None:
        now = self.clock.now()
        if order.expiry <= now:
            raise Refused(f"the order expired {now - order.expiry:.0f} s ago; sign a new one")
        needed = order.max_seconds + order.commit_window_s + order.reveal_window_s
        left = order.expiry - now - self.policy.timing.settle_margin_s
        if left < needed:
            raise Refused(
                f"the order expires too soon: running and settling may take {needed} s, "
                f"and {max(0.0, left):.0f} s are left"
            )
        if order.expiry > now + self.policy.expiry_s_max:
            raise Refused(f"the order expires more than {self.policy.expiry_s_max} s from now")

    async def _check_seed(self, order: Order) -> None:
        head = await self.chain.head()
        if order.seed_block <= head.number:
            raise Refused(
                f"seed block {order.seed_block} is not ahead of block {head.number}: "
                "its draw could have been known when the order was signed; sign a new one"
            )
        if order.seed_block > head.number + self.policy.seed_blocks_ahead_max:
            raise Refused(
                f"seed block {order.seed_block} is more than "
                f"{self.policy.seed_blocks_ahead_max} blocks ahead"
            )

    async def _check_money(self, order: Order) -> None:
        budget, spent, unfinished = await asyncio.gather(
            self.chain.budget(order.requester, order.scheduler),
            self.chain.nonce_used(order.requester, order.nonce_number),
            self.store.unfinished_jobs(),
        )
        mine = [other for other in unfinished if other.order.requester == order.requester]
        if spent or any(other.order.nonce == order.nonce for other in mine):  # 6
            raise Refused("the order's nonce is used already; sign a new one")
        if len(mine) >= UNFINISHED_PER_REQUESTER_MAX:
            raise Refused(f"{len(mine)} of your jobs are unfinished; wait for some to end")
        promised = sum(other.order.max_cost_microusd for other in mine)
        if budget - promised < order.max_cost_microusd:  # 7
            raise Refused(
                f"the budget for this scheduler is {microusd_to_text(budget)}, of which "
                f"{microusd_to_text(promised)} is promised to unfinished jobs; this order can cost "
                f"{microusd_to_text(order.max_cost_microusd)}: run `assay wallet deposit`"
            )

    async def _fetch(self, peer: PeerId, job: Digest, order: Order) -> JobSpec:
        owner = to_hex(job)
        try:
            cid = job_spec.spec_cid(order.spec)
            await self._fetch_artifact(peer, cid, ArtifactLimits(bytes_max=SPEC_BYTES_MAX))
            await self.artifacts.pin(cid, owner=owner)
            spec = job_spec.decode(await self.artifacts.read_bytes(cid, bytes_max=SPEC_BYTES_MAX))
            wanted = spec.resources.input_bytes
            if wanted > self.policy.input_bytes_max:
                raise Refused(
                    f"the job asks for up to {size_to_text(wanted)} of inputs; this scheduler "
                    f"carries {size_to_text(self.policy.input_bytes_max)}"
                )
            await self._fetch_artifact(peer, spec.inputs, ArtifactLimits(bytes_max=wanted))
            await self.artifacts.pin(spec.inputs, owner=owner)
            if job_spec.runtime_kind(spec.runtime) == job_spec.ENVIRONMENTS:
                await self._fetch_environment(peer, Cid(spec.runtime), owner)
        except Refused:
            await self.artifacts.unpin(owner=owner)
            raise
        except MalformedMessage as error:
            await self.artifacts.unpin(owner=owner)
            raise Refused(f"the job's spec or environment is malformed: {error}") from error
        except AssayError as error:
            await self.artifacts.unpin(owner=owner)
            raise Refused(
                f"the job's spec, inputs or environment could not be fetched: {error}"
            ) from error
        return spec

    async def _fetch_environment(self, peer: PeerId, cid: Cid, owner: str) -> None:
        """Hold an environment for the providers, which ask the scheduler alone."""
        policy = self.policy
        limits = ArtifactLimits(bytes_max=MANIFEST_BYTES_MAX, files_max=1)
        await self._fetch_artifact(peer, cid, limits)
        await self.artifacts.pin(cid, owner=owner)
        data = await self.artifacts.read_bytes(cid, bytes_max=MANIFEST_BYTES_MAX)
        manifest = environment.decode(data)
        if manifest.tar_bytes > policy.environment_bytes_max:
            raise Refused(
                f"the job's environment has {size_to_text(manifest.tar_bytes)}; this scheduler "
                f"carries {size_to_text(policy.environment_bytes_max)}"
            )
        for layer in manifest.layers:
            limits = ArtifactLimits(bytes_max=layer.tar_bytes, files_max=1)
            await self._fetch_artifact(
                peer, layer.cid, limits, timeout_s=policy.environment_fetch_s
            )
            await self.artifacts.pin(layer.cid, owner=owner)

    async def _fetch_artifact(
        self, peer: PeerId, cid: Cid, limits: ArtifactLimits, *, timeout_s: float | None = None
    ) -> None:
        allowed_s = timeout_s or self.policy.fetch_timeout_s
        try:
            async with asyncio.timeout(allowed_s):
                await self.artifacts.fetch(cid, [peer], limits=limits)
        except TimeoutError:
            raise Refused(f"{cid} could not be fetched from you within {allowed_s:.0f} s") from None
