"""Tables of a provider's daemon. Alembic makes them; a test compares both.

Job ids are 64 hexadecimal digits. Times are Unix seconds. Money is in micro-USD.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

leases: Final = Table(
    "provider_leases",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("scheduler", String(42), nullable=False),
    Column("signed_order", LargeBinary, nullable=False),
    Column("ticket", Integer, nullable=False),
    Column("round_number", BigInteger, nullable=False),
    Column("rate_microusd", BigInteger, nullable=False),
    Column("slot", Integer),
    Column("state", String(16), nullable=False),
    Column("stage", String(32), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("expiry", BigInteger, nullable=False),
    Column("accepted_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("output", String(80)),
    Column("log", String(80)),
    Column("verdict", String(32)),
    Column("detail", Text, nullable=False),
    Column("seconds", BigInteger),
    Column("salt", LargeBinary),
    Column("closed_at", Double),
    Column("closed_reason", Text),
    Column("hand_back_owed", Boolean, nullable=False),
    Column("keep_until", Double),
)
# The daemon reads these two subsets again and again; closed leases are history
Index(
    "ix_provider_leases_open",
    leases.c.accepted_at,
    sqlite_where=leases.c.closed_at.is_(None),
    postgresql_where=leases.c.closed_at.is_(None),
)
Index(
    "ix_provider_leases_kept",
    leases.c.keep_until,
    sqlite_where=leases.c.keep_until.is_not(None),
    postgresql_where=leases.c.keep_until.is_not(None),
)

lease_events: Final = Table(
    "provider_lease_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("job", String(64), ForeignKey(leases.c.job, ondelete="CASCADE"), nullable=False),
    Column("at", Double, nullable=False),
    Column("event", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Index("ix_provider_lease_events_job", "job"),
)

signed_sets: Final = Table(
    "provider_signed_sets",
    metadata,
    Column("job", String(64), ForeignKey(leases.c.job, ondelete="CASCADE"), primary_key=True),
    Column("round_number", BigInteger, primary_key=True),
    Column("commits", LargeBinary, nullable=False),
    Column("commit_set", LargeBinary),
    Column("at", Double, nullable=False),
)
"""The one commit set this provider signed a reveal over, per job and round: its hash, and the
message whole, which takes the job to the chain. Sets signed before that was kept have the hash."""

assigns: Final = Table(
    "provider_assigns",
    metadata,
    Column("job", String(64), ForeignKey(leases.c.job, ondelete="CASCADE"), primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""The assignments that a lease was taken with; one that contradicts them is refused."""

evidence: Final = Table(
    "provider_evidence",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("scheduler", String(42), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", Double, nullable=False),
)
"""Outlives its lease: one pair for each job is enough to take its scheduler's bond."""

runs: Final = Table(
    "provider_runs",
    metadata,
    Column("job", String(64), ForeignKey(leases.c.job, ondelete="CASCADE"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("round_number", BigInteger, nullable=False),
    Column("slot", Integer, nullable=False),
    Column("tier", String(16), nullable=False),
    Column("seconds_max", BigInteger, nullable=False),
    Column("began_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("meter", String(32)),
    Column("started_ns", BigInteger),
    Column("exited_ns", BigInteger),
    Column("cpu_ns", BigInteger),
    Column("memory_peak_bytes", BigInteger),
    Column("memory_anonymous_bytes", BigInteger),
    Column("oom_kills", BigInteger),
    Column("pids_refused", BigInteger),
    Column("verdict", String(32)),
    Column("billable_seconds", BigInteger),
)
"""The metering log. All from `ended_at` on is written once, when a run has ended."""

schedulers: Final = Table(
    "provider_schedulers",
    metadata,
    Column("multiaddr", String(256), primary_key=True),
    Column("scheduler", String(42), nullable=False),
    Column("heard_at", Double, nullable=False),
)

counters: Final = Table(
    "provider_counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

usage: Final = Table(
    "provider_usage",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("requester", String(42), nullable=False),
    Column("at", Double, nullable=False),
    Column("seconds", BigInteger, nullable=False),
    Column("bytes_moved", BigInteger, nullable=False),
    Index("ix_provider_usage_requester", "requester", "at"),
)
"""What each job took, for its requester's limits. No foreign key: it is counted before its lease
is stored, for a crash in between may count a job too many but none too few."""
