"""The first schema of a provider's database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    _create_leases()
    _create_lease_parts()
    op.create_table(
        "provider_schedulers",
        sa.Column("multiaddr", sa.String(256), nullable=False),
        sa.Column("scheduler", sa.String(42), nullable=False),
        sa.Column("heard_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("multiaddr", name="pk_provider_schedulers"),
    )
    op.create_table(
        "provider_counters",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_provider_counters"),
    )


def _create_leases() -> None:
    op.create_table(
        "provider_leases",
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("scheduler", sa.String(42), nullable=False),
        sa.Column("signed_order", sa.LargeBinary(), nullable=False),
        sa.Column("ticket", sa.Integer(), nullable=False),
        sa.Column("round_number", sa.BigInteger(), nullable=False),
        sa.Column("rate_microusd", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.Integer()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("expiry", sa.BigInteger(), nullable=False),
        sa.Column("accepted_at", sa.Double(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("output", sa.String(80)),
        sa.Column("log", sa.String(80)),
        sa.Column("verdict", sa.String(32)),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("seconds", sa.BigInteger()),
        sa.Column("salt", sa.LargeBinary()),
        sa.Column("closed_at", sa.Double()),
        sa.Column("closed_reason", sa.Text()),
        sa.Column("hand_back_owed", sa.Boolean(), nullable=False),
        sa.Column("keep_until", sa.Double()),
        sa.PrimaryKeyConstraint("job", name="pk_provider_leases"),
    )
    for name, column, condition in (
        ("ix_provider_leases_open", "accepted_at", "closed_at IS NULL"),
        ("ix_provider_leases_kept", "keep_until", "keep_until IS NOT NULL"),
    ):
        where = sa.text(condition)
        op.create_index(
            name, "provider_leases", [column], sqlite_where=where, postgresql_where=where
        )


def _create_lease_parts() -> None:
    op.create_table(
        "provider_lease_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_provider_lease_events"),
        sa.ForeignKeyConstraint(
            ["job"],
            ["provider_leases.job"],
            name="fk_provider_lease_events_job",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_provider_lease_events_job", "provider_lease_events", ["job"])
    op.create_table(
        "provider_signed_sets",
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("round_number", sa.BigInteger(), nullable=False),
        sa.Column("commits", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job", "round_number", name="pk_provider_signed_sets"),
        sa.ForeignKeyConstraint(
            ["job"],
            ["provider_leases.job"],
            name="fk_provider_signed_sets_job",
            ondelete="CASCADE",
        ),
    )
