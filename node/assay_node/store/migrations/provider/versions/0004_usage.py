"""What each requester's jobs took, for limits by the day."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "provider_usage",
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("requester", sa.String(42), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("seconds", sa.BigInteger, nullable=False),
        sa.Column("bytes_moved", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("job", name="pk_provider_usage"),
    )
    op.create_index("ix_provider_usage_requester", "provider_usage", ["requester", "at"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("provider_usage")
