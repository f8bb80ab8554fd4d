"""First schema of a scheduler's database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HEX = sa.String(66)
ADDRESS = sa.String(42)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "jobs",
        sa.Column("job", HEX, primary_key=True),
        sa.Column("requester", ADDRESS, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("signed_order", sa.LargeBinary, nullable=False),
        sa.Column("spec", sa.LargeBinary, nullable=False),
        sa.Column("draw", sa.JSON),
        sa.Column("admitted_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("revealing_since", sa.Float),
        sa.Column("tx", HEX),
        sa.Column("settlement", sa.JSON),
        sa.Column("output", sa.String(80)),
        sa.Column("verdict", sa.String(32), nullable=False),
        sa.Column("decision", sa.Text),
    )
    op.create_index("jobs_by_requester", "jobs", ["requester", "admitted_at"])
    op.create_index("jobs_by_state", "jobs", ["state", "admitted_at"])
    op.create_table(
        "leases",
        sa.Column("job", HEX, sa.ForeignKey("jobs.job"), primary_key=True),
        sa.Column("operator", ADDRESS, primary_key=True),
        sa.Column("peer_id", sa.String(64), nullable=False),
        sa.Column("ticket", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("rate_microusd", sa.BigInteger, nullable=False),
        sa.Column("software_digest", HEX, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("offered_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("commit", sa.LargeBinary),
        sa.Column("reveal", sa.LargeBinary),
        sa.Column("release_due", sa.Boolean, nullable=False),
    )
    op.create_index("leases_to_release", "leases", ["release_due"])
    op.create_table(
        "commit_sets",
        sa.Column("job", HEX, sa.ForeignKey("jobs.job"), primary_key=True),
        sa.Column("round", sa.Integer, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job", HEX, sa.ForeignKey("jobs.job"), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_job", "events", ["job", "id"])
    op.create_table(
        "offers",
        sa.Column("operator", ADDRESS, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sa.Column("heard_at", sa.Float, nullable=False),
    )
    op.create_table(
        "transactions",
        sa.Column("id", HEX, primary_key=True),
        sa.Column("chain_id", sa.BigInteger, nullable=False),
        sa.Column("sender", ADDRESS, nullable=False),
        sa.Column("nonce", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("jobs", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("mined_hash", HEX),
        sa.Column("block_number", sa.BigInteger),
        sa.Column("block_hash", HEX),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_index("transactions_by_state", "transactions", ["state", "nonce"])
    op.create_index("transactions_by_nonce", "transactions", ["chain_id", "sender", "nonce"])
    op.create_table(
        "signed_transactions",
        sa.Column("hash", HEX, primary_key=True),
        sa.Column("id", HEX, sa.ForeignKey("transactions.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )
    op.create_index(
        "signed_transactions_by_id", "signed_transactions", ["id", "number"], unique=True
    )


def downgrade() -> None:
    """Drop the tables."""
    tables = (
        *("signed_transactions", "transactions", "offers", "events", "commit_sets"),
        *("leases", "jobs"),
    )
    for table in tables:
        op.drop_table(table)
