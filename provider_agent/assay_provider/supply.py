"""What one provider sells and under which conditions: the daemon's settings, already checked."""

from dataclasses import dataclass, field
from pathlib import Path

from assay_node.protocol.benchmark import Benchmark
from assay_node.protocol.ids import Address, Digest
from assay_node.protocol.offer import Gpu, Slot
from assay_provider.disk_room import DiskRoom
from assay_provider.inventory.exact import ExactSupport
from assay_provider.owner.terms import OwnerTerms
from assay_provider.panel_terms import PanelTerms
from assay_provider.proving.terms import ProofTerms
from assay_provider.road_terms import RoadTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What the daemon offers.

    `schedulers` are multiaddrs ending in a peer ID. Every slot is equal and runs one job at a time.
    `bond_max_microusd` bounds what one job may put at stake; `scheduler_bond_min_microusd` is what
    a scheduler must have at stake itself. `result_keep_s` is how long the output
    of a settled job stays fetchable. `tiers` are those the owner asks for, () for all that pass
    their self-test, until `isolation.offered` says which they are. `allow_weak_isolation` is for
    local chains only.
    `road` is the patience with which jobs are taken to the on-chain road, `panels` what is done at
    the court. `disk` is where jobs are written and what stays free there. `exact` is which jobs
    under exact_torch can be run. `proof` is how much proving of the hardware is put up with.
    `owner` is what the machine's owner decides beside that.
    """

    operator: Address
    hardware_class: Digest
    cpu_model: str
    tiers: tuple[str, ...]
    runtimes: tuple[str, ...]
    software_digest: Digest
    slots: int
    slot: Slot
    price_microusd_per_second: int
    bond_max_microusd: int
    scheduler_bond_min_microusd: int
    schedulers: tuple[str, ...]
    work_directory: Path
    requesters_denied: frozenset[Address] = frozenset()
    result_keep_s: int = 86_400
    offer_lifetime_s: int = 120
    allow_weak_isolation: bool = False
    gpus: tuple[Gpu, ...] = ()
    benchmark: Benchmark | None = None
    disk: DiskRoom = field(default_factory=DiskRoom)
    exact: ExactSupport = field(default_factory=ExactSupport)
    road: RoadTerms = field(default_factory=RoadTerms)
    panels: PanelTerms = field(default_factory=PanelTerms)
    owner: OwnerTerms = field(default_factory=OwnerTerms)
    proof: ProofTerms = field(default_factory=ProofTerms)
