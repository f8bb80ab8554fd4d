"""A provider daemon among fakes: one scheduler, one requester, a chain and artifacts in memory."""

import asyncio
import dataclasses
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from assay_node.keys import LocalKey
from assay_node.ports import Account, ArtifactLimits, Head, SchedulerBond
from assay_node.protocol import cid as cids
from assay_node.protocol import codec, job_spec
from assay_node.protocol.assignment import Assign, SignedAssign, assign_digest
from assay_node.protocol.errors import ChainUnavailable, LocalError, Refused, RemoteError
from assay_node.protocol.ids import Address, Cid, Digest, PeerId
from assay_node.protocol.job_spec import JobSpec, Resources
from assay_node.protocol.messages import (
    COMMIT,
    COMMIT_SET,
    HAND_BACK,
    HEARTBEAT,
    HELLO,
    LEASE,
    PROGRESS,
    RELEASE,
    Ack,
    Commit,
    CommitEntry,
    CommitSet,
    HandBack,
    Heartbeat,
    Hello,
    LeaseAnswer,
    LeaseOffer,
    Progress,
    Release,
    Reveal,
    Welcome,
)
from assay_node.protocol.offer import Slot
from assay_node.protocol.order import Order, SignedOrder, job_id
from assay_node.protocol.receipt import commit_set, commit_set_digest
from assay_node.protocol.typed_data import Domain
from assay_node.protocol.units import GIB, MIB
from assay_node.store.database import open_database
from assay_node.store.provider_leases import ProviderLease, ProviderLeases
from assay_provider.assembly import ProviderParts
from assay_provider.daemon import serve
from assay_provider.execution import EnvironmentRoots
from assay_provider.gpus.slot_gpus import SlotGpus
from assay_provider.personas import HONEST, Conduct
from assay_provider.supply import Supply
from tests.fakes.court import FakeCourt
from tests.fakes.device_worker import FakeWorkers
from tests.fakes.network import FakeHub, FakeNetwork
from tests.fakes.provider_leases import MemoryLeases, Tables
from tests.fakes.sandbox import FakeSandbox

CHAIN_ID = 31337
MARKET = Address("0x" + "ab" * 20)
DOMAIN = Domain(CHAIN_ID, MARKET)
HARDWARE = Digest(hashlib.sha256(b"cpu-test").digest())
REQUESTER = LocalKey(b"\x11" * 32)
SIGNER = LocalKey(b"\x33" * 32)
SCHEDULER_WALLET = LocalKey(b"\x22" * 32)
SCHEDULER = SCHEDULER_WALLET.address
OPERATOR = Address("0x" + "0a" * 20)
OTHER_OPERATOR = Address("0x" + "0b" * 20)
NOW = 1_800_000_000.0
PROVIDER_PEER_KEY = b"\x44" * 32
WAIT_S = 20.0
"""Only ever reached by a failing test."""

_M = TypeVar("_M")


class FakeClock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


class FakeChain(FakeCourt):
    """Facts about the chain that tests set."""

    chain_id = CHAIN_ID
    market = MARKET

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(DOMAIN, lambda: int(clock.now()))
        self._clock = clock
        self.drawn: tuple[Address | None, ...] = (OTHER_OPERATOR, OPERATOR, None, OPERATOR)
        self.budget_microusd = 10**12
        self.used_nonces = self.spent
        self.signer: Address | None = SIGNER.address
        self.requester_signers: dict[Address, Address] = {}
        self.ahead_s = 0
        self.bond_microusd = 100_000_000
        self.bond_slashable_until = int(NOW) + 7 * 86_400
        self.away = False
        self.block = 10
        self.free_microusd = 5_000_000
        self.locked_microusd = 0

    def newest_block(self) -> int:
        return self.block

    def _ask(self) -> None:
        if self.away:
            raise ChainUnavailable("the chain does not answer; try again")

    async def head(self) -> Head:
        self._ask()
        return Head(number=self.block, timestamp=int(self._clock.now()) + self.ahead_s)

    async def block_hash(self, number: int) -> Digest | None:
        self._ask()
        return Digest(number.to_bytes(32, "big"))

    async def account(self, address: Address) -> Account:
        self._ask()
        return Account(
            free_microusd=self.free_microusd,
            stake_microusd=50_000_000,
            locked_microusd=self.locked_microusd,
            wins=3,
            faults=1,
        )

    async def budget(self, requester: Address, scheduler: Address) -> int:
        self._ask()
        return self.budget_microusd

    async def signer_of(self, operator: Address) -> Address | None:
        self._ask()
        return self.signer if operator == OPERATOR else self.requester_signers.get(operator)

    async def scheduler_bond(self, scheduler: Address) -> SchedulerBond:
        self._ask()
        return SchedulerBond(
            amount_microusd=self.bond_microusd if scheduler == SCHEDULER else 0,
            slashable_until=self.bond_slashable_until,
            leaves_at=None,
            caught=False,
        )

    async def nonce_used(self, requester: Address, nonce: int) -> bool:
        self._ask()
        return nonce in self.used_nonces

    async def draw(
        self, hardware_class: Digest, seed_block: int, job_id: Digest, *, max_ticket: int
    ) -> tuple[Address | None, ...]:
        self._ask()
        padded = self.drawn + (None,) * (max_ticket + 1)
        return padded[: max_ticket + 1]


def read_tree(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


def write_tree(path: Path, tree: dict[str, bytes]) -> None:
    path.mkdir()
    for name, data in tree.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


class FakeArtifacts:
    """Artifacts in memory; every peer's store hangs on one shared board."""

    def __init__(self, board: "dict[PeerId, FakeArtifacts]", peer_id: PeerId) -> None:
        self._board = board
        self.kept: dict[Cid, bytes | dict[str, bytes]] = {}
        self.pins: dict[str, set[Cid]] = {}
        board[peer_id] = self

    async def add(self, path: Path, *, limits: ArtifactLimits) -> Cid:
        tree = read_tree(path)
        if sum(map(len, tree.values())) > limits.bytes_max or len(tree) > limits.files_max:
            raise LocalError("the directory is larger than allowed")
        return self.put(tree)

    def put(self, tree: dict[str, bytes]) -> Cid:
        text = json.dumps({name: data.hex() for name, data in sorted(tree.items())})
        cid = cids.of_block(cids.DAG_PB, text.encode())
        self.kept[cid] = tree
        return cid

    async def add_bytes(self, data: bytes, *, codec: int) -> Cid:
        cid = cids.of_block(codec, data)
        self.kept[cid] = data
        return cid

    async def read_bytes(self, cid: Cid, *, bytes_max: int) -> bytes:
        data = self.kept[cid]
        assert isinstance(data, bytes)
        return data

    async def has(self, cid: Cid) -> bool:
        return cid in self.kept

    async def fetch(self, cid: Cid, sources: Sequence[PeerId], *, limits: ArtifactLimits) -> int:
        for source in sources:
            if cid in self._board[source].kept:
                self.kept[cid] = self._board[source].kept[cid]
                return 1
        raise RemoteError(f"nobody has {cid}")

    async def export(self, cid: Cid, destination: Path) -> None:
        tree = self.kept[cid]
        assert isinstance(tree, dict)
        write_tree(destination, tree)

    async def pin(self, cid: Cid, *, owner: str) -> None:
        assert cid in self.kept
        self.pins.setdefault(owner, set()).add(cid)

    async def unpin(self, *, owner: str) -> None:
        self.pins.pop(owner, None)


class FakeScheduler:
    """A scheduler's wire side: answers what providers send, and keeps it."""

    def __init__(self, network: FakeNetwork, artifacts: FakeArtifacts) -> None:
        self.network = network
        self.artifacts = artifacts
        self.hellos: list[Hello] = []
        self.heartbeats: list[Heartbeat] = []
        self.progress: list[Progress] = []
        self.commits: list[Commit] = []
        self.hand_backs: list[HandBack] = []
        self.heartbeat_s = 1
        self.active_jobs: tuple[Digest, ...] | None = None
        self.offered_jobs: tuple[Digest, ...] = ()
        self.leased: list[Digest] = []
        self.commit_answer: Callable[[Commit], None] = lambda commit: None
        self.welcome_gate = asyncio.Event()
        self.welcome_gate.set()
        self.provider: PeerId
        self._changed = asyncio.Event()
        for protocol, handler in (
            (HELLO, self._hello),
            (HEARTBEAT, self._heartbeat),
            (PROGRESS, self._progress),
            (COMMIT, self._commit),
            (HAND_BACK, self._hand_back),
        ):
            network.serve_requests(protocol, self._noting(handler))

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something the provider sends makes `condition` true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def send(self, protocol: str, message: object, answer: type[_M]) -> _M:
        data = await self.network.request(
            self.provider, protocol, codec.encode(message), timeout_s=WAIT_S
        )
        return codec.decode(answer, data)

    async def lease(
        self,
        signed: SignedOrder,
        ticket: int = 1,
        round_number: int = 0,
        assign: SignedAssign | None = None,
    ) -> LeaseAnswer:
        self.leased.append(job_id(signed.order, DOMAIN))
        offer = LeaseOffer(
            signed_order=signed,
            ticket=ticket,
            round_number=round_number,
            assign=assign or an_assign(signed, ticket=ticket, round_number=round_number),
        )
        return await self.send(LEASE, offer, LeaseAnswer)

    async def committed(self, count: int = 1) -> Commit:
        await self.until(lambda: len(self.commits) >= count)
        return self.commits[-1]

    async def reveal(self, committed: CommitSet) -> Reveal:
        return await self.send(COMMIT_SET, committed, Reveal)

    async def release(self, job: Digest, reason: str = "settled") -> None:
        await self.send(RELEASE, Release(job=job, reason=reason), Ack)

    def _noting(
        self, handler: Callable[[PeerId, bytes], Awaitable[object]]
    ) -> Callable[[PeerId, bytes], Awaitable[bytes]]:
        async def handle(peer_id: PeerId, payload: bytes) -> bytes:
            self.provider = peer_id
            try:
                return codec.encode(await handler(peer_id, payload))
            finally:
                self._changed.set()

        return handle

    async def _hello(self, peer_id: PeerId, payload: bytes) -> Welcome:
        self.hellos.append(codec.decode(Hello, payload))
        self._changed.set()
        active = tuple(self.leased) if self.active_jobs is None else self.active_jobs
        await self.welcome_gate.wait()
        return Welcome(
            scheduler=SCHEDULER,
            heartbeat_s=self.heartbeat_s,
            active_jobs=active,
            offered_jobs=self.offered_jobs,
        )

    async def _heartbeat(self, peer_id: PeerId, payload: bytes) -> Ack:
        self.heartbeats.append(codec.decode(Heartbeat, payload))
        return Ack()

    async def _progress(self, peer_id: PeerId, payload: bytes) -> Ack:
        self.progress.append(codec.decode(Progress, payload))
        return Ack()

    async def _commit(self, peer_id: PeerId, payload: bytes) -> Ack:
        commit = codec.decode(Commit, payload)
        self.commits.append(commit)
        self.commit_answer(commit)
        return Ack()

    async def _hand_back(self, peer_id: PeerId, payload: bytes) -> Ack:
        self.hand_backs.append(codec.decode(HandBack, payload))
        return Ack()


class World:
    """The fakes around a daemon that can be started, stopped and killed again and again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.chain = FakeChain(self.clock)
        self.hub = FakeHub()
        self.board: dict[PeerId, FakeArtifacts] = {}
        self.sandbox = FakeSandbox()
        self.gpus = SlotGpus()
        self.environments: EnvironmentRoots | None = None
        self.conduct: Conduct = HONEST
        self.device_workers = FakeWorkers()
        self.scheduler: FakeScheduler
        self.artifacts: FakeArtifacts
        self.store: ProviderLeases
        self.supply: Supply
        self.network: FakeNetwork
        self.tables: Tables | None = None
        """Set for a store in memory, which works in virtual time too."""
        self.change_parts: Callable[[ProviderParts], ProviderParts] = lambda parts: parts
        self._nonces = iter(range(1, 1000))

    def signed_order(self, spec: JobSpec | None = None, **changes: Any) -> SignedOrder:
        """Return a good order whose spec and inputs the scheduler holds."""
        cid, block = job_spec.encode(spec or self.spec())
        self.scheduler.artifacts.kept[cid] = block
        fields: dict[str, Any] = {
            "requester": REQUESTER.address,
            "spec": cids.to_digest(cid),
            "hardware_class": HARDWARE,
            "scheduler": SCHEDULER,
            "fee_microusd": 1000,
            "max_rate_microusd": 500,
            "max_seconds": 60,
            "bond_microusd": 1_000_000,
            "replicas": 2,
            "quorum": 2,
            "max_ticket": 3,
            "commit_window_s": 30,
            "reveal_window_s": 20,
            "seed_block": 5,
            "expiry": int(NOW) + 600,
            "nonce": next(self._nonces).to_bytes(32, "big"),
        }
        order = Order(**{**fields, **changes})
        return SignedOrder(order=order, signature=REQUESTER.sign_digest(job_id(order, DOMAIN)))

    def spec(self, **changes: Any) -> JobSpec:
        fields: dict[str, Any] = {
            "name": "example",
            "command": ("python", "/input/main.py"),
            "environment": {"SEED": "7"},
            "inputs": self.scheduler.artifacts.put({"main.py": b"print('hi')"}),
            "resources": Resources(),
        }
        return JobSpec(**{**fields, **changes})

    def commit_set(self, commit: Commit, **changes: Any) -> CommitSet:
        """Return a good set of two around this provider's commitment at ticket 1."""
        return a_commit_set(commit, **changes)

    async def stored(self, job: Digest) -> ProviderLease:
        lease = await self.store.get(job)
        assert lease is not None
        return lease

    async def until_state(self, job: Digest, state: str) -> ProviderLease:
        """Wait until a lease is in a state."""
        return await self.until_lease(job, lambda lease: lease.state == state)

    async def until_lease(
        self, job: Digest, condition: Callable[[ProviderLease], bool]
    ) -> ProviderLease:
        """Wait until a stored lease is as wanted; yields to the loop between looks."""
        async with asyncio.timeout(WAIT_S):
            while not condition(lease := await self.stored(job)):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0)
        return lease

    @asynccontextmanager
    async def daemon(self, **changes: Any) -> AsyncIterator["Daemon"]:
        """Run the daemon on a freshly opened store; leaving the block kills it, unless it ended."""
        supply = dataclasses.replace(self.supply, **changes)
        async with self._open_store() as store, FakeNetwork(self.hub, PROVIDER_PEER_KEY) as network:
            self.store = store
            self.network = network
            self.artifacts.kept = dict(self.artifacts.kept)
            self.board[network.peer_id] = self.artifacts
            parts = ProviderParts(
                network=network,
                artifacts=self.artifacts,
                chain=self.chain,
                leases=self.store,
                signer=SIGNER,
                sandbox=self.sandbox,
                clock=self.clock,
                gpus=self.gpus,
                environments=self.environments,
                new_device_worker=self.device_workers,
            )
            parts = self.change_parts(parts)
            stop, ready = asyncio.Event(), asyncio.Event()
            task = asyncio.create_task(
                serve(parts, supply, stop=stop, conduct=self.conduct, on_ready=ready.set)
            )
            try:
                waiting = asyncio.create_task(ready.wait())
                await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                yield Daemon(task=task, stop=stop)
            finally:
                if not task.done():
                    task.cancel()
                await asyncio.wait({task})
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    @asynccontextmanager
    async def _open_store(self) -> AsyncIterator[ProviderLeases]:
        if self.tables is not None:
            yield MemoryLeases(self.tables)  # type: ignore[misc]
            return
        url = f"sqlite:///{self.directory}/provider.sqlite"
        async with open_database(url, role="provider") as database:
            yield ProviderLeases(database)


def an_assign(
    signed: SignedOrder, *, ticket: int = 1, round_number: int = 0, **changes: Any
) -> SignedAssign:
    """Return a good assignment of this provider's operator, numbered by its round and ticket."""
    fields = {
        "job": job_id(signed.order, DOMAIN),
        "round_number": min(max(round_number, 0), 2**32 - 1),
        "sequence": min(max(256 * round_number + ticket, 0), 2**32 - 1),
        "operators": (OPERATOR,),
        "tickets": (min(max(ticket, 0), 255),),
        "replaced": (),
        **changes,
    }
    return sign_assign(Assign(**fields))


def sign_assign(assign: Assign, key: LocalKey = SCHEDULER_WALLET) -> SignedAssign:
    """Return an assignment signed by its scheduler."""
    return SignedAssign(assign=assign, signature=key.sign_digest(assign_digest(assign, DOMAIN)))


def an_entry(
    commit: Commit, *, operator: Address = OPERATOR, ticket: int = 1, **changes: Any
) -> CommitEntry:
    """Return the entry of a commitment in a commit set."""
    entry = CommitEntry(
        operator=operator,
        ticket=ticket,
        rate_microusd=commit.rate_microusd,
        commitment=commit.commitment,
        signature=commit.signature,
    )
    return dataclasses.replace(entry, **changes)


def a_commit_set(commit: Commit, **changes: Any) -> CommitSet:
    """Return a set around this provider's commitment at ticket 1, signed by its scheduler."""
    other = an_entry(commit, operator=OTHER_OPERATOR, ticket=0, commitment=Digest(b"\x09" * 32))
    fields = {
        "job": commit.job,
        "round_number": commit.round_number,
        "entries": (other, an_entry(commit)),
        **changes,
    }
    commits = commit_set([entry.commitment for entry in fields["entries"]])
    digest = commit_set_digest(
        DOMAIN, job=fields["job"], round_number=fields["round_number"], commits=commits
    )
    signature = SCHEDULER_WALLET.sign_digest(digest)
    return CommitSet(**{"signature": signature, **fields})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A running daemon."""

    task: "asyncio.Task[None]"
    stop: asyncio.Event

    async def leave(self) -> None:
        """End it politely."""
        self.stop.set()
        async with asyncio.timeout(WAIT_S):
            await asyncio.shield(self.task)


@asynccontextmanager
async def open_world(directory: Path) -> AsyncIterator[World]:
    world = World(directory)
    async with FakeNetwork(world.hub) as network:
        world.scheduler = FakeScheduler(network, FakeArtifacts(world.board, network.peer_id))
        world.artifacts = FakeArtifacts(world.board, PeerId("unset"))
        world.supply = Supply(
            operator=OPERATOR,
            hardware_class=HARDWARE,
            cpu_model="Test CPU",
            tiers=("t1",),
            runtimes=("host-python",),
            software_digest=Digest(b"\x05" * 32),
            slots=2,
            slot=Slot(
                memory_bytes=2 * GIB,
                cpus_milli=1000,
                scratch_bytes=512 * MIB,
                output_bytes=256 * MIB,
                input_bytes=1 * GIB,
                seconds_max=3600,
            ),
            price_microusd_per_second=400,
            bond_max_microusd=10_000_000,
            scheduler_bond_min_microusd=100_000_000,
            schedulers=network.addresses,
            work_directory=directory / "work",
        )
        yield world


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something inside the daemon makes `condition` true."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - the daemon does not tell tests
            await asyncio.sleep(0)


def refusing(reason: str, times: int) -> Callable[[Commit], None]:
    """Return a `commit_answer` that refuses so many times."""
    left = deque([reason] * times)

    def answer(commit: Commit) -> None:
        if left:
            raise Refused(left.popleft())

    return answer
