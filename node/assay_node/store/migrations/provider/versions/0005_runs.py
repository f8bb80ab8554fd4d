"""What was metered of each run: the log from which a receipt's seconds are worked out again."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "provider_runs",
        sa.Column(
            "job",
            sa.String(64),
            sa.ForeignKey("provider_leases.job", name="fk_provider_runs_job", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("round_number", sa.BigInteger, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("tier", sa.String(16), nullable=False),
        sa.Column("seconds_max", sa.BigInteger, nullable=False),
        sa.Column("began_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("meter", sa.String(32)),
        sa.Column("started_ns", sa.BigInteger),
        sa.Column("exited_ns", sa.BigInteger),
        sa.Column("cpu_ns", sa.BigInteger),
        sa.Column("memory_peak_bytes", sa.BigInteger),
        sa.Column("memory_anonymous_bytes", sa.BigInteger),
        sa.Column("oom_kills", sa.BigInteger),
        sa.Column("pids_refused", sa.BigInteger),
        sa.Column("verdict", sa.String(32)),
        sa.Column("billable_seconds", sa.BigInteger),
        sa.PrimaryKeyConstraint("job", "attempt", name="pk_provider_runs"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("provider_runs")
