"""The stored lease against a small model: any order of events, crashes in between."""

import asyncio
import contextlib
import dataclasses
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from assay_node.protocol.errors import Refused
from assay_node.protocol.ids import Address, Digest
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLease, ProviderLeases
from assay_provider.commitment import salt_of
from assay_provider.lease_acceptance import in_round, new_salt
from assay_provider.lease_book import LeaseBook
from assay_provider.lease_machine import HAS_OUTPUT, HOLDS_SLOT, Event, State

JOB = Digest(b"\x01" * 32)


class Clock:
    def now(self) -> float:
        return 1.0


class StoredLease(RuleBasedStateMachine):
    """The model is three words: phase, round, and which set each round signed."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.stack = contextlib.AsyncExitStack()
        self.phase = "promised"
        self.round = 0
        self.signed: dict[int, Digest] = {}
        self.salts: dict[int, bytes | None] = {}
        self.events = 1

    def teardown(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()
        self.directory.cleanup()

    def lease(self) -> ProviderLease:
        found = self.loop.run_until_complete(self.book.get(JOB))
        assert found is not None
        return found

    def apply(self, event: Event, **changes: object) -> bool:
        work = self.book.apply(JOB, event, lambda lease: dataclasses.replace(lease, **changes))  # type: ignore[arg-type]
        done = self.loop.run_until_complete(work) is not None
        self.events += done
        return done

    @initialize()
    def accept(self) -> None:
        self.open()
        lease = ProviderLease(
            job=JOB,
            scheduler=Address("0x" + "22" * 20),
            signed_order=b"order",
            ticket=1,
            round_number=0,
            rate_microusd=5,
            slot=0,
            state=State.ACCEPTED.value,
            expiry=9,
            accepted_at=1.0,
        )
        assert self.loop.run_until_complete(self.book.add(lease))

    def open(self) -> None:
        url = f"sqlite:///{Path(self.directory.name) / 'provider.sqlite'}"
        database = self.loop.run_until_complete(
            self.stack.enter_async_context(open_database(url, role="provider"))
        )
        self.book = LeaseBook(leases=ProviderLeases(database), clock=Clock())

    @rule()
    def crash(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.stack = contextlib.AsyncExitStack()
        self.open()

    @rule()
    def start(self) -> None:
        assert self.apply(Event.START) == (self.phase in ("promised", "running"))
        if self.phase == "promised":
            self.phase = "running"

    @rule()
    def execute(self) -> None:
        salt = new_salt()
        done = self.apply(Event.EXECUTE, output="bafy", seconds=1, salt=salt, slot=None)
        assert done == (self.phase == "running")
        if done:
            self.phase = "waiting"
            self.salts[self.round] = salt_of(self.lease())

    @rule()
    def commit(self) -> None:
        done = self.apply(Event.COMMIT)
        assert not done or self.phase == "waiting"

    @rule()
    def next_round(self) -> None:
        work = self.book.apply(
            JOB,
            Event.NEXT_ROUND,
            lambda lease: in_round(lease, lease.round_number + 1, ticket=lease.ticket),
        )
        done = self.loop.run_until_complete(work) is not None
        self.events += done
        assert done == (self.phase != "over")
        if done:
            self.round += 1
            self.salts[self.round] = salt_of(self.lease()) if self.lease().salt else None

    @rule()
    def close(self) -> None:
        done = self.apply(Event.CLOSE, closed_at=2.0, closed_reason="x", slot=None)
        assert done == (self.phase != "over")
        self.phase = "over"

    @precondition(lambda self: self.phase == "waiting")
    @rule(commits=st.integers(1, 3).map(lambda n: Digest(bytes([n]) * 32)))
    def reveal(self, commits: Digest) -> None:
        before = self.lease()
        after = dataclasses.replace(before, state=State.REVEALED.value)
        work = self.book.store.sign_set(
            before,
            after,
            commits=commits,
            commit_set=b"",
            event=Event.REVEAL.value,
            now=1.0,
        )
        earlier = self.signed.get(self.round)
        try:
            assert self.loop.run_until_complete(work) is not None
        except Refused:
            assert earlier is not None
            assert earlier != commits
            return
        assert earlier in (None, commits)
        self.signed[self.round] = commits
        self.events += earlier is None

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        lease = self.lease()
        state = State(lease.state)
        expected = {
            "promised": {State.ACCEPTED},
            "running": {State.RUNNING},
            "waiting": HAS_OUTPUT,
            "over": {State.CLOSED},
        }[self.phase]
        assert state in expected
        assert lease.round_number == self.round
        assert (lease.slot is not None) == (state in HOLDS_SLOT)
        if state in HAS_OUTPUT:
            assert salt_of(lease) == self.salts[self.round]
        history = self.loop.run_until_complete(self.book.store.events(JOB))
        assert len(history) == self.events
        assert history[-1].state == state

    @invariant()
    def no_salt_serves_two_rounds(self) -> None:
        used = [salt for salt in self.salts.values() if salt is not None]
        assert len(set(used)) == len(used)


TestStoredLease = StoredLease.TestCase
TestStoredLease.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
