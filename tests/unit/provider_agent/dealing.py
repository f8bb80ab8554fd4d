"""A scheduler that sees each lease through to its end, however often the provider dies."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from assay_node.protocol.errors import RemoteError
from assay_node.protocol.ids import Digest
from assay_node.protocol.messages import Commit, CommitSet, Reveal
from assay_node.protocol.order import SignedOrder, job_id
from tests.unit.provider_agent.world import DOMAIN, World, a_commit_set

AGAIN_S = 0.5
PATIENCE_S = 3_000.0
_T = TypeVar("_T")


@dataclass
class Dealer:
    """Speaks for the scheduler, and remembers all it was told."""

    world: World
    accepted: set[Digest] = field(default_factory=set)
    reveals: dict[tuple[Digest, int], list[Reveal]] = field(default_factory=dict)
    sets: dict[tuple[Digest, int], CommitSet] = field(default_factory=dict)
    _offered: list[Digest] = field(default_factory=list)
    _active: list[Digest] = field(default_factory=list)

    async def lease(self, signed: SignedOrder, round_number: int = 0) -> Digest:
        """Offer a lease until the provider takes it."""
        job = job_id(signed.order, DOMAIN)
        if job not in self._active:
            self._offered.append(job)
        self._tell()

        async def offer() -> None:
            answer = await self.world.scheduler.lease(signed, round_number=round_number)
            if "busy" in answer.reason:
                raise RemoteError(answer.reason)  # asked again
            assert answer.accepted, answer.reason
            self.accepted.add(job)

        await self._until_heard(offer)
        self._offered = [one for one in self._offered if one != job]
        if not self.handed_back(job):
            self._active.append(job)
        self._tell()
        return job

    async def commit(self, job: Digest, round_number: int = 0) -> Commit:
        """Wait for a lease's commitment of a round."""

        def found() -> Commit | None:
            commits = [c for c in self.commits_of(job) if c.round_number == round_number]
            return commits[-1] if commits else None

        return await until_some(found)

    async def reveal(self, commit: Commit, committed: CommitSet | None = None) -> Reveal:
        """Show a round's commit set until the provider reveals."""
        place = (commit.job, commit.round_number)
        shown = self.sets.setdefault(place, committed or a_commit_set(commit))
        reveal = await self._until_heard(lambda: self.world.scheduler.reveal(shown))
        self.reveals.setdefault(place, []).append(reveal)
        return reveal

    async def release(self, job: Digest, reason: str = "settled") -> None:
        """Release a lease until the provider says so."""
        await self._until_heard(lambda: self.world.scheduler.release(job, reason))
        self.drop(job)

    async def hand_back(self, job: Digest) -> str:
        """Wait until a lease is handed back, and return why."""
        reason = await until_some(lambda: self.handed_back(job))
        self.drop(job)
        return reason

    def drop(self, job: Digest) -> None:
        """List a lease no more."""
        self._active = [one for one in self._active if one != job]
        self._tell()

    def handed_back(self, job: Digest) -> str | None:
        """Return why a lease was handed back, None if it was not."""
        reasons = [one.reason for one in self.world.scheduler.hand_backs if one.job == job]
        return reasons[-1] if reasons else None

    def commits_of(self, job: Digest) -> list[Commit]:
        """Return every commit message of a job."""
        return [commit for commit in self.world.scheduler.commits if commit.job == job]

    async def _until_heard(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        await until_some(lambda: self.world.scheduler.hellos or None)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await ask()
                except RemoteError:
                    await asyncio.sleep(AGAIN_S)

    def _tell(self) -> None:
        self.world.scheduler.offered_jobs = tuple(self._offered)
        self.world.scheduler.active_jobs = tuple(self._active)


async def until_some(found: Callable[[], _T | None]) -> _T:
    """Wait, in virtual time, until there is something, and return it."""
    async with asyncio.timeout(PATIENCE_S):
        while (thing := found()) is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(AGAIN_S)
    return thing
