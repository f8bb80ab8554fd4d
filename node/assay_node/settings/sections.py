"""The settings themselves, one frozen model for each part or role. Units are in the names.

Those of a provider are in `provider_sections`.
"""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from assay_node.protocol.units import GIB, MIB
from assay_node.settings.kinds import (
    Bytes,
    DatabaseUrl,
    FullPath,
    Gwei,
    Interval,
    Microusd,
    Multiaddrs,
    PeerMultiaddr,
    Port,
    RpcUrl,
    Seconds,
)
from assay_node.settings.places import assay_home
from assay_node.settings.provider_sections import ProviderSettings
from assay_node.settings.section import Section, sqlite_in_home


class ChainSettings(Section):
    """The chain that holds the money, and how closely it is followed."""

    rpc_url: RpcUrl = Field(
        default="http://127.0.0.1:8545", description="JSON-RPC endpoint of the chain."
    )
    deployment: FullPath = Field(
        default_factory=lambda: assay_home() / "deployment.json",
        description="File that names the chain and the contracts, "
        "written by `assay contracts deploy`.",
    )
    confirmations: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Blocks after which an event counts; 1 trusts the block that holds it.",
    )
    poll_interval_s: Interval = Field(
        default=0.25, description="Seconds between looks for a new block."
    )
    rpc_timeout_s: Interval = Field(
        default=10.0, description="Seconds to wait for one answer of the endpoint."
    )
    gas_price_max_gwei: Gwei = Field(
        default=200.0,
        description="The most this wallet ever offers for gas, replacements included; while gas "
        "costs more, nothing new is signed. Ethereum has been above it for minutes only.",
    )
    resend_s: Interval = Field(
        default=2.0,
        description="Seconds after which an unmined transaction is sent again: nodes forget.",
    )
    replace_s: Interval = Field(
        default=30.0,
        description="Seconds after which a transaction that blocks pass over is replaced by the "
        "same one with an eighth more for gas; two or three blocks of Ethereum, time enough for "
        "a fair offer to be taken.",
    )


class NetworkSettings(Section):
    """The libp2p host."""

    listen: Multiaddrs = Field(
        default=("/ip4/127.0.0.1/tcp/0",),
        description="Where to listen; TCP port 0 lets the system choose.",
    )
    announce: Multiaddrs = Field(
        default=(),
        description="Addresses told to peers instead, for hosts behind a forwarded port.",
    )
    connections_max: int = Field(
        default=256, ge=1, le=100_000, description="Connections held at once."
    )


class ArtifactsSettings(Section):
    """The store of jobs' inputs and outputs."""

    root: FullPath | None = Field(
        default=None, description="Folder of the store; by default `artifacts` in the role's home."
    )
    quota_bytes: Bytes = Field(
        default=20 * GIB, description="What the store may hold before old artifacts are dropped."
    )


class RequesterSettings(Section):
    """Ordering jobs: `assay submit` and what follows it."""

    home: FullPath = Field(
        default_factory=lambda: assay_home() / "requester",
        description="Folder of the requester's peer key, artifacts and submitted orders.",
    )
    wallet: str = Field(
        default="default",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Name of the wallet that orders and pays.",
    )
    scheduler: PeerMultiaddr | None = Field(
        default=None, description="Multiaddr of the scheduler that jobs are handed to."
    )
    timeout_s: Interval = Field(
        default=60.0, description="Seconds to wait for the scheduler to take a job."
    )


class ProofSettings(Section):
    """Asking providers to prove the hardware that they advertise."""

    interval_s: float = Field(
        default=21_600.0,
        ge=0,
        le=30 * 86_400,
        description="Seconds between two proofs of a provider, on average; the moments are random, "
        "and a new provider is asked at once. 0 asks for none.",
    )
    seconds: float = Field(
        default=12.0,
        ge=0.01,
        le=600,
        description="How long a proof computes at the advertised figure. Longer is surer: 20 round "
        "trips at least are computed.",
    )
    age_s_max: Seconds = Field(
        default=172_800, description="Seconds after which a proof shows nothing any more."
    )
    together: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="How many providers of a class are asked at the same moment, so that adverts "
        "which share a device are found out.",
    )
    required: bool = Field(
        default=False,
        description="Whether work is given to proven hardware alone. Without it, only providers "
        "that failed are left out.",
    )


class SchedulerSettings(Section):
    """Matching orders with providers: `assay scheduler run`."""

    home: FullPath = Field(
        default_factory=lambda: assay_home() / "scheduler",
        description="Folder of the scheduler's wallet, peer key, database and artifacts.",
    )
    database_url: DatabaseUrl = Field(
        default_factory=lambda data: sqlite_in_home(data, "scheduler"),
        description="SQLite or PostgreSQL database; by default `scheduler.sqlite` in the home.",
    )
    api_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address the HTTP API listens on."
    )
    api_port: Port = Field(
        default=9180, description="TCP port of the HTTP API; 0 lets the system choose."
    )
    fee_microusd: Microusd = Field(default=1000, description="Fee for each settled job.")
    seconds_max: Seconds = Field(default=86_400, description="Longest run an order may ask for.")
    input_bytes_max: Bytes = Field(
        default=1 * GIB, description="Largest spec and inputs taken from a requester."
    )
    environment_bytes_max: Bytes = Field(
        default=8 * GIB,
        description="Largest environment taken from a requester and handed to providers.",
    )
    environment_fetch_s: Interval = Field(
        default=1800.0,
        description="How long fetching a job's environment may take; what is here already takes "
        "none.",
    )
    seed_blocks_ahead_max: int = Field(
        default=64, ge=1, le=255, description="How far ahead an order's seed block may be."
    )
    expiry_s_max: Seconds = Field(
        default=12 * 3600,
        description="How far ahead an order's expiry may be; a closed budget stays for a day, so "
        "every order it backs can be settled until then.",
    )
    settle_margin_s: Seconds = Field(
        default=60,
        description="Seconds an order must leave between its longest run and its expiry.",
    )
    heartbeat_s: Seconds = Field(default=5, description="Seconds between heartbeats of a provider.")
    lease_grace_s: Interval = Field(
        default=10.0,
        description="How long a disconnected provider may be away before it is replaced.",
    )
    offer_timeout_s: Interval = Field(
        default=15.0,
        description="How long a drawn provider may take to accept a lease; it is asked again while "
        "it cannot tell, say because its chain endpoint is away.",
    )
    fetch_timeout_s: Interval = Field(
        default=60.0, description="How long fetching a job's spec and inputs may take."
    )
    reveal_timeout_s: Interval = Field(
        default=15.0, description="How long a provider may take to reveal after the commit set."
    )
    settle_batch_max: int = Field(
        default=50, ge=1, le=150, description="Receipts settled in one transaction."
    )
    settle_wait_s: float = Field(
        default=0.05,
        ge=0,
        le=3600,
        description="How long a receipt waits for others to share its transaction.",
    )
    settle_gas_cheap_gwei: Gwei = Field(
        default=1.0,
        description="While gas costs no more than this, receipts do not wait at all: it will "
        "hardly get cheaper.",
    )
    settle_gas_dear_gwei: Gwei = Field(
        default=50.0,
        description="While gas costs more than this, receipts wait for a better price, even a "
        "full batch: a batch of 50 costs twice as much at twice the price.",
    )
    settle_wait_dear_s: float = Field(
        default=3600.0,
        ge=0,
        le=43_200,
        description="The longest that a receipt waits for cheaper gas: most spikes are over "
        "within the hour, and providers wait for their pay.",
    )
    settle_urgent_s: Seconds = Field(
        default=1800,
        description="From so many seconds before an order's expiry on, its receipt is settled "
        "whatever gas costs: time for dozens of dearer replacements to be tried.",
    )
    proof: ProofSettings = Field(
        default_factory=ProofSettings, description="How providers' hardware is proven."
    )
    keep_seed_after_blocks: int = Field(
        default=8000,
        ge=1,
        le=8191,
        description="A job that may take more blocks than this has its seed saved on chain, which "
        "remembers 8191 block hashes (EIP-2935); 200 on a chain without EIP-2935.",
    )


class Settings(BaseSettings):
    """All settings of one process."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="ASSAY_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
        nested_model_default_partial_update=False,
    )

    password_file: FullPath | None = Field(
        default=None,
        description="File (mode 0600) with the password of the keystores this process opens.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much a daemon logs."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Lines for people, or one JSON document a line."
    )
    log_file: FullPath | None = Field(
        default=None, description="File that a daemon logs to, instead of standard error."
    )
    log_file_bytes_max: Bytes = Field(
        default=16 * MIB, description="Size at which a new log file is begun."
    )
    log_files_kept: int = Field(
        default=5, ge=1, le=1000, description="Older log files that are kept: `.1` is the newest."
    )
    chain: ChainSettings = Field(default_factory=ChainSettings)
    network: NetworkSettings = Field(default_factory=NetworkSettings)
    artifacts: ArtifactsSettings = Field(default_factory=ArtifactsSettings)
    requester: RequesterSettings = Field(default_factory=RequesterSettings)
    scheduler: SchedulerSettings = Field(default_factory=SchedulerSettings)
    provider: ProviderSettings = Field(default_factory=ProviderSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing by itself: `load_settings` merges the sources and knows which said what."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)
