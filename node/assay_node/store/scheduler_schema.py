"""Tables of a scheduler's database. Migrations create them; a test compares the two."""

from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

HEX: Final = String(66)
"""A digest as 0x and 64 digits: readable in any database console."""
ADDRESS: Final = String(42)

metadata: Final = MetaData()

jobs: Final = Table(
    "jobs",
    metadata,
    Column("job", HEX, primary_key=True),
    Column("requester", ADDRESS, nullable=False),
    Column("state", String(16), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("signed_order", LargeBinary, nullable=False),
    Column("spec", LargeBinary, nullable=False),
    Column("draw", JSON),
    Column("admitted_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("revealing_since", Float),
    Column("tx", HEX),
    Column("settlement", JSON),
    Column("output", String(80)),
    Column("verdict", String(32), nullable=False),
    Column("decision", Text),
    Index("jobs_by_requester", "requester", "admitted_at"),
    Index("jobs_by_state", "state", "admitted_at"),
)

leases: Final = Table(
    "leases",
    metadata,
    Column("job", HEX, ForeignKey("jobs.job"), primary_key=True),
    Column("operator", ADDRESS, primary_key=True),
    Column("peer_id", String(64), nullable=False),
    Column("ticket", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("rate_microusd", BigInteger, nullable=False),
    Column("software_digest", HEX, nullable=False),
    Column("state", String(16), nullable=False),
    Column("stage", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("offered_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("commit", LargeBinary),
    Column("reveal", LargeBinary),
    Column("release_due", Boolean, nullable=False),
    Index("leases_to_release", "release_due"),
)

commit_sets: Final = Table(
    "commit_sets",
    metadata,
    Column("job", HEX, ForeignKey("jobs.job"), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

assigns: Final = Table(
    "assigns",
    metadata,
    Column("job", HEX, ForeignKey("jobs.job"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""What was signed, from before it is shown: of one number there is one, whatever crashes."""

events: Final = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job", HEX, ForeignKey("jobs.job"), nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Index("events_by_job", "job", "id"),
    sqlite_autoincrement=True,
)

offers: Final = Table(
    "offers",
    metadata,
    Column("operator", ADDRESS, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    Column("heard_at", Float, nullable=False),
)

hardware_proofs: Final = Table(
    "hardware_proofs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("operator", ADDRESS, nullable=False),
    Column("verifier", ADDRESS, nullable=False),
    Column("round", HEX, nullable=False),
    Column("asked_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
    UniqueConstraint("operator", "verifier", "round"),
)
"""Of this scheduler and of others; only its own count, see `services.proofs`."""

transactions: Final = Table(
    "transactions",
    metadata,
    Column("id", HEX, primary_key=True),
    Column("chain_id", BigInteger, nullable=False),
    Column("sender", ADDRESS, nullable=False),
    Column("nonce", BigInteger, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("jobs", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("mined_hash", HEX),
    Column("block_number", BigInteger),
    Column("block_hash", HEX),
    Column("created_at", Float, nullable=False),
    Index("transactions_by_state", "state", "nonce"),
    Index("transactions_by_nonce", "chain_id", "sender", "nonce"),
)

signed_transactions: Final = Table(
    "signed_transactions",
    metadata,
    Column("hash", HEX, primary_key=True),
    Column("id", HEX, ForeignKey("transactions.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Index("signed_transactions_by_id", "id", "number", unique=True),
)
