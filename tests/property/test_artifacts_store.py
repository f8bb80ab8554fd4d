"""A store against a model of it: what is pinned stays, what is not goes, and the sums agree."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from assay_node.artifacts import reader
from assay_node.artifacts.blockstore import Blockstore
from assay_node.artifacts.catalog import Pin
from assay_node.artifacts.importer import Importer
from assay_node.artifacts.operation import Operation
from assay_node.artifacts.worker_threads import Stop
from assay_node.ports import ArtifactLimits
from assay_node.protocol.errors import LocalError
from assay_node.protocol.ids import Cid

OWNERS = st.sampled_from(["one", "two"])
FILES = st.dictionaries(
    st.sampled_from("abc"), st.integers(0, 5).map(lambda n: b"%d" % n * 50), max_size=3
)
QUOTA_BYTES = 1500
ROOMY = ArtifactLimits(bytes_max=1 << 20)


class StoreMachine(RuleBasedStateMachine):
    """Two open stores on one root take turns, as two processes do."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name) / "store"
        self.stores = [Blockstore(self.root, quota_bytes=QUOTA_BYTES) for _ in range(2)]
        self.added: set[Cid] = set()
        self.pinned: set[tuple[str, Cid]] = set()
        self.trees = 0

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    @rule(files=FILES, at=st.integers(0, 1))
    def add(self, files: dict[str, bytes], at: int) -> None:
        self.trees += 1
        path = Path(self.folder.name) / f"tree{self.trees}"
        path.mkdir()
        for name, content in files.items():
            (path / name).write_bytes(content)
        with Operation(self.stores[at]) as operation:
            importer = Importer(operation.emit, limits=ROOMY, stop=Stop())
            try:
                cid = operation.finish(importer.add(path).cid)
            except LocalError as error:
                assert "quota" in str(error)  # noqa: PT017 - the pinned ones may leave no room
                return
            assert reader.is_whole(self.stores[1 - at], cid, Stop())
        self.added.add(cid)

    @rule(data=st.data(), owner=OWNERS, at=st.integers(0, 1))
    def pin(self, data: st.DataObject, owner: str, at: int) -> None:
        store = self.stores[at]
        here = [cid for cid in sorted(self.added) if reader.is_whole(store, cid, Stop())]
        if here:
            cid = data.draw(st.sampled_from(here))
            store.catalog.pin(Pin(owner=owner, cid=cid, bytes=0))
            self.pinned.add((owner, cid))

    @rule(owner=OWNERS, at=st.integers(0, 1))
    def unpin(self, owner: str, at: int) -> None:
        self.stores[at].catalog.unpin(owner)
        self.pinned = {(o, cid) for o, cid in self.pinned if o != owner}

    @rule(at=st.integers(0, 1))
    def collect(self, at: int) -> None:
        store = self.stores[at]
        store.collect_garbage()
        kept = {cid for _, cid in self.pinned}
        assert {cid for cid in self.added if reader.is_whole(store, cid, Stop())} >= kept
        needed: set[str] = set()
        for cid in kept:
            node = reader.read_node(store, cid)
            needed |= {cid} | {entry.cid for entry in getattr(node, "entries", ())}
        assert {path.name for path in self.root.glob("??/*")} == needed

    @invariant()
    def pinned_artifacts_are_whole(self) -> None:
        for _, cid in self.pinned:
            assert reader.is_whole(self.stores[0], cid, Stop())

    @invariant()
    def sums_agree_and_the_quota_holds(self) -> None:
        used = sum(path.stat().st_size for path in self.root.glob("??/*"))
        assert self.stores[0].catalog.used_bytes() == used <= QUOTA_BYTES


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
