"""The settings of a provider. Units are in the names."""

from typing import Literal

from pydantic import Field

from assay_node.protocol.units import GIB, MIB
from assay_node.settings.kinds import (
    Addresses,
    AddressText,
    Bytes,
    DatabaseUrl,
    FullPath,
    FullPaths,
    GpuNames,
    Interval,
    Microusd,
    PeerMultiaddrs,
    Seconds,
    Tiers,
)
from assay_node.settings.owner_sections import (
    PriceSettings,
    RequesterLimitSettings,
    ScheduleSettings,
)
from assay_node.settings.places import assay_home
from assay_node.settings.section import Section, sqlite_in_home


class SlotSettings(Section):
    """What one job may use on a provider."""

    memory_bytes: Bytes = Field(default=2 * GIB, description="Memory, of all processes.")
    cpus_milli: int = Field(
        default=1000, ge=10, le=1_024_000, description="CPU time in thousandths of a core."
    )
    scratch_bytes: Bytes = Field(default=512 * MIB, description="Temporary files.")
    output_bytes: Bytes = Field(default=256 * MIB, description="Files left as the result.")
    input_bytes: Bytes = Field(default=1 * GIB, description="Inputs that are fetched.")
    seconds_max: Seconds = Field(default=3600, description="Longest run.")


class ExactSettings(Section):
    """How jobs that run under exact_torch are computed: it changes their time, not their bits."""

    engine: Literal["auto", "native", "float64", "int8"] = Field(
        default="auto",
        description="What multiplies matrices: kernels compiled for this machine (`native`), torch "
        "in float64, or torch in int8; `auto` is native if it passes its self-test, else float64.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description="Threads of one job; 0 gives a job as many as the cores that it asks for.",
    )
    instruction_set: Literal["native", "avx512", "avx2", "baseline"] = Field(
        default="native",
        description="The most of an x86-64 processor that jobs may use; `native` is all it has.",
    )


class IsolationSettings(Section):
    """How strangers' jobs are kept apart from this machine."""

    tiers: Tiers = Field(
        default=(),
        description="The tiers to offer: t0, t1, t2, with commas between. The daemon refuses to "
        "serve if one of them fails its self-test. By default every tier that passes, and t1 at "
        "least.",
    )
    oci_runtime: Literal["auto", "crun", "runc", "runsc"] = Field(
        default="auto",
        description="What runs containers for t2; `auto` is crun, or runc where there is no crun. "
        "`runsc` is gVisor, which has to be current.",
    )


class EnvironmentSettings(Section):
    """The cache of environments that jobs bring by their CIDs; it lies in the provider's home."""

    quota_bytes: Bytes = Field(
        default=20 * GIB,
        description="What packed layers may take; those unused for longest go first.",
    )
    unpacked_bytes_max: Bytes = Field(
        default=16 * GIB, description="Largest environment that is taken, all its files unpacked."
    )
    prepare_s_max: Seconds = Field(
        default=1800, description="Longest that fetching, unpacking and packing a layer may take."
    )


class GpuSettings(Section):
    """Which GPUs of this machine are sold. `assay provider gpus` shows what they come to."""

    use: GpuNames = Field(
        default=("auto",),
        description="`auto`: all of one kind that can be offered; `none`; or exactly these, and no "
        "start without them.",
    )
    per_slot: int = Field(
        default=0, ge=0, le=64, description="GPUs of each slot; 0: as many as there are for each."
    )
    allow_shared: bool = Field(
        default=False,
        description="Whether GPUs are offered that drive a display or run programs of yours: a "
        "tenant can stop those, and may see what they leave.",
    )


class ProvingSettings(Section):
    """How often this machine's hardware is proven to schedulers, and for how long."""

    rounds_per_hour: int = Field(
        default=6,
        ge=0,
        le=3600,
        description="Proofs given to one scheduler; each keeps the slots from jobs for half a "
        "minute or so. 0 proves nothing, and some schedulers then give no jobs.",
    )
    seconds_max: Interval = Field(
        default=60.0,
        description="The longest that one proof may compute, at the figure that is advertised; "
        "schedulers ask for some twelve seconds.",
    )


class ProviderSettings(Section):
    """Selling compute: `assay provider run`."""

    home: FullPath = Field(
        default_factory=lambda: assay_home() / "provider",
        description="Folder of the provider's signing key, peer key, database and artifacts.",
    )
    database_url: DatabaseUrl = Field(
        default_factory=lambda data: sqlite_in_home(data, "provider"),
        description="SQLite or PostgreSQL database; by default `provider.sqlite` in the home.",
    )
    operator: AddressText | None = Field(
        default=None, description="The wallet that owns the stake and is paid."
    )
    schedulers: PeerMultiaddrs = Field(
        default=(), description="Multiaddrs of the schedulers to work for."
    )
    hardware_class: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Hardware class whose seats the operator staked; by default that of the GPUs "
        "that are offered, else of the processor, such as `cpu-x86_64`.",
    )
    price_microusd_per_second: int = Field(
        default=100, ge=0, le=10**12, description="Price of one slot ($0.36 an hour is 100)."
    )
    bond_max_microusd: Microusd = Field(
        default=10_000_000, description="The most that may be at stake on one job."
    )
    scheduler_bond_min_microusd: Microusd = Field(
        default=100_000_000,
        description="The least that a scheduler must have bonded, to be slashed should it assign a "
        "job twice; 0 works for any scheduler.",
    )
    slots: int = Field(default=1, ge=1, le=256, description="Jobs run side by side.")
    slot: SlotSettings = Field(default_factory=SlotSettings, description="What one job may use.")
    gpus: GpuSettings = Field(default_factory=GpuSettings, description="Which GPUs are sold.")
    exact: ExactSettings = Field(
        default_factory=ExactSettings, description="How exact jobs are computed."
    )
    sandbox: IsolationSettings = Field(
        default_factory=IsolationSettings, description="How jobs are isolated."
    )
    environments: EnvironmentSettings = Field(
        default_factory=EnvironmentSettings, description="What jobs may bring as their software."
    )
    proof: ProvingSettings = Field(
        default_factory=ProvingSettings, description="How the hardware is proven."
    )
    uid_first: int = Field(
        default=300_000,
        ge=65_536,
        le=2_147_000_000,
        description="First of the host user ids that sandboxes run as, one for each slot, and two "
        "more that prepare environments and containers; daemons on one machine need ranges of "
        "their own.",
    )
    disk_free_bytes_min: Bytes = Field(
        default=1 * GIB,
        description="New jobs are refused while a disk that the daemon writes to has less free: a "
        "full one would keep the jobs that it runs from being committed.",
    )
    offer_lifetime_s: int = Field(
        default=60, ge=5, le=3600, description="How long an offer stands before it is renewed."
    )
    result_keep_s: Seconds = Field(
        default=86_400, description="How long the output of a paid run is kept to be fetched."
    )
    requesters_denied: Addresses = Field(
        default=(), description="Wallets whose jobs are refused, with commas between."
    )
    denied_files: FullPaths = Field(
        default=(),
        description="More lists of denied wallets and CIDs, one a line, beside `denied.txt` in the "
        "home; they are read again when they change.",
    )
    prices: PriceSettings = Field(
        default_factory=PriceSettings, description="Prices by device, and what they cost you."
    )
    schedule: ScheduleSettings = Field(
        default_factory=ScheduleSettings, description="When jobs are let in."
    )
    limits: RequesterLimitSettings = Field(
        default_factory=RequesterLimitSettings, description="What one requester may take."
    )
    road_opens: bool = Field(
        default=True,
        description="Whether the daemon takes jobs to the on-chain road whose schedulers settle "
        "nothing; one that is there is answered anyway. The signing key pays for the gas.",
    )
    road_patience_s: Interval = Field(
        default=900.0,
        description="How long a scheduler may be away, after the time to reveal was over, before "
        "its jobs are taken to the on-chain road: a restart or a batch takes less.",
    )
    road_margin_s: Interval = Field(
        default=300.0,
        description="So long before an order's expiry its job is taken there, whatever its "
        "scheduler says: time for a few replacements, after the scheduler's own last attempt.",
    )
    road_turn_s: Interval = Field(
        default=60.0,
        description="How long each operator, in the order of their tickets, has for a step that "
        "anybody can take before the next one tries: five blocks of Ethereum.",
    )
    road_poll_s: Interval = Field(
        default=15.0,
        description="Seconds between looks at the on-chain road, which gives everybody two hours.",
    )
    panels_sit: bool = Field(
        default=True,
        description="Whether the daemon runs jobs again for panels that the chain draws it for: it "
        "is paid as for any job, and answers with the same bond.",
    )
    appeal_max_microusd: Microusd = Field(
        default=5_000_000,
        description="How much the daemon may set aside to appeal against one slash of its own; 0 "
        "never appeals. The money is what the signing key has free in the Vault; it comes back, "
        "with the slash, if the panel finds the slash wrong.",
    )
    persona: Literal["liar", "silent", "staller", "pretender"] | None = Field(
        default=None,
        description="Development networks only: what to do wrong, to see it caught.",
    )
