"""Whatever the chain does and wherever the process dies: each thing is done once, or is known not
to have been done.

A machine of random steps drives one wallet's outbox against a node made of a list: blocks, reorgs
shallower than the confirmations, forgetful pools, base fees, other programs with the same key,
crashes around sending and around keeping an end. After every step the rules below hold; at the end
the world heals and everything ends.
"""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any

from eth_utils.crypto import keccak
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from assay_node.chain import signing
from assay_node.chain.bound_contract import Call
from assay_node.chain.journal import Journal
from assay_node.chain.outbox import GasTooDear, Outbox, SendingSettings
from assay_node.chain.pursuit import Patience
from assay_node.ports.transactions import OutgoingTransaction, SignedTransaction, TransactionState
from assay_node.protocol.errors import ChainUnavailable
from assay_node.protocol.ids import Address, Digest
from tests.fakes.chain_node import GWEI, Crash, FakeChainNode, is_theirs
from tests.fixtures.receipts import key

CONFIRMATIONS = 3
CEILING = 100 * GWEI
SETTINGS = SendingSettings(
    patience=Patience(confirmations=CONFIRMATIONS, resend_s=5, replace_s=30), price_max=CEILING
)


CRASHES = st.sampled_from([None, None, "before", "after"])


class WatchedJournal(Journal):
    """Remembers every form that was ever kept, and every transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: set[bytes] = set()
        self.all: dict[Digest, list[SignedTransaction]] = {}

    async def save_transaction(self, outgoing: OutgoingTransaction) -> bool:
        self.kept.add(outgoing.newest.raw)
        self.all[outgoing.id] = [outgoing.newest]
        return await super().save_transaction(outgoing)

    async def add_signed(self, outgoing: OutgoingTransaction, signed: SignedTransaction) -> None:
        self.kept.add(signed.raw)
        self.all[outgoing.id].append(signed)
        await super().add_signed(outgoing, signed)


class OutboxMachine(RuleBasedStateMachine):
    """One wallet, one node, and a process that may die at any time."""

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.node = FakeChainNode()
        self.store = WatchedJournal()
        self.now = 0.0
        self.asked = 0
        self.ends: dict[Digest, TransactionState] = {}
        self.depth_left = 0  # the first block stays
        self.restart()

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.loop.close()

    def restart(self) -> None:
        self.outbox = Outbox(
            self.node,  # type: ignore[arg-type]
            chain_id=31_337,
            signer=key(1),
            store=self.store,
            settings=SETTINGS,
            clock=lambda: self.now,
        )

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something; a crash in it is followed by a new process."""
        try:
            return self.loop.run_until_complete(work)
        except Crash:
            self.restart()
        except (ChainUnavailable, GasTooDear):
            pass
        return None

    async def pursue(self, *, dies_before_keeping: bool = False) -> None:
        for ended in await self.outbox.pursue():
            if dies_before_keeping:
                raise Crash
            before = self.ends.setdefault(ended.outgoing.id, ended.state)
            assert before == ended.state, "an end changed"
            await self.store.end_transaction(ended.outgoing, ended.state)

    @initialize(target=calls)
    def start(self) -> int:
        return 0

    @rule(target=calls, call=consumes(calls), crash=CRASHES)
    def submit(self, call: int, crash: str | None) -> int:
        self.node.crash = crash
        data = call.to_bytes(4, "big") + b"!"
        to = Address("0x" + "ab" * 20)
        self.run(self.outbox.submit(Call(to=to, data=data), action="it", kind="test"))
        self.node.crash = None
        return call + 1

    @rule(crash=st.sampled_from([None, None, None, "before", "after", "keeping"]))
    def look(self, crash: str | None) -> None:
        self.node.crash = crash if crash != "keeping" else None
        self.run(self.pursue(dies_before_keeping=crash == "keeping"))
        self.node.crash = None

    @rule(count=st.integers(1, 4))
    def mine(self, count: int) -> None:
        self.node.mine(count)
        self.depth_left = min(CONFIRMATIONS - 1, self.depth_left + count)

    @rule(depth=st.integers(1, CONFIRMATIONS - 1), keep_pool=st.booleans())
    def reorganise(self, depth: int, keep_pool: bool) -> None:
        depth = min(depth, self.depth_left)  # what is final stays: two reorgs in a row go no deeper
        if depth:
            self.node.reorganise(depth, keep_pool=keep_pool)
            self.depth_left -= depth

    @rule()
    def forget(self) -> None:
        self.node.pool.clear()

    @rule()
    def somebody_else(self) -> None:
        self.node.take_nonce()
        self.depth_left = min(CONFIRMATIONS - 1, self.depth_left + 1)

    @rule(gwei=st.sampled_from([1, 3, 10, 40, 98, 150]))
    def price(self, gwei: int) -> None:
        self.node.base_fee = gwei * GWEI

    @rule(seconds=st.sampled_from([1, 6, 31]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def flicker(self) -> None:
        self.node.away = not self.node.away

    @rule()
    def die(self) -> None:
        self.restart()

    @invariant()
    def nothing_is_sent_that_was_not_kept(self) -> None:
        assert set(self.node.seen) <= self.store.kept

    @invariant()
    def open_transactions_have_nonces_of_their_own(self) -> None:
        opened = self.loop.run_until_complete(self.store.open_transactions())
        nonces = [one.nonce for one in opened]
        assert len(nonces) == len(set(nonces))

    @invariant()
    def forms_differ_in_fees_only_and_stay_below_the_ceiling(self) -> None:
        for forms in self.store.all.values():
            read = [signing.read(form.raw) for form in forms]
            assert len({(one.nonce, one.gas, one.call.data) for one in read}) == 1
            caps = [one.fees.cap for one in read]
            assert all(8 * new >= 9 * old for old, new in itertools.pairwise(caps))
            assert max(caps) <= CEILING

    @invariant()
    def an_end_is_the_truth(self) -> None:
        mined = {keccak(raw) for raw in self.node.mined.values()}
        for id_, state in self.ends.items():
            forms = sum(form.hash in mined for form in self.store.all[id_])
            assert forms == (1 if state is TransactionState.SUCCEEDED else 0), (id_, state)

    def heal(self) -> None:
        self.node.away = False
        self.node.base_fee = GWEI
        for _ in range(200):
            self.now += 6
            self.run(self.pursue())
            self.node.mine()
            if not self.loop.run_until_complete(self.store.open_transactions()):
                break
        opened = self.loop.run_until_complete(self.store.open_transactions())
        assert not opened, "something never ends"
        self.an_end_is_the_truth()
        datas = [signing.read(raw).call.data for raw in self._ours()]
        assert len(datas) == len(set(datas)), "something was done twice"
        wanted = {id_ for id_, forms in self.store.all.items() if not _is_filler(forms[0])}
        assert wanted == set(self.ends), "something was forgotten"

    def _ours(self) -> list[bytes]:
        mined = [raw for raw in self.node.mined.values() if not is_theirs(raw)]
        return [raw for raw in mined if signing.read(raw).call.data]


def _is_filler(signed: SignedTransaction) -> bool:
    return not signing.read(signed.raw).call.data


OutboxMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOutbox = OutboxMachine.TestCase
